"""Reductions of linear layers: subspaces that are never left, and balanced layers as one matrix (theory 18.1)."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.layers_balanced import BalancedFlow, balanced_outputs
from ntkflow.dynamics.layers_subspace import subspaces
from ntkflow.problem.layers import initial
from tests.linear_layers import distance

KERNEL = nf.BlockKernel(1.0, 0.4, 0.15)
TIMES = [0.3, 1.2]


@pytest.mark.parametrize("name", ["balanced", "balanced-contrast"])
def test_balanced_layers_never_leave_a_few_dimensions(name):
    C = 3
    sizes = nf.Sizes(C, 3, 12)
    state = initial.make(name, sizes, (15, 12), KERNEL, 0, 0.8)
    rng = np.random.default_rng(0)
    # What nothing sees: it stays, or falls at its rate of decay.
    V = state.V[0] + 0.1 * np.outer(*(_orthogonal(A, rng) for A in (state.V[0], state.V[0].T)))
    problem = nf.LayeredProblem(
        sizes, KERNEL, nf.LayeredState(state.H, (V,), state.W, state.b), decay=nf.LayerDecay((0.1, 0.3), 0.1)
    )
    found = subspaces(problem)
    assert max(found.reduced.widths) <= 2 * C
    whole = nf.solve_layers(problem, save_at=TIMES, rtol=1e-9, form="thin")
    small = nf.solve_layers(found.reduced, save_at=TIMES, rtol=1e-9)
    assert small.stats.unknowns < whole.stats.unknowns / 3
    for i, t in enumerate(TIMES):
        assert distance(found.lift(small.state(i), t), whole.state(i)) < 1e-8


def test_deviations_that_fall_at_other_rates_open_directions_that_all_together_do_not():
    # The deviations of both classes together are alike along a and b; each class has only one of them.
    sizes = nf.Sizes(2, 2, 8)
    kernel = nf.ClassBlockKernel([1.0, 3.0], np.array([[0.4, 0.1], [0.1, 0.5]]))
    a, b = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 2)))[0].T
    seen = (a + b) / np.sqrt(2)
    H = np.outer(seen, [0.7, 0.7, -0.5, -0.5]) + np.stack([a, -a, b, -b], axis=1)
    state = nf.LayeredState(H, (), np.outer([0.6, -0.4], seen), np.array([0.3, 0.6]), (np.zeros(8),))
    problem = nf.LayeredProblem(sizes, kernel, state)
    found = subspaces(problem)
    assert found.reduced.widths == (2,)
    whole, small = (
        nf.solve_layers(p, save_at=[0.4], rtol=1e-9, form="thin") for p in (problem, found.reduced)
    )
    assert distance(found.lift(small.final, 0.4), whole.final) < 1e-8


def _orthogonal(A, rng):
    """A unit vector that A's columns are orthogonal to."""
    v = rng.standard_normal(len(A))
    v -= A @ np.linalg.lstsq(A, v, rcond=None)[0]
    return v / np.linalg.norm(v)


def test_generic_layers_have_no_smaller_space_and_any_loss_has_one_of_its_own():
    sizes = nf.Sizes(3, 3, 4)
    generic = nf.LayeredProblem(sizes, KERNEL, initial.make("gaussian", sizes, (5, 4), KERNEL, 0))
    assert subspaces(generic).reduced.widths == (5, 4)
    wide = nf.Sizes(3, 3, 12)
    state = initial.make("balanced", wide, (14, 12), KERNEL, 0, 0.8)
    problem = nf.LayeredProblem(wide, KERNEL, state, nf.CrossEntropy())
    found = subspaces(problem)
    assert max(found.reduced.widths) <= 9
    whole, small = (
        nf.solve_layers(p, save_at=[0.4], rtol=1e-9, form="raw") for p in (problem, found.reduced)
    )
    assert distance(found.lift(small.final, 0.4), whole.final) < 1e-8


@pytest.mark.parametrize(
    ("name", "widths", "loss"),
    [
        ("balanced", (4,), nf.MSE()),
        ("balanced", (5, 4), nf.CrossEntropy()),
        ("balanced-centred", (6, 5, 4), nf.MSE()),
    ],
)
def test_one_matrix_gives_the_outputs_of_all_layers(name, widths, loss):
    sizes = nf.Sizes(3, 3, 4)
    problem = nf.LayeredProblem(sizes, KERNEL, initial.make(name, sizes, widths, KERNEL, 1, 0.8), loss)
    layers = nf.solve_layers(problem, save_at=TIMES, rtol=1e-10)
    outputs, singular = balanced_outputs(problem, TIMES)
    for i in range(2):
        np.testing.assert_allclose(outputs[i], layers.state(i).logits, atol=1e-7)
        s = np.linalg.svd(layers.state(i).W, compute_uv=False)
        np.testing.assert_allclose(singular[i], s ** (len(widths) + 1), atol=1e-7)


def test_starts_that_are_not_balanced_are_refused():
    sizes = nf.Sizes(3, 3, 4)
    state = initial.make("gaussian", sizes, (5, 4), KERNEL, 0)
    with pytest.raises(nf.InputError, match="Q_1"):
        BalancedFlow.build(nf.LayeredProblem(sizes, KERNEL, state))
    balanced = initial.make("balanced", sizes, (5, 4), KERNEL, 0)
    with pytest.raises(nf.InputError, match="decay"):
        BalancedFlow.build(nf.LayeredProblem(sizes, KERNEL, balanced, decay=nf.LayerDecay(0.1)))
