import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.fields import raw_field, residual
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.thin import decompose
from ntkflow.theory import limits, rates, spectrum
from tests import oracle
from tests.theory.test_limits import CASES, projector_state

SIZES, KERNEL = nf.Sizes(3, 2, 5), nf.BlockKernel(2.6, 1.1, 0.4)


def collapse_point(sizes, kernel, e=0.0):
    """(H, W, b) of an exact collapse point: W = sqrt(x) P in some frame, H1 = W^T/x."""
    x = limits.lambda_balanced_x(sizes, kernel, e)
    frame = np.linalg.qr(np.random.default_rng(1).standard_normal((sizes.n, sizes.C)))[0]
    W = np.sqrt(x) * centring(sizes.C) @ frame.T
    return nf.State(np.repeat(W.T / x, sizes.m, axis=1), W, np.full(sizes.C, 1 / sizes.C))


def test_an_observed_run_approaches_collapse_at_the_rates_of_the_table():
    kernel = nf.BlockKernel(5.0, 1.1, 0.4)
    e = 0.2
    state = projector_state(SIZES, kernel, e, 2, np.random.default_rng(0))
    early, late = oracle.integrate_raw(nf.Problem(SIZES, kernel, state), np.array([5.0, 6.0]), rtol=1e-13)
    observed = np.log(nf.metrics.nc(early, SIZES)["NC1"] / nf.metrics.nc(late, SIZES)["NC1"])
    rate = spectrum.at_collapse(SIZES, kernel, e).rate("contrast, within class")
    assert observed == pytest.approx(rate, rel=1e-5)


def test_time_to_collapse_is_the_time_NC1_takes():
    kernel = nf.BlockKernel(5.0, 1.1, 0.4)
    state = nf.initial.make("balanced-contrast", SIZES, kernel)
    wait = rates.time_to_collapse(SIZES, kernel, 100.0)
    early, late = oracle.integrate_raw(
        nf.Problem(SIZES, kernel, state), np.array([3.0, 3.0 + wait]), rtol=1e-13
    )
    a, b = (nf.metrics.nc(s, SIZES)["NC1"] for s in (early, late))
    assert a / b == pytest.approx(100, rel=1e-3)
    trace = np.sum(decompose(early, SIZES)[0].L ** 2) / np.sum(decompose(late, SIZES)[0].L ** 2)
    assert trace == pytest.approx(100**2, rel=2e-3)


@pytest.mark.parametrize("e", [-0.4, 0.0, 0.4])
def test_time_to_collapse_with_E_is_that_of_the_within_class_rate(e):
    rate = spectrum.at_collapse(SIZES, KERNEL, e).rate("contrast, within class")
    assert rates.time_to_collapse(SIZES, KERNEL, 100.0, e) == pytest.approx(np.log(100) / rate, rel=1e-12)


def test_the_collapse_rate_does_not_grow_with_m():
    sizes, kernel = nf.Sizes(3, 10**8, 5), nf.BlockKernel(2.6, 1.1, 0.4)
    large = np.log(100) / (1.5 / np.sqrt(0.7))
    assert rates.time_to_collapse(sizes, kernel, 100.0) == pytest.approx(large, rel=1e-6)


@pytest.mark.parametrize(("sizes", "kernel"), CASES)
def test_the_slowest_within_class_rate_is_mu_single_times_the_smallest_eigenvalue_of_X(sizes, kernel):
    for beta in (-0.5, 0.1, 1 / sizes.C, 0.8):
        X = limits.equal_bias(sizes, kernel, beta).X
        expected = kernel.eigenvalues(sizes).mu_single * np.linalg.eigvalsh(X)[0]
        assert rates.slowest_within(sizes, kernel, beta) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_algebraic_tail_is_exact_once_the_classes_are_fitted():
    sizes, kernel = nf.Sizes(3, 2, 5), KERNEL
    point, w2 = collapse_point(sizes, kernel), 0.37
    frame = np.linalg.svd(point.W)[2]
    u, mu = frame[-1], kernel.eigenvalues(sizes)
    q = np.array([1, -1, 0, 0, 0, 0]) / np.sqrt(2)
    H = point.H + np.sqrt(mu.mu_single * w2) * np.outer(u, q)
    W = point.W + np.sqrt(w2 / 3) * np.outer(np.ones(3), u)
    state = nf.State(H, W, point.b)
    assert np.linalg.norm(nf.metrics.invariant_terms(state, sizes, kernel).E) < 1e-14
    t = np.array([0.5, 2.0, 10.0])
    sums, traces = (law(t, sizes, kernel, w2) for law in (rates.tail_column_sums, rates.tail_trace_S))
    states = oracle.integrate_raw(nf.Problem(sizes, kernel, state), t)
    for i, now in enumerate(states):
        assert np.sum(now.W.sum(axis=0) ** 2) / 3 == pytest.approx(sums[i], rel=1e-10)
        assert np.sum(decompose(now, sizes)[0].L ** 2) / 2 == pytest.approx(traces[i], rel=1e-10)


