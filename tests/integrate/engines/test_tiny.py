"""States that are zero, or as good as zero, in some blocks or in all; and the saddle at the origin."""

import numpy as np
import pytest
from scipy.linalg import expm

import ntkflow as nf
from ntkflow.dynamics.packed import norm, relative_speed, rms
from ntkflow.dynamics.saddle import Saddle
from ntkflow.integrate.engines import choose, scipy_engine
from tests import oracle

SIZES, KERNEL = nf.Sizes(2, 2, 3), nf.BlockKernel(1.3, 0.5, 0.1)
NEVER = nf.Stop(None, None, None)
ENGINES = [("thin", name) for name in choose.NAMES[1:-1]] + [("raw", name) for name in scipy_engine.METHODS]
# It compiles for every shape and tolerance.
ENGINES.append(pytest.param("thin", choose.DIFFRAX, marks=pytest.mark.slow))

SLOW = ("RK45", "BDF", "Radau")


def problem(of_H=1.0, of_W=1.0, of_b=1.0, kernel=KERNEL, **options):
    rng = np.random.default_rng(3)
    H, W, b = (rng.standard_normal(shape) for shape in ((3, 4), (2, 3), (2,)))
    return nf.Problem(SIZES, kernel, nf.State(of_H * H, of_W * W, of_b * b), **options)


@pytest.mark.parametrize(("form", "engine"), ENGINES)
@pytest.mark.parametrize("rtol", [1e-5, 1e-12])
def test_biases_alone_tend_to_1_over_C_exponentially(form, engine, rtol):
    if engine in SLOW and rtol < 1e-5:
        pytest.skip("of too low an order for many digits")
    for of_b in (0.0, 1e-200, 1.0):
        here = problem(0.0, 0.0, of_b)
        found = nf.solve(here, save_at=[0.3, 1.0], form=form, engine=engine, rtol=rtol)
        for i, t in enumerate(found.times):
            state = found.state(i)
            want = 0.5 + (here.state.b - 0.5) * np.exp(-SIZES.N * t)
            np.testing.assert_allclose(state.b, want, rtol=0, atol=10 * rtol)
            assert not state.H.any()
            assert not state.W.any()
        assert not nf.solve(here, t_end=50.0, form=form, engine=engine, rtol=rtol).reason.failed


@pytest.mark.parametrize("loss", [nf.CrossEntropy(), nf.MSE()])
@pytest.mark.parametrize("rung", ["matrix-block", "kronecker"])
def test_a_zero_state_is_solved_in_other_forms_and_losses(loss, rung):
    from tests.problem.kernels import ladder

    here = problem(0.0, 0.0, 0.0, kernel=ladder.make(rung, SIZES), loss=loss)
    assert nf.solve(here, t_end=50.0, rtol=1e-12).final.b == pytest.approx(0.5 if loss.name == "mse" else 0.0)


@pytest.mark.parametrize(("form", "engine"), ENGINES)
@pytest.mark.parametrize(
    "scales", [(1e-200, 1.0, 1.0), (1.0, 1e-30, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 1e-200)]
)
def test_a_tiny_block_among_others_is_as_good_as_zero(form, engine, scales):
    """Its own size is not worth keeping: the others set it in no time."""
    expected = oracle.integrate_raw(problem(*(scale if scale > 1e-20 else 0.0 for scale in scales)), [1.0])[0]
    found = nf.solve(problem(*scales), save_at=[1.0], form=form, engine=engine, rtol=1e-5)
    assert oracle.distance(found.final, expected) < 1e-4


