import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.thin import decompose
from ntkflow.theory import limits
from ntkflow.theory.exact import Sector
from ntkflow.theory.exact.sector import NAMES
from tests import oracle

SIZES, KERNEL = nf.Sizes(3, 2, 4), nf.BlockKernel(2.3, 1.1, 0.4)
VALUES = {"wP": 0.7, "hP": 0.4, "sP": 0.3, "wJ": 0.6, "hJ": -0.5, "sJ": 0.2, "beta": -0.1}


def sector(sizes=SIZES, kernel=KERNEL, **changes):
    return Sector(sizes, kernel, **{**VALUES, **changes})


def values(s):
    return np.array([getattr(s, name) for name in NAMES])


def frame(sizes=SIZES):
    return np.linalg.qr(np.random.default_rng(4).standard_normal((sizes.n, sizes.C)))[0]


def march(s, times, rtol=1e-13):
    """The scalar systems as theory 4.5 prints them."""
    m, C, mu = s.sizes.m, s.sizes.C, s.kernel.eigenvalues(s.sizes)

    def field(_, y):
        wP, hP, sP, wJ, hJ, sJ, beta = y
        rP, rJ = wP * hP - 1, wJ * hJ + C * beta - 1
        return [
            -m * (rP * hP + wP * sP), -mu.mu_class * wP * rP, -2 * mu.mu_single * wP**2 * sP,
            -m * (rJ * hJ + wJ * sJ), -mu.mu_global * wJ * rJ, -2 * mu.mu_single * wJ**2 * sJ,
            -m * rJ,
        ]  # fmt: skip

    return solve_ivp(field, (0, times[-1]), values(s), "DOP853", times, rtol=rtol, atol=1e-14).y.T


@pytest.mark.parametrize(
    ("sizes", "kernel"),
    [
        (SIZES, KERNEL),
        (nf.Sizes(2, 3, 2), nf.BlockKernel(1.3, 0.4, 0.4)),
        (nf.Sizes(4, 2, 5), nf.BlockKernel(0.4 + 1e-6, 0.4, 0.0)),
        (nf.Sizes(3, 1, 4), nf.BlockKernel(1.0, 1.0, 0.2)),
    ],
)
def test_the_whole_flow_stays_in_the_sector_and_follows_the_scalar_systems(sizes, kernel):
    spread = {} if sizes.m > 1 else {"sP": 0.0, "sJ": 0.0}
    s, t, V = sector(sizes, kernel, **spread), [0.3, 1.0], frame(sizes)
    states = oracle.integrate_raw(nf.Problem(sizes, kernel, s.state(V)), np.array(t))
    P = centring(sizes.C)
    for y, state in zip(march(s, t), states, strict=True):
        now = s.with_values(y)
        thin = decompose(state, sizes, subspace=False)[0]
        J = np.eye(sizes.C) - P
        np.testing.assert_allclose(state.W, (now.wP * P + now.wJ * J) @ V.T, atol=1e-10)
        np.testing.assert_allclose(thin.H1, V @ (now.hP * P + now.hJ * J), atol=1e-10)
        np.testing.assert_allclose(
            thin.L @ thin.L.T / sizes.m, V @ (now.sP * P + now.sJ * J) @ V.T, atol=1e-10
        )
        np.testing.assert_allclose(state.b, now.beta, atol=1e-10)
        assert now.e_P == pytest.approx(s.e_P, abs=1e-9 * (1 + abs(s.e_P)))
        assert now.e_J == pytest.approx(s.e_J, abs=1e-9 * (1 + abs(s.e_J)))
    E = nf.metrics.invariant_terms(s.state(V), sizes, kernel).E
    np.testing.assert_allclose(
        E, V @ (s.e_P * P + s.e_J * (np.eye(sizes.C) - P)) @ V.T, rtol=1e-9, atol=1e-12
    )


def test_the_field_is_the_slope_of_the_flow():
    s, h = sector(), 1e-5
    ahead = march(s, [0.0, h, 2 * h])
    slope = (-3 * ahead[0] + 4 * ahead[1] - ahead[2]) / (2 * h)
    np.testing.assert_allclose(s.field(), slope, atol=1e-7)


CONTRASTS = [
    (0.7, 0.4),
    (0.7, -0.4),
    (-0.2, 0.9),
    (2.5, 1.5),
    (0.0, 0.3),
    (1e-3, 1e-3),
    (-1.2, -1.4),
    (0.5, 0.0),
]


