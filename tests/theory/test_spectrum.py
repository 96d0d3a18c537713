import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.dynamics.fields import raw_field, residual
from ntkflow.dynamics.packed import RawFlow
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels import ClassBlockKernel, SampleKernel
from ntkflow.theory import spectrum
from ntkflow.theory.spectrum import Spectrum
from tests import strategies
from tests.problem.kernels import ladder
from tests.theory.test_limits import CASES as COLLAPSED
from tests.theory.test_rates import KERNEL, SIZES, collapse_point


def zero_loss_state(sizes, seed=0, rank=None):
    """Features of the given rank and weights with W H + b 1^T = Y; W^T 1 and the within-class part generic."""
    rng = np.random.default_rng(seed)
    Y = np.eye(sizes.C)[:, sizes.labels]
    if sizes.n >= sizes.N:
        H = rng.standard_normal((sizes.n, sizes.N))
        if rank == "collapsed":
            H = (H @ Y.T / sizes.masses) @ Y
    else:
        H = rng.standard_normal((sizes.n, sizes.C)) @ Y
    b = 0.3 * rng.standard_normal(sizes.C)
    particular = (Y - b[:, None]) @ np.linalg.pinv(H)
    free = np.eye(sizes.n) - H @ np.linalg.pinv(H)
    state = nf.State(H, particular + 0.5 * rng.standard_normal((sizes.C, sizes.n)) @ free, b)
    np.testing.assert_allclose(state.logits, Y, atol=1e-10)
    return state


def jacobian_rates(problem):
    """Minus the eigenvalues of the raw flow's finite-difference Jacobian, decreasing."""
    flow = RawFlow.build(problem)
    y, step = flow.start(), 1e-5
    columns = [
        (flow.field(0.0, y + step * e) - flow.field(0.0, y - step * e)) / (2 * step) for e in np.eye(y.size)
    ]
    eigenvalues = np.linalg.eigvals(np.stack(columns, axis=1))
    return np.sort(-eigenvalues.real)[::-1]


CASES = [
    (name, sizes, rank)
    for name in ladder.NAMES
    for sizes, rank in (
        (nf.Sizes(2, 3, 7), None),
        (nf.Sizes(2, 3, 7), "collapsed"),
        (nf.Sizes(3, 2, 4), None),
        (nf.Sizes(3, 1, 4), None),
        (nf.Sizes(2, (1, 4), 6), None),
        (nf.Sizes(3, (2, 1, 3), 4), "collapsed"),
    )
    if sizes.balanced or name not in ladder.BALANCED_ONLY
]


@pytest.mark.parametrize(("name", "sizes", "rank"), CASES)
def test_the_spectrum_is_that_of_the_flow_s_jacobian(name, sizes, rank):
    state, kernel = zero_loss_state(sizes, rank=rank), ladder.make(name, sizes)
    found = spectrum.at_zero_loss(sizes, kernel, state.H, state.W)
    assert found.multiplicities.sum() == len(found.all) == sizes.C * sizes.N
    want = jacobian_rates(nf.Problem(sizes, kernel, state))
    # The Jacobian has as many unknowns as (H, W, b); its further eigenvalues, and some of T, vanish.
    size = max(len(want), len(found.all))
    got = np.concatenate([found.all, np.zeros(size - len(found.all))])
    want = np.concatenate([want, np.zeros(size - len(want))])
    # Zero eigenvalues of a Jacobian with Jordan blocks are known to the root of the rounding only.
    np.testing.assert_allclose(got, want, atol=2e-4 * got[0])
    fast = got > 1e-2 * got[0]
    np.testing.assert_allclose(got[fast], want[fast], rtol=1e-7)


@given(st.integers(2, 4), st.integers(1, 4), st.integers(2, 9), st.integers(0, 10**6))
def test_the_thin_spectrum_is_the_dense_one(C, m, n, seed):
    sizes = nf.Sizes(C, m, n)
    rng = np.random.default_rng(seed)
    H, W = rng.standard_normal((n, sizes.N)), rng.standard_normal((C, n))
    block = nf.BlockKernel(1.3, 0.5, 0.1)
    thin = spectrum.at_zero_loss(sizes, block, H, W)
    dense = spectrum.at_zero_loss(sizes, SampleKernel(block.matrix(sizes)), H, W)
    np.testing.assert_allclose(thin.all, dense.all, atol=1e-11 * thin.fastest)
    promoted = spectrum.at_zero_loss(sizes, ClassBlockKernel.from_block(block, C), H, W)
    np.testing.assert_allclose(promoted.all, dense.all, atol=1e-11 * thin.fastest)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(1, 8), st.integers(0, 10**6))