def test_the_algebraic_tail_is_reached_from_a_generic_balanced_start():
    sizes, kernel = nf.Sizes(3, 3, 6), nf.BlockKernel(3.5, 0.9, 0.3)
    state = nf.initial.make("balanced-centred", sizes, kernel, seed=2)
    t = np.array([300.0])
    end = oracle.integrate_raw(nf.Problem(sizes, kernel, state), t, rtol=1e-11)[0]
    thin = decompose(end, sizes)[0]
    loss = 0.5 * np.sum((end.logits - np.repeat(np.eye(3), 3, axis=1)) ** 2)
    metrics = nf.metrics.nc(end, sizes)
    assert np.sum(thin.L**2) / 3 == pytest.approx(rates.tail_trace_S(t, sizes, kernel)[0], rel=1e-2)
    assert np.sum(end.W.sum(axis=0) ** 2) / 3 == pytest.approx(
        rates.tail_column_sums(t, sizes, kernel)[0], rel=1e-2
    )
    assert loss == pytest.approx(rates.tail_loss(t, sizes, kernel)[0], rel=2e-2)
    assert metrics["NC3"] == pytest.approx(rates.tail_NC3(t, sizes, kernel)[0], rel=1e-2)
    assert metrics["NC2"] < 1e-4


def test_a_small_start_stays_near_the_origin_for_the_plateau_time():
    sizes, kernel = SIZES, KERNEL
    state = nf.initial.make("balanced-contrast", sizes, kernel, seed=1)
    start = []
    for scale in (1e-3, 1e-6):
        small = nf.State(scale * state.H, scale * state.W, state.b)
        times = np.linspace(0, 8, 81)[1:]
        losses = [
            np.linalg.norm(s.logits - np.repeat(np.eye(3), 2, axis=1))
            for s in oracle.integrate_raw(nf.Problem(sizes, kernel, small), times, rtol=1e-10)
        ]
        start.append(np.interp(-1.0, -np.array(losses), times))
    expected = rates.plateau_time(sizes, kernel, 1e-6) - rates.plateau_time(sizes, kernel, 1e-3)
    assert start[1] - start[0] == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize(("factor", "stable"), [(0.95, True), (1.05, False)])
def test_gradient_descent_is_stable_below_the_largest_step_only(factor, stable):
    point = collapse_point(SIZES, KERNEL)
    step = factor * rates.largest_step(spectrum.at_collapse(SIZES, KERNEL).fastest)
    rng = np.random.default_rng(0)
    H, W, b = point.H + 1e-6 * rng.standard_normal(point.H.shape), point.W, point.b
    Y = np.repeat(np.eye(3), 2, axis=1)
    losses = []
    for _ in range(200):
        R = residual(H, W, b, Y)
        losses.append(np.linalg.norm(R))
        dH, dW, db = raw_field(H, W, R, KERNEL, SIZES)
        H, W, b = H + step * dH, W + step * dW, b + step * db
    assert (losses[-1] < losses[0]) == stable


def test_bad_input_is_refused_with_a_reason():
    with pytest.raises(nf.InputError, match="leaves nothing to collapse"):
        rates.time_to_collapse(nf.Sizes(3, 1, 4), KERNEL, 10.0)
    with pytest.raises(nf.InputError, match="at least 1"):
        rates.time_to_collapse(SIZES, KERNEL, 0.5)
    with pytest.raises(nf.InputError, match="zero excluded"):
        rates.plateau_time(SIZES, KERNEL, 0.0)
    with pytest.raises(nf.InputError, match="fastest rate"):
        rates.largest_step(0.0)