@pytest.mark.parametrize(("wP", "hP"), CONTRASTS)
def test_class_contrasts_have_an_explicit_solution_for_all_times(wP, hP):
    s, times = sector(wP=wP, hP=hP, sP=0.0), [0.0, 0.1, 0.5, 1.0, 2.5]
    for t, y in zip(times, march(s, times), strict=True):
        np.testing.assert_allclose(s.contrast_at(t), y[:2], atol=1e-11, rtol=1e-10)
    w, h = s.contrast_at(1e5)
    assert w * h == pytest.approx(1, rel=1e-13)
    assert w**2 == pytest.approx(limits.lambda_balanced_x(SIZES, KERNEL, s.e_P), rel=1e-12)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 5))
@example(wP=0.0, hP=2.2e-313, t=1.0)
def test_class_contrasts_conserve_e_P_and_fit_monotonically(wP, hP, t):
    s = sector(wP=wP, hP=hP, sP=0.0)
    (w, h), (w2, h2) = s.contrast_at(t), s.contrast_at(t + 0.1)
    later = sector(wP=w, hP=h, sP=0.0)
    assert later.e_P == pytest.approx(s.e_P, abs=1e-11 * (1 + wP**2 + hP**2))
    assert abs(1 - w2 * h2) <= abs(1 - w * h) + 1e-12
    # The flow property, in one step and in two.
    np.testing.assert_allclose(later.contrast_at(0.1), (w2, h2), rtol=1e-11, atol=1e-11)


def test_balanced_contrasts_follow_the_logistic_law():
    x, mu = limits.x_star(SIZES, KERNEL), KERNEL.eigenvalues(SIZES)
    s = sector(wP=0.05, hP=0.05 / x, sP=0.0)
    for t in (0.0, 0.3, 1.0, 3.0):
        expected = x / (1 + (x / 0.05**2 - 1) * np.exp(-2 * np.sqrt(2 * mu.mu_class) * t))
        assert s.contrast_at(t)[0] ** 2 == pytest.approx(expected, rel=1e-13)


def test_balanced_contrasts_of_opposite_sign_run_into_the_saddle():
    x = limits.x_star(SIZES, KERNEL)
    s = sector(wP=0.9, hP=-0.9 / x, sP=0.0)
    w, h = s.contrast_at(0.5)
    y = march(s, [0.5])[0]
    np.testing.assert_allclose((w, h), y[:2], atol=1e-11)
    late = s.contrast_at(4.0)
    assert abs(late[0]) < 0.01 * w
    with pytest.raises(nf.InputError, match="saddle"):
        sector(wP=0.9, hP=-0.9 / x, sP=0.0, sJ=0.0).limit()
    assert sector(wP=0.0, hP=0.0, sP=0.0).contrast_at(3.0) == (0, 0)


SUMS = [(0.6, -0.5), (0.6, 0.5), (-0.3, 0.9), (0.0, 0.4), (0.5, 0.0), (2.0, 1.0), (0.0, 0.0)]


@pytest.mark.parametrize(("wJ", "hJ"), SUMS)
@pytest.mark.parametrize("beta", [-1.0, 0.0, 0.9])
def test_sums_over_classes_are_functions_of_the_bias_and_end_where_predicted(wJ, hJ, beta):
    s = sector(wJ=wJ, hJ=hJ, sJ=0.0, beta=beta)
    for y in march(s, [0.1, 0.5, 12.0]):
        np.testing.assert_allclose(s.sums_at(float(y[6])), y[3:5], atol=1e-9)
    assert s.beta_limit() == pytest.approx(y[6], abs=1e-10)
    w, h = s.sums_at(s.beta_limit())
    assert w * h + 3 * s.beta_limit() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("wJ", [1e-4, 0.6, -0.6, 3.0])
def test_balanced_sums_end_at_lambert_w(wJ, sign):
    k = np.sqrt(KERNEL.eigenvalues(SIZES).mu_global / 2)
    s = sector(wJ=wJ, hJ=sign * k * wJ, sJ=0.0, beta=-0.2)
    assert s.e_J == pytest.approx(0, abs=1e-14 * (1 + wJ**2))
    assert s.beta_limit() == pytest.approx(march(s, [15.0])[0][6], abs=1e-10)
    u = 1 - 3 * s.beta_limit()
    assert s.sums_at(s.beta_limit())[0] ** 2 == pytest.approx(sign * u / k, rel=1e-9)


def test_lambert_w_survives_arguments_that_overflow():
    k = np.sqrt(KERNEL.eigenvalues(SIZES).mu_global / 2)
    s = sector(wJ=1.0, hJ=k, sJ=0.0, beta=-1e3)
    u = 1 - 3 * s.beta_limit()
    z = 2 * k * u / 3
    assert z + np.log(z) == pytest.approx(np.log(2 * k**2 / 3) + 2 * k * (1 / 3 + 1e3), rel=1e-12)
    other = sector(wJ=1.0, hJ=k * (1 - 1e-9), sJ=0.0, beta=-100.0)
    near = sector(wJ=1.0, hJ=k, sJ=0.0, beta=-100.0)
    assert other.beta_limit() == pytest.approx(near.beta_limit(), rel=1e-6)