@pytest.mark.parametrize(("form", "engine"), ENGINES)
@pytest.mark.parametrize("scale", [1e-150, 1e-160, 1e-250, 1e-300])
def test_a_tiny_state_grows_by_the_linearisation_at_the_origin(form, engine, scale):
    """dH = W^T (Y - b 1^T) K, dW = (Y - b 1^T) H^T with b = 1/C."""
    here = problem(scale, scale, 0.0)
    here = nf.Problem(SIZES, KERNEL, nf.State(here.state.H, here.state.W, np.full(2, 0.5)))
    t, n, N, C = 2.0, SIZES.n, SIZES.N, SIZES.C
    R = np.eye(C)[:, SIZES.labels] - 0.5
    RK = R @ KERNEL.matrix(SIZES)
    # Row by row of features the flow is (h, w)' = (K R^T w, R h).
    M = np.block([[np.zeros((N, N)), RK.T], [R, np.zeros((C, C))]])
    start = np.hstack([here.state.H, here.state.W.T]) / scale
    end = start @ expm(t * M).T
    found = nf.solve(here, save_at=[t], form=form, engine=engine, rtol=1e-5)
    final = np.hstack([found.final.H, found.final.W.T]) / scale
    np.testing.assert_allclose(final, end, rtol=0, atol=2e-4 * np.abs(end).max())
    np.testing.assert_allclose(found.final.b, 0.5)
    assert (n, N + C) == final.shape
    # It does not rest there, though its squares are zero.
    assert nf.solve(here, t_end=t, form=form, engine=engine, rtol=1e-5).reason is nf.Reason.T_END


def test_diffrax_says_what_it_would_take_for_zero():
    """XLA flushes numbers below the smallest normal float: the state would stay at zero without a word."""
    with pytest.raises(
        nf.InputError, match=r"takes features and weights of at most .* for zero; use another"
    ):
        nf.solve(problem(1e-310, 1e-310, 0.0), save_at=[0.5], engine=choose.DIFFRAX)


def saddle(C=3, m=2, n=4):
    """The text's example (theory 6): S = 0, g = 0, b = 1/C and H1 = -W^T/x*, on the way into W = H = 0."""
    sizes, kernel = nf.Sizes(C, m, n), nf.BlockKernel(1.0, 0.5, 0.25)
    W = np.random.default_rng(0).standard_normal((C, n))
    W -= W.mean(axis=0)
    H1 = -W.T * np.sqrt(kernel.eigenvalues(sizes).mu_class / m)
    return nf.Problem(sizes, kernel, nf.State(np.repeat(H1, m, axis=1), W, np.full(C, 1 / C)))


@pytest.mark.parametrize(("form", "engine"), ENGINES)
@pytest.mark.parametrize("rtol", [1e-4, 1e-8])
def test_a_run_that_falls_into_the_saddle_says_so(form, engine, rtol):
    if engine in SLOW and rtol < 1e-4:
        pytest.skip("of too low an order for many digits")
    with pytest.raises(nf.SolveError, match=r"saddle W = H = 0.*choose another initial state"):
        nf.solve(saddle(), form=form, engine=engine, rtol=rtol)
    for stop in (nf.Stop(), NEVER):
        part = nf.solve(saddle(), form=form, engine=engine, rtol=rtol, stop=stop, throw=False)
        assert part.reason is nf.Reason.SADDLE
        mu, t = saddle().kernel.eigenvalues(saddle().sizes).mu_class, part.times[-1]
        x = np.sqrt(2 / mu)
        assert part.stats.steps < 4000
        # Up to there it is right: X(t) of theory 6, with its own sign of x*.
        W = saddle().state.W
        X = np.linalg.pinv(W @ W.T)
        P = np.eye(3) - 1 / 3
        grown = np.exp(2 * np.sqrt(2 * mu) * t)
        want = np.linalg.pinv(grown * (X + P / x) - P / x)
        np.testing.assert_allclose(part.final.W @ part.final.W.T, want, atol=0.1 * np.abs(want).max())


def test_before_the_saddle_a_run_ends_as_any_other():
    assert nf.solve(saddle(), t_end=0.5).reason is nf.Reason.T_END


@pytest.mark.parametrize("decay", [0.01, 0.3, 1.3])
@pytest.mark.parametrize("engine", ["auto", "DOP853", "LSODA"])
def test_a_run_with_decay_that_falls_into_the_saddle_says_so(decay, engine):
    """Equal decay leaves E = 0 and the way into the origin where they are: the limit is W = H = 0.

    Rounding would lead to the nontrivial limit, at which a run would end as stationary.
    """
    here = nf.Problem(saddle().sizes, saddle().kernel, saddle().state, decay=nf.Decay(decay, decay, 0.0))
    part = nf.solve(here, engine=engine, throw=False)
    assert part.reason is nf.Reason.SADDLE
    # Up to there it is right: W and H1 = -W^T/x* still have one size in their kernel's units.
    mu, W = here.kernel.eigenvalues(here.sizes).mu_class, part.final.W
    H1 = part.final.H[:, ::2]
    np.testing.assert_allclose(H1, -W.T * np.sqrt(mu / 2), atol=0.05 * np.abs(H1).max())
    assert np.abs(W).max() < 1e-2