def test_class_dependent_rates_are_the_dense_ones(counts, n, seed):
    sizes = nf.Sizes(len(counts), tuple(counts), n)
    rng = np.random.default_rng(seed)
    H, W = rng.standard_normal((n, sizes.N)), rng.standard_normal((sizes.C, n))
    kernel = ladder.make("class-block", sizes, seed)
    thin = spectrum.at_zero_loss(sizes, kernel, H, W)
    dense = spectrum.at_zero_loss(sizes, SampleKernel(kernel.matrix(sizes)), H, W)
    np.testing.assert_allclose(thin.all, dense.all, atol=1e-11 * thin.fastest)


def test_at_neural_collapse_the_rates_are_those_of_the_table():
    # X = x* P, G = P / x*, H2 = 0, b = 1/C.
    sizes, kernel = nf.Sizes(4, 5, 6), nf.BlockKernel(1.5, 0.6, 0.2)
    C, m, N, mu = 4, 5, 20, kernel.eigenvalues(nf.Sizes(4, 5, 6))
    x = np.sqrt(m / mu.mu_class)
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((6, C)))[0]
    W = np.sqrt(x) * centring(C) @ frame.T
    found = spectrum.at_zero_loss(sizes, kernel, np.repeat(W.T / x, m, axis=1), W)
    table = [
        (2 * np.sqrt(m * mu.mu_class), (C - 1) ** 2),
        (N + mu.mu_global * x, C - 1),
        (np.sqrt(m * mu.mu_class), C - 1),
        (N, 1),
        (mu.mu_single * x, (C - 1) * (N - C)),
        (0.0, N - C),
    ]
    want = np.sort(np.repeat([rate for rate, _ in table], [count for _, count in table]))[::-1]
    np.testing.assert_allclose(found.all, want, atol=1e-12 * want[0])
    assert found.frozen == N - C
    assert found.slowest == pytest.approx(mu.mu_single * x)
    assert found.fastest == pytest.approx(want[0])
    assert found.stiffness_ratio == pytest.approx(want[0] / (mu.mu_single * x))
    assert found.as_dict()["frozen"] == N - C


def test_a_point_without_any_rate_has_no_slowest():
    assert np.isnan(Spectrum(np.zeros(2), np.ones(2, dtype=np.int64)).slowest)


def test_shapes_and_kernels_are_checked():
    sizes = nf.Sizes(2, 2, 3)
    with pytest.raises(nf.InputError, match="K is singular"):
        spectrum.at_zero_loss(sizes, SampleKernel(np.ones((4, 4))), np.zeros((3, 4)), np.zeros((2, 3)))
    with pytest.raises(nf.InputError, match=r"H = array of shape \(3, 5\)"):
        spectrum.at_zero_loss(sizes, nf.BlockKernel(1, 0.5, 0), np.zeros((3, 5)), np.zeros((2, 3)))


def jacobian(sizes, kernel, state, step=1e-4):
    """Central differences of the raw field: exact but for rounding of a cubic field, after one extrapolation."""
    Y = np.repeat(np.eye(sizes.C), sizes.counts, axis=1)
    cuts = np.cumsum([state.H.size, state.W.size])

    def field(y):
        H, W, b = np.split(y, cuts)
        H, W = H.reshape(state.H.shape), W.reshape(state.W.shape)
        return np.concatenate([d.ravel() for d in raw_field(H, W, residual(H, W, b, Y), kernel, sizes)])

    y0 = np.concatenate([state.H.ravel(), state.W.ravel(), state.b])

    def differences(h):
        return np.stack([(field(y0 + h * e) - field(y0 - h * e)) / (2 * h) for e in np.eye(y0.size)], axis=1)

    return (4 * differences(step) - differences(2 * step)) / 3


def residual_spectrum(sizes, kernel, state):
    """kron(I, H^T H + 11^T) + kron(W W^T, K), written out."""
    big = np.kron(np.eye(sizes.C), state.H.T @ state.H + 1.0) + np.kron(
        state.W @ state.W.T, kernel.matrix(sizes)
    )
    return np.linalg.eigvalsh(big)


def expand(modes):
    return np.sort(np.concatenate([np.full(mode.multiplicity, mode.rate) for mode in modes]))


@pytest.mark.parametrize(("sizes", "kernel"), COLLAPSED)
@pytest.mark.parametrize("e", [0.0, 0.3, -0.3])
def test_the_table_of_rates_at_collapse_is_the_spectrum_of_the_residual(sizes, kernel, e):
    whole = residual_spectrum(sizes, kernel, collapse_point(sizes, kernel, e))
    table = np.sort(spectrum.at_collapse(sizes, kernel, e).all)
    np.testing.assert_allclose(table, whole, atol=1e-12 * whole[-1])