@pytest.mark.parametrize("changes", [{}, {"hJ": 0.5}, {"sP": 0.0, "wP": 1.5}, {"beta": 1.0, "wJ": 0.0}])
def test_the_limit_is_where_the_whole_flow_ends(changes):
    kernel = nf.BlockKernel(6.0, 1.1, 0.4)
    s = sector(kernel=kernel, **{"sJ": 0.0, **changes})
    end = oracle.integrate_raw(nf.Problem(SIZES, kernel, s.state(frame())), np.array([15.0]), rtol=1e-13)[0]
    limit, thin = s.limit(), decompose(end, SIZES, subspace=False)[0]
    np.testing.assert_allclose(end.W @ end.W.T, limit.X, atol=1e-9)
    np.testing.assert_allclose(thin.H1.T @ thin.H1, limit.G, atol=1e-9)
    np.testing.assert_allclose(end.b, limit.b, atol=1e-10)
    metrics = nf.metrics.nc(end, SIZES)
    assert metrics["NC3"] == pytest.approx(limit.NC3, abs=1e-7)
    assert metrics["NC1"] < 1e-7


def test_a_balanced_sector_ends_in_the_equal_bias_limit():
    mu = KERNEL.eigenvalues(SIZES)
    k, x = np.sqrt(mu.mu_global / 2), limits.x_star(SIZES, KERNEL)
    s = sector(wP=0.3, hP=0.3 / x, sP=0.0, wJ=0.4, hJ=0.4 * k, sJ=0.0)
    a, b = s.limit(), limits.equal_bias(SIZES, KERNEL, s.beta_limit())
    for name in ("X", "G", "b"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-12)
    assert pytest.approx(b.NC3, rel=1e-10) == a.NC3


def test_bad_input_is_refused_with_a_reason():
    with pytest.raises(nf.InputError, match="variance"):
        sector(sP=-0.1)
    with pytest.raises(nf.InputError, match="one sample per class"):
        sector(sizes=nf.Sizes(3, 1, 4))
    with pytest.raises(nf.InputError, match="finite"):
        sector(beta=np.nan)
    with pytest.raises(nf.InputError, match="closed form"):
        sector().contrast_at(1.0)
    for call in (lambda s: s.sums_at(0.1), lambda s: s.beta_limit(), lambda s: s.limit()):
        with pytest.raises(nf.InputError, match="closed form"):
            call(sector())
    with pytest.raises(nf.InputError, match="orthonormal"):
        sector().state(np.ones((4, 3)))


def test_a_start_beside_the_way_into_the_saddle_escapes_when_it_should():
    x = limits.x_star(SIZES, KERNEL)
    s = sector(wP=0.9, hP=-0.9 / x * (1 - 1e-6), sP=0.0)
    for t, y in zip((2.0, 4.0, 6.0), march(s, [2.0, 4.0, 6.0]), strict=True):
        np.testing.assert_allclose(s.contrast_at(t), y[:2], rtol=1e-6, atol=1e-9)
    assert y[0] * y[1] > 0.2
    # With eP near 1e-16 the growth would cancel away if it were computed as a difference.
    close = sector(wP=0.9, hP=-0.9 / x * (1 - 1e-12), sP=0.0)
    w, h = close.contrast_at(60.0)
    assert w * h == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("aside", [1e-2, 1e-6, 1e-13, -1e-13])
def test_only_rounding_counts_as_the_way_into_the_saddle(aside):
    x = limits.x_star(SIZES, KERNEL)
    s = sector(wP=0.9, hP=-0.9 / x * (1 - aside), sP=0.0, sJ=0.0)
    assert not s.into_saddle
    # Which zero of the loss it is depends on eP alone, whichever side it leaves the saddle on.
    P = centring(3)
    assert np.vdot(P, s.limit().X) / 2 == pytest.approx(
        limits.lambda_balanced_x(SIZES, KERNEL, s.e_P), rel=1e-12
    )
    assert sector(wP=0.9, hP=-0.9 / x, sP=0.0).into_saddle
    assert sector(wP=5e-324, hP=0.0, sP=0.0).into_saddle is False


def test_a_common_bias_far_above_may_end_far_above():
    k = np.sqrt(KERNEL.eigenvalues(SIZES).mu_global / 2)
    s = sector(wJ=3.0, hJ=-3.0 * k, sJ=0.0, beta=4.0)
    assert s.beta_limit() > 2
    assert s.beta_limit() == pytest.approx(march(s, [5.0])[0][6], abs=1e-10)
