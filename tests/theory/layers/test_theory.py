"""What is said of linear layers beforehand, against runs and Jacobians (theory 18.4 to 18.8)."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.problem.layers import initial
from ntkflow.theory.layers import course, limits, rates
from ntkflow.theory.layers.decay import decayed, thresholds
from ntkflow.theory.layers.frozen import frozen

SIZES = nf.Sizes(3, 3, 4)
KERNEL = nf.BlockKernel(1.0, 0.4, 0.15)
WIDTHS = {1: (4,), 2: (5, 4), 3: (3, 5, 4)}
STAR = {L: limits.collapse_x(SIZES, KERNEL, L) ** 0.5 for L in (1, 2, 3, 4)}


def aligned(L, scale, decay=None):
    state = initial.make("aligned", SIZES, WIDTHS[L], KERNEL, 0, scale)
    return nf.LayeredProblem(SIZES, KERNEL, state, decay=decay or nf.LayerDecay())


@pytest.mark.parametrize("L", [1, 2, 3])
def test_the_limit_of_any_positive_kernel(L):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((9, 9))
    kernel = nf.SampleKernel(X.T @ X + np.eye(9))
    limit = limits.balanced_limit(SIZES, kernel, L)
    # A state with these Gram matrices, all Q_l = 0 and zero loss is at rest: W = U s V^T and so on.
    A, K = np.eye(3) - 1 / 3, kernel.matrix(SIZES)
    U, s, Vt = np.linalg.svd(A @ SIZES.Y @ np.linalg.inv(np.linalg.cholesky(K)).T, full_matrices=False)
    s = s[:2] ** (1 / (L + 1))
    frames = [np.linalg.qr(rng.standard_normal((n, 2)))[0] for n in WIDTHS[L]]
    W = U[:, :2] * s @ frames[-1].T
    H = (frames[0] * s) @ Vt[:2] @ np.linalg.cholesky(K).T
    layers = tuple((frames[l] * s) @ frames[l - 1].T for l in range(1, L))
    state = nf.LayeredState(H, layers, W, np.full(3, 1 / 3))
    flow = LayeredFlow.build(nf.LayeredProblem(SIZES, kernel, state))
    assert np.abs(flow.field(0.0, flow.start)).max() < 1e-10
    assert max(np.abs(Q).max() for Q in flow.invariants(flow.start)) < 1e-10
    np.testing.assert_allclose(W @ W.T, limit.X, atol=1e-10)
    for H, G in zip(state.layers, limit.G, strict=True):
        means = H.reshape(len(H), 3, 3).mean(axis=2)
        np.testing.assert_allclose(means.T @ means, G, atol=1e-10)


@pytest.mark.parametrize("L", [1, 2, 3])
def test_the_spectrum_at_collapse_is_that_of_the_jacobian(L):
    problem = aligned(L, STAR[L])
    flow = LayeredFlow.build(problem, "raw")
    y, h = flow.start, 1e-6
    columns = [(flow.field(0, y + h * e) - flow.field(0, y - h * e)) / (2 * h) for e in np.eye(len(y))]
    found = np.sort(-np.linalg.eigvals(np.stack(columns, axis=1)).real)
    for name, rate in rates.collapse_spectrum(problem).items():
        assert np.abs(found - rate).min() < 1e-6 * rate, name
    assert found.max() == pytest.approx(max(rates.collapse_spectrum(problem).values()), rel=1e-6)


@pytest.mark.parametrize("L", [1, 2, 3, 4])
def test_the_time_of_an_aligned_start(L):
    s0, s1, k = 0.1 * STAR[L], 0.9 * STAR[L], course.pace(SIZES, KERNEL, L)

    def reached(_, p):
        return p[0] - 0.9 ** (L + 1)

    reached.terminal = True
    field = lambda t, p: k * p ** (2 * L / (L + 1)) * (1 - p)  # noqa: E731
    run = solve_ivp(field, (0, 1e6), [0.1 ** (L + 1)], "LSODA", events=reached, rtol=1e-10, atol=1e-14)
    want = float(run.t_events[0][0])
    assert course.time_between(SIZES, KERNEL, L, s0, s1) == pytest.approx(want, rel=1e-6)
    if L < 4:
        solution = nf.solve_layers(aligned(L, s0), save_at=[want], rtol=1e-9)
        assert solution.series["p_most"][0] == pytest.approx(0.9 ** (L + 1), rel=1e-6)
        assert course.fit_time(SIZES, KERNEL, L, s0, 0.9 ** (L + 1)) == pytest.approx(want, rel=1e-6)


def test_a_plateau_is_as_long_as_the_law_says():
    for L in (1, 2, 3):
        s0 = 1e-3 * STAR[L] if L < 3 else 0.02 * STAR[L]
        want = course.fit_time(SIZES, KERNEL, L, s0)
        assert rates.plateau(aligned(L, s0), s0) == pytest.approx(want, rel=0.12)
    with pytest.raises(nf.InputError, match="below s"):
        course.time_between(SIZES, KERNEL, 2, 0.1, 2.0)
    assert course.alignment_law(0.1, 0.4, 2) == pytest.approx(0.75)
    assert course.alignment_law(0.1, 0.4, 1) == 0


@pytest.mark.parametrize("L", [1, 2, 3])
def test_the_ceiling_of_deviations_holds(L):
    state = initial.make("balanced", SIZES, WIDTHS[L], KERNEL, 1, 1.0)
    problem = nf.LayeredProblem(SIZES, KERNEL, state)
    solution = nf.solve_layers(problem, save_at=[0.0, 0.5, 5.0])
    traces = []
    for i in range(3):
        H = solution.state(i).H
        D = H - np.repeat(H.reshape(len(H), 3, 3).mean(axis=2), 3, axis=1)
        traces.append(np.sum(D**2) / 3)
    bound = [limits.ceiling(problem, t, traces[0], 3) for t in solution.times]
    assert bound[0] == pytest.approx(traces[0])
    assert np.all(np.array(traces[1:]) < bound[1:])
    assert limits.ceiling(problem, 1.0, 0.0, 3) == 0.0


@pytest.mark.parametrize("L", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_decay_leaves_contrasts_or_takes_them_at_the_thresholds(L):
    node, least = thresholds(SIZES, KERNEL, L)
    assert least <= node
    rate = 0.4 * least
    decay = nf.LayerDecay(tuple(rate * f for f in (2.0, 0.5, 1.0)[:L]), rate)
    decay = nf.LayerDecay(decay.layers, W=rate ** (L + 1) / np.prod(decay.layers))
    found = decayed(aligned(L, STAR[L], decay))
    assert found.rate == pytest.approx(rate)
    assert found.verdict == "collapse"
    assert "global minimum" in found.sentence
    solution = nf.solve_layers(aligned(L, STAR[L], decay), t_end=25 / min(decay.rates(L)))
    assert solution.series["p_least"][-1] == pytest.approx(found.p_high, rel=1e-7)
    np.testing.assert_allclose(
        solution.final.W @ solution.final.W.T, found.X * (np.eye(3) - 1 / 3), atol=1e-7
    )
    if L > 1:
        assert 0 < found.p_low < (L - 1) / (2 * L) < found.p_high
        equal = nf.LayerDecay(rate, rate)
        barrier = decayed(aligned(L, 1.0, equal)).barrier
        for factor, alive in ((0.95, False), (1.05, True)):
            end = nf.solve_layers(aligned(L, factor * barrier, equal), t_end=25 / rate).series["p_most"][-1]
            assert (end > 0.5) == alive
        between = nf.LayerDecay((least + node) / 2, (least + node) / 2)
        assert decayed(aligned(L, 1.0, between)).verdict == "metastable"
        assert "local minimum only" in decayed(aligned(L, 1.0, between)).sentence
    dead = decayed(aligned(L, 1.0, nf.LayerDecay(1.01 * node, 1.01 * node)))
    assert dead.verdict == "dead"
    assert "go to zero" in dead.sentence
    assert decayed(aligned(L, 1.0, nf.LayerDecay(0.0, 0.1))) is None


def test_the_global_minimum_changes_where_the_costs_cross():
    # Loss plus penalty of p_high against that of zero, m (C-1)/2: equal at lb_1.
    for L in (2, 3):
        least = thresholds(SIZES, KERNEL, L)[1]
        p = decayed(aligned(L, 1.0, nf.LayerDecay(least, least))).p_high
        assert p == pytest.approx((L - 1) / L, rel=1e-9)
        mu_c = KERNEL.eigenvalues(SIZES).mu_class
        cost = 3 / 2 * (1 - p) ** 2 + (L + 1) / 2 * least * (p * (3 / mu_c) ** 0.5) ** (2 / (L + 1))
        assert cost == pytest.approx(3 / 2, rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_kernel_at_collapse_is_the_one_measured_there(weighted):
    problem = aligned(3, STAR[3])
    row = nf.solve_layers(problem, save_at=[0.0, 1e-6]).series
    kernel = limits.collapsed_kernel(SIZES, KERNEL, WIDTHS[3], weighted)
    kind = "_W" if weighted else ""
    np.testing.assert_allclose([row[f"kappa_{k}{kind}"][0] for k in "dcn"], kernel.kappas, atol=1e-10)
    assert limits.collapsed_kernel(SIZES, KERNEL, (4,)) is KERNEL


@pytest.mark.slow
@pytest.mark.parametrize("L", [1, 2])
def test_the_tail_is_algebraic(L):
    state = initial.make("balanced-centred", SIZES, WIDTHS[L], KERNEL, 0, 1.0)
    problem = nf.LayeredProblem(SIZES, KERNEL, state)
    solution = nf.solve_layers(problem, save_at=[5e4], rtol=1e-10, engine="Radau")
    law, end = rates.tail(problem, 5e4), solution.final
    assert np.sum(end.W.sum(axis=0) ** 2) / 3 == pytest.approx(law["W1"], rel=0.02)
    assert solution.series["NC3"][-1] == pytest.approx(law["NC3"], rel=0.02)
    assert solution.series["loss"][-1] == pytest.approx(law["loss"], rel=0.05)


@pytest.mark.parametrize("L", [1, 2, 3])
def test_a_frozen_kernel_costs_the_root_of_what_it_would_have_grown(L):
    small = frozen(SIZES, KERNEL, L, 0.02)
    assert small.nc1 == pytest.approx(np.sqrt(small.growth / L), rel=1e-3)
    assert small.rate == pytest.approx(np.sqrt(L * small.growth), rel=1e-3)
    # For L = 1 nothing moves.
    assert (small.growth == 1) == (L == 1)
