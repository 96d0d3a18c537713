"""Discrete steps of linear layers: the steps of the network written out, and the exact law of Q_1 .. Q_L."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.layers.descent import descend_layers
from ntkflow.problem.layers import initial
from tests.linear_layers import Network, distance

SIZES = nf.Sizes(3, 3, 4)
KERNEL = nf.BlockKernel(1.0, 0.4, 0.15)
ETA = 0.02


def problem_of(widths, decay=None, loss=None, biases=False):
    state = initial.make("gaussian", SIZES, widths, KERNEL, 0, 0.8)
    if biases:
        rng = np.random.default_rng(1)
        c = tuple(0.3 * rng.standard_normal(n) for n in widths)
        state = nf.LayeredState(state.H, state.V, state.W, state.b, c)
    rates = decay if decay is not None else nf.LayerDecay()
    return nf.LayeredProblem(SIZES, KERNEL, state, loss or nf.MSE(), rates)


@pytest.mark.parametrize(
    ("widths", "decay", "loss"),
    [
        ((4,), None, None),
        ((5, 4), nf.LayerDecay((0.1, 0.02), 0.07, 0.03, 0.04), None),
        ((3, 5, 4), None, nf.CrossEntropy()),
    ],
)
def test_the_steps_are_those_of_the_network(widths, decay, loss):
    problem = problem_of(widths, decay, loss, biases=decay is not None)
    network = Network(problem)
    y = network.start
    for _ in range(30):
        y = y + ETA * network.field(0.0, y)
    solution = descend_layers(problem, 30, ETA, every=7)
    assert distance(solution.final, network.state(y)) < 1e-12
    np.testing.assert_allclose(solution.times, ETA * np.array([0, 7, 14, 21, 28, 30]))
    assert solution.discrete
    # Q_l moves with steps, and by nothing but its law.
    assert solution.gaps.max() < 1e-13
    moved = [
        np.linalg.norm(b - a) for a, b in zip(solution.invariants(0), solution.invariants(-1), strict=True)
    ]
    assert min(moved) > 1e-3


def test_one_step_changes_each_invariant_by_the_squares_of_the_gradients():
    problem = problem_of((5, 4))
    network = Network(problem)
    V1, V2, W, *_ = network.split(network.field(0.0, network.start))
    solution = descend_layers(problem, 1, ETA)
    before, after = solution.invariants(0), solution.invariants(1)
    np.testing.assert_allclose(after[0] - before[0], ETA**2 * (V2.T @ V2 - V1 @ V1.T), atol=1e-14)
    np.testing.assert_allclose(after[1] - before[1], ETA**2 * (W.T @ W - V2 @ V2.T), atol=1e-14)


def test_steps_that_diverge_say_so_and_targets_end_them():
    problem = problem_of((5, 4))
    with pytest.raises(nf.SolveError, match="lower the step"):
        descend_layers(problem, 500, 2.0)
    ended = descend_layers(problem, 500, 0.05, stop=nf.Stop(None, 1.0, None))
    assert ended.reason.value == "loss"
    assert ended.series["loss"][-1] < 1.0 <= ended.series["loss"][-2]
    for options in ({"steps": 0}, {"step_size": 0.0}, {"every": 0}, {"form": "thick"}):
        with pytest.raises(nf.InputError):
            descend_layers(problem, **{"steps": 2, "step_size": 0.1, **options})
    with pytest.raises(nf.InputError, match="needs the squared error"):
        descend_layers(problem_of((5, 4), loss=nf.CrossEntropy()), 2, 0.1, form="thin")