@pytest.mark.parametrize("engine", ["auto", "structured", "DOP853", "LSODA"])
@pytest.mark.parametrize("decay", [nf.Decay(5.0, 5.0, 0.0), nf.Decay(30.0, 30.0, 0.0)], ids=["5", "30"])
def test_where_decay_makes_the_origin_attract_it_is_no_saddle(decay, engine):
    """lw lh > m mu_class: W and H tend to zero from everywhere, on the saddle's path too."""
    for here in (
        problem(decay=decay),
        nf.Problem(saddle().sizes, saddle().kernel, saddle().state, decay=decay),
    ):
        for stop in (nf.Stop(), NEVER):
            found = nf.solve(here, t_end=20.0, stop=stop, engine=engine, rtol=1e-6)
            assert found.reason in (nf.Reason.T_END, nf.Reason.STATIONARY, nf.Reason.NC1)
            assert np.abs(found.final.W).max() < 1e-5


@pytest.mark.parametrize(("lw", "lh"), [(0.0, 0.0), (0.3, 0.3), (0.1, 0.9), (0.7, 0.0)])
def test_the_rates_of_the_saddle_are_those_of_the_linearised_flow(lw, lh):
    g = 1.7
    growing, falling = np.linalg.eigvalsh([[-lw, g], [g, -lh]])[::-1]
    found = Saddle.of(nf.Decay(lw, lh), g)
    assert (found.growing, found.falling) == pytest.approx((growing, -falling))
    # exp((growing + falling) t) = 100 when exp(-falling t) is the depth.
    t = np.log(100.0) / (growing - falling)
    assert found.depth(100.0) == pytest.approx(np.exp(falling * t))
    assert Saddle.of(nf.Decay(2 * g, g / 2), g) is None


def test_a_small_limit_that_is_approached_is_no_saddle():
    """rho = lw/g near 1: the limit is as small as a state on its way into the saddle, but nothing falls."""
    sizes = nf.Sizes(2, 2, 4)
    g = np.sqrt(2 * KERNEL.eigenvalues(sizes).mu_class)
    decay = nf.Decay.equal((1 - 1e-4) * g)
    state = nf.initial.make("balanced", sizes, KERNEL, seed=0, scale=30.0)
    found = nf.solve(nf.Problem(sizes, KERNEL, state, decay=decay), t_end=1e3, rtol=1e-2, throw=False)
    assert found.reason is not nf.Reason.SADDLE


def test_large_states_that_shrink_to_their_limit_fall_into_no_saddle():
    kernel, sizes = KERNEL, nf.Sizes(2, 2, 4)
    state = nf.initial.make("balanced", sizes, kernel, seed=0, scale=3e4)
    found = nf.solve(nf.Problem(sizes, kernel, state), t_end=1e-3, rtol=1e-4, throw=False)
    assert found.reason is not nf.Reason.SADDLE


def test_norms_of_tiny_blocks_do_not_vanish():
    assert norm([np.full(4, 1e-300)]) == pytest.approx(2e-300)
    assert norm([np.zeros(3), np.zeros((0, 2))]) == 0.0
    assert rms(np.full((2, 2), 3e-310)) == pytest.approx(3e-310, rel=1e-6)
    assert rms(np.zeros(0)) == 0.0
    tiny = [np.full((2, 2), 1e-250), np.full((2, 2), 1e-250), np.zeros(2)]
    assert relative_speed(tiny, tiny) == pytest.approx(1.0)
    assert (
        relative_speed([np.zeros(2), np.ones(2), np.ones(2)], [np.full(2, 1e-300), np.zeros(2), np.zeros(2)])
        == np.inf
    )
    assert relative_speed(tiny, [0 * block for block in tiny]) == 0.0
