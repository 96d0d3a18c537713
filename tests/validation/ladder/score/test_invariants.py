"""What each rung conserves: integrated independently, and refused in words where nothing can be said."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from ntkflow_validation.ladder.operators.base import ClassOperator, KernelOperator
from ntkflow_validation.ladder.operators.subspace import CorrectedOperator
from ntkflow_validation.ladder.rungs import SPECS, build
from ntkflow_validation.ladder.score.invariants import DIAGONAL, TRACE, WHOLE, invariant_of
from ntkflow_validation.ladder.trajectories.chebyshev import flow
from ntkflow_validation.runs.compared import Ratios

import ntkflow as nf
from tests.validation.ladder.networks import NONLINEAR, measured

TIMES = np.array([0.0, 0.02])
KEPT = {
    "block": WHOLE,
    "rayleigh": WHOLE,
    "row-block": WHOLE,
    "class-block": WHOLE,
    "row-class-block": WHOLE,
    "sample": WHOLE,
    "row-sample": WHOLE,
    "neuron-diagonal": DIAGONAL,
    "kronecker": "eigenblocks of E",
    "krylov-2": TRACE,
    "residual-3": TRACE,
    "residual-6": TRACE,
    "residual-classes-3": TRACE,
}
NONE = {
    "block-in-time": "moves in time",
    "row-product": "no inverse",
    "row-modes-16": "no inverse",
    "row-class-matrix": "no inverse",
    "components": "no inverse",
}


@pytest.fixture(scope="module")
def network():
    return measured(NONLINEAR)


def operator(network, name):
    return build(next(s for s in SPECS if s.name == name), network).operator


@pytest.mark.parametrize("name", KEPT)
def test_a_rung_keeps_its_invariant_along_its_own_flow_and_the_network_does_not(network, name):
    op = operator(network, name)
    found = invariant_of(op, network.state, network.sizes)
    assert (found.of, found.reason) == (KEPT[name], None)
    last = flow(op, network.state, TIMES, 1e-9)[-1]
    assert np.linalg.norm(last.H - network.state.H) > 0.01 * np.linalg.norm(network.state.H)
    own = found.ratios(network.state, last)
    assert own.relative_to_E0 < 1e-5
    assert own.relative_to_terms < 1e-5
    wrong = replace(network.state, W=last.W)
    assert found.ratios(network.state, wrong).relative_to_terms == pytest.approx(1)


@pytest.mark.parametrize("name", NONE)
def test_a_rung_without_one_says_why(network, name):
    found = invariant_of(operator(network, name), network.state, network.sizes)
    assert found.of is None
    assert NONE[name] in found.reason
    assert found.ratios(network.state, network.state) == Ratios()


def test_the_tensor_is_kept_when_stored_and_passes_through_the_network_are_not_inverted(network):
    stored = invariant_of(operator(network, "tensor"), network.state, network.sizes)
    assert (stored.of, stored.reason) == (TRACE, None)
    assert "never inverted" in invariant_of(network.frozen, network.state, network.sizes).reason


def test_matrices_between_neurons_keep_the_trace_alone():
    rng, sizes = np.random.default_rng(0), nf.Sizes(C=3, m=4, n=5)
    root = rng.normal(size=(15, 15))
    T = (root @ root.T + np.eye(15)).reshape(5, 3, 5, 3)
    roots = rng.normal(size=(3, 5, 5))
    op = ClassOperator(T, roots @ roots.transpose(0, 2, 1) + np.eye(5), sizes)
    state = nf.initial.make("gaussian", sizes, seed=0)
    found = invariant_of(op, state, sizes)
    assert found.of == TRACE
    last = flow(op, state, TIMES, 1e-9)[-1]
    assert found.ratios(state, last).relative_to_terms < 1e-5
    whole = replace(found, project=np.ravel)
    assert whole.ratios(state, last).relative_to_terms > 1e-2


def test_matrix_blocks_of_a_recorded_run_keep_the_trace_and_not_all_of_E():
    rng, sizes = np.random.default_rng(1), nf.Sizes(C=3, m=4, n=5)
    A_n, A_c, A_d = (root @ root.T + np.eye(5) for root in 0.5 * rng.normal(size=(3, 5, 5)))
    op = KernelOperator(nf.MatrixBlockKernel(A_d + A_c + A_n, A_c + A_n, A_n), sizes)
    state = nf.initial.make("gaussian", sizes, seed=0)
    found = invariant_of(op, state, sizes)
    assert found.of == TRACE
    last = flow(op, state, TIMES, 1e-9)[-1]
    assert found.ratios(state, last).relative_to_terms < 1e-5
    whole = replace(found, project=np.ravel)
    assert whole.ratios(state, last).relative_to_terms > 1e-2


def test_the_ratios_of_the_block_kernel_are_those_of_the_paper_invariant():
    sizes, kernel = nf.Sizes(C=3, m=4, n=5), nf.BlockKernel(1.5, 0.9, 0.2)
    first, last = (nf.initial.make("gaussian", sizes, kernel, seed=seed) for seed in (0, 1))
    found = invariant_of(KernelOperator(kernel, sizes), first, sizes).ratios(first, last)
    E = [nf.metrics.invariant_terms(state, sizes, kernel).E for state in (first, last)]
    assert found.relative_to_E0 == pytest.approx(np.linalg.norm(E[1] - E[0]) / np.linalg.norm(E[0]))


def test_the_ratios_of_a_kernel_on_features_do_not_depend_on_their_axes():
    sizes, rng = nf.Sizes(C=3, m=4, n=5), np.random.default_rng(0)
    V, Q = (np.linalg.qr(rng.normal(size=(5, 5)))[0] for _ in range(2))
    A = (V * [1.0, 1.0, 2.0, 2.0, 2.0]) @ V.T
    states = [nf.initial.make("gaussian", sizes, seed=seed) for seed in (0, 1)]
    found = []
    for turn in (np.eye(5), Q):
        moved = [nf.State(turn.T @ s.H, s.W @ turn, s.b) for s in states]
        kernel = nf.KroneckerKernel(nf.BlockKernel(1.5, 0.9, 0.2), turn.T @ A @ turn)
        found.append(astuple(invariant_of(KernelOperator(kernel, sizes), moved[0], sizes).ratios(*moved)))
    assert found[1] == pytest.approx(found[0], rel=1e-10)


def test_an_operator_that_holds_its_own_directions_still_has_none():
    sizes = nf.Sizes(C=2, m=2, n=2)
    rest = ClassOperator(np.eye(4).reshape(2, 2, 2, 2) / 2, np.ones(2), sizes)
    Z = np.eye(8)[:1]
    op = CorrectedOperator(Z, 0 * Z, np.zeros((1, 1)), rest, sizes)
    found = invariant_of(op, nf.initial.make("gaussian", sizes, seed=0), sizes)
    assert found.of is None
    assert "no inverse" in found.reason