def test_the_table_of_rates_is_the_spectrum_of_the_jacobian_of_the_flow():
    state = collapse_point(SIZES, KERNEL)
    # The flow is a gradient flow in the metric K^{-1}: its spectrum is real.
    values = np.sort(-np.linalg.eigvals(jacobian(SIZES, KERNEL, state)).real)
    table = np.sort(spectrum.at_collapse(SIZES, KERNEL).all)
    table = table[table > 0]
    padded = np.sort(np.concatenate([np.zeros(values.size - table.size), table]))
    np.testing.assert_allclose(values, padded, atol=1e-7 * table[-1])


@pytest.mark.parametrize("kernel", [KERNEL, nf.BlockKernel(0.9, 0.4, 0.4)])
def test_the_rates_at_the_origin_are_the_spectrum_of_the_jacobian(kernel):
    C, n, N = SIZES.C, SIZES.n, SIZES.N
    state = nf.State(np.zeros((n, N)), np.zeros((C, n)), np.full(C, 1 / C))
    values = np.sort(-np.linalg.eigvals(jacobian(SIZES, kernel, state)).real)
    np.testing.assert_allclose(values, np.sort(spectrum.at_origin(SIZES, kernel).all), atol=1e-9)


@given(strategies.sizes(), strategies.kernels(), st.integers(0, 10**6), st.integers(0, 3))
def test_the_block_spectrum_is_that_of_the_whole_operator(sizes, kernel, seed, r):
    # The identity holds for every state, zero loss or not.
    rng = np.random.default_rng(seed)
    H1 = rng.standard_normal((sizes.n, sizes.C))
    H = np.repeat(H1, sizes.m, axis=1)
    if sizes.m > 1 and r:
        deviation = rng.standard_normal((sizes.n, sizes.N))
        deviation[:, r:] = 0
        H = (
            H
            + deviation
            - np.repeat(np.add.reduceat(deviation, sizes.starts, axis=1) / sizes.masses, sizes.counts, axis=1)
        )
    state = nf.State(H, rng.standard_normal((sizes.C, sizes.n)), np.zeros(sizes.C))
    found = spectrum.at_zero_loss(sizes, kernel, state.H, state.W)
    whole = residual_spectrum(sizes, kernel, state)
    np.testing.assert_allclose(np.sort(found.all), whole, atol=1e-11 * whole[-1])
    assert found.fastest == pytest.approx(whole[-1], rel=1e-10)
    assert found.slowest == pytest.approx(whole[whole > spectrum.ZERO * whole[-1]].min(), rel=1e-3)


@pytest.mark.parametrize(("sizes", "kernel"), COLLAPSED)
def test_the_stiffness_ratio_at_collapse_is_that_of_theory_7_5(sizes, kernel):
    # max(2, C nu + rho_g)/rho_s, where there are deviations from the class means.
    numbers, found = kernel.dimensionless(sizes), spectrum.at_collapse(sizes, kernel)
    if sizes.m > 1:
        expected = max(2.0, sizes.C * numbers.nu + numbers.rho_g) / numbers.rho_s
        assert found.stiffness_ratio == pytest.approx(expected)
    else:
        assert found.slowest == pytest.approx(min(found.rates[found.rates > 0]))


def test_modes_have_names_and_add_up():
    found = spectrum.at_collapse(SIZES, KERNEL)
    rows = {mode.name: mode for mode in found.modes}
    name = "sum over outputs, global mean"
    assert rows[name] == spectrum.Mode(name, 6.0, 1)
    assert found.rate(name) == 6.0
    assert found.multiplicities.sum() == SIZES.C * SIZES.N
    assert np.all(np.diff(found.rates) <= 0)
    origin = spectrum.at_origin(SIZES, KERNEL)
    assert origin.multiplicities.sum() == SIZES.n * SIZES.N + SIZES.C * SIZES.n + SIZES.C
    assert origin.slowest > 0


def test_one_sample_per_class_has_no_mode_within_classes():
    names = {mode.name for mode in spectrum.at_collapse(nf.Sizes(3, 1, 4), KERNEL).modes}
    assert not any("within" in name for name in names)


@given(strategies.sizes(), strategies.kernels(), st.sampled_from([0.0, 0.3, -0.3]))
def test_the_table_at_collapse_and_the_spectrum_of_that_point_are_one(sizes, kernel, e):
    # The same numbers by formula and from the state: fastest, slowest, ratio, number of frozen modes.
    sizes = nf.Sizes(sizes.C, sizes.m, sizes.n + sizes.C)  # room for a simplex
    point = collapse_point(sizes, kernel, e)
    table, found = (
        spectrum.at_collapse(sizes, kernel, e),
        spectrum.at_zero_loss(sizes, kernel, point.H, point.W),
    )
    np.testing.assert_allclose(found.all, table.all, atol=1e-11 * table.fastest)
    assert found.frozen == table.frozen
    for name in ("fastest", "slowest", "stiffness_ratio"):
        assert getattr(found, name) == pytest.approx(getattr(table, name), rel=1e-6)
