import numpy as np
import pytest

import ntkflow as nf
from ntkflow.metrics import balance as module
from ntkflow.metrics.balance import balance, rate
from ntkflow.metrics.quantities import conserved
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import ScheduledKernel
from ntkflow.problem.losses import MSE, CrossEntropy
from tests.flows import integrate
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder

SIZES = nf.Sizes(3, 3, 4)
# Denser at the start, where the residual moves fastest.
TIMES = np.linspace(0, 1, 181) ** 2
KNOT = float(TIMES[162])


def moving(name, seeds=(0, 1), times=(0.0, KNOT), sizes=SIZES):
    kernels = [ladder.make(name, sizes, seed) for seed in seeds]
    if name == "block":
        kernels[1] = nf.BlockKernel(2.0, 0.9, 0.4)
    return ScheduledKernel(times, tuple(kernels))


def run(kernel, times=TIMES, sizes=SIZES, **changes):
    problem = nf.Problem(sizes, kernel, random_state(sizes), **changes)
    return balance(problem, times, integrate(problem, times))


@pytest.mark.parametrize("loss", [MSE(), CrossEntropy()], ids=["mse", "cross-entropy"])
@pytest.mark.parametrize("name", ladder.NAMES)
def test_decay_changes_every_rung_s_numbers_as_stated(name, loss):
    sides = run(ladder.make(name, SIZES), loss=loss, decay=Decay(0.5, 0.2, 0.3))
    assert sides.error < 1e-9
    assert np.abs(sides.values[-1] - sides.values[0]).max() > 1e-2 * sides.scale.max()


@pytest.mark.parametrize("name", ["block", "class-block", "sample"])
def test_a_moving_kernel_changes_E_as_stated(name):
    sides = run(moving(name), decay=Decay(0.3, 0.1, 0.0))
    assert sides.error < 1e-8
    assert np.abs(sides.values[-1] - sides.values[0]).max() > 1e-2 * sides.scale.max()


@pytest.mark.parametrize("name", ["kronecker", "matrix-block", "tensor"])
def test_generic_moving_kernels_with_feature_structure_leave_the_trace(name):
    sizes = nf.Sizes(2, 2, 3)
    sides = run(moving(name, sizes=sizes), sizes=sizes)
    assert sides.names == ("tr E",)
    assert sides.error < 1e-8
    assert abs(sides.values[-1] - sides.values[0]).max() > 1e-3 * sides.scale.max()


def test_block_kernels_obey_the_three_eigenvalue_form():
    # dE/dt = (mu_c'/mu_c^2) H1 P H1^T + (mu_g'/mu_g^2) C g g^T + (mu_s'/mu_s^2) S.
    kernel, state, t, h = moving("block"), random_state(SIZES), 0.3, 1e-6
    problem = nf.Problem(SIZES, kernel, state)
    mu = np.array(kernel.at(t).eigenvalues(SIZES))
    slopes = (
        np.array(kernel.at(t + h).eigenvalues(SIZES)) - np.array(kernel.at(t - h).eigenvalues(SIZES))
    ) / (2 * h)
    H1 = state.H.reshape(4, 3, 3).mean(axis=2)
    g = H1.mean(axis=1)
    H2 = state.H - np.repeat(H1, 3, axis=1)
    parts = [H2 @ H2.T / 3, (H1 - g[:, None]) @ H1.T, 3 * np.outer(g, g)]
    want = sum(slope / value**2 * part for slope, value, part in zip(slopes, mu, parts, strict=True))
    np.testing.assert_allclose(rate(problem, state, t), want[np.triu_indices(4)], atol=1e-8)


def test_a_common_factor_of_the_kernel_pulls_E_to_the_weights():
    # K = s(t) K0: dE/dt = (s'/s)(W^T W / m - E).
    K0, state = ladder.make("class-block", SIZES), random_state(SIZES)
    twice = type(K0)(2 * K0.kappa_d, 2 * K0.B)
    problem = nf.Problem(SIZES, ScheduledKernel((0.0, 1.0), (K0, twice)), state)
    E = conserved(problem.kernel, SIZES).values(state, 0.5)
    weights = (state.W.T @ state.W / 3)[np.triu_indices(4)]
    np.testing.assert_allclose(rate(problem, state, 0.5), (weights - E) / 1.5, atol=1e-12)


def test_the_rate_is_the_time_derivative_along_the_flow():
    problem = nf.Problem(SIZES, moving("kronecker"), random_state(SIZES), decay=Decay(0.4, 0.1, 0.2))
    quantities = conserved(problem.kernel, SIZES)
    h = 1e-3
    states = integrate(problem, [0.3 - h, 0.3, 0.3 + h])
    slope = (quantities.values(states[2], 0.3 + h) - quantities.values(states[0], 0.3 - h)) / (2 * h)
    np.testing.assert_allclose(rate(problem, states[1], 0.3), slope, rtol=1e-4)


def test_a_wrong_formula_leaves_a_gap(monkeypatch):
    kernel = ladder.make("block", SIZES)
    right = module._rate
    monkeypatch.setattr(module, "_rate", lambda *a: 1.01 * right(*a))
    assert run(kernel, decay=Decay(0.5, 0.2, 0.3)).error > 1e-4


def test_knots_between_saved_times_cost_accuracy_only_there():
    times = np.linspace(0, 1, 180) ** 2
    assert KNOT not in times
    assert 1e-9 < run(moving("block"), times).error < 1e-3


def test_coarse_saves_are_still_balanced_to_the_order_of_the_spline():
    errors = [
        run(ladder.make("block", SIZES), np.linspace(0, 0.5, n), decay=Decay(0.5)).error for n in (3, 21, 81)
    ]
    assert errors[0] < 1e-1
    assert errors[1] < errors[0] / 100
    assert errors[2] < errors[1] / 100


def test_without_modifications_both_sides_are_zero():
    sides = run(ladder.make("block", SIZES))
    assert np.all(sides.integral == 0)
    assert sides.error < 1e-11


def test_one_state_per_time_is_needed():
    problem = nf.Problem(SIZES, ladder.make("block", SIZES), random_state(SIZES))
    with pytest.raises(nf.InputError, match="times = 2 times for 1 states"):
        balance(problem, [0.0, 1.0], [problem.state])
