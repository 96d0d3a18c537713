"""No reported number depends on the axes of feature space, on the names of classes, or on the order of samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.dynamics.packed import RawFlow, collapse_rate
from ntkflow.integrate.descent.descent import descend
from ntkflow.integrate.descent.solution import as_solution
from ntkflow.integrate.horizon import default_horizon
from ntkflow.integrate.law_check import LawCheck
from ntkflow.integrate.series import DESCRIPTIONS
from ntkflow.integrate.solution import Solution, Stats
from ntkflow.metrics.quantities import conserved
from ntkflow.problem import kernels
from ntkflow.runs.agreement import compare
from ntkflow.runs.border.records import document
from ntkflow.runs.predicted import predictions
from ntkflow.runs.summary import _invariant, block_constants
from ntkflow.theory import decay_conditions
from ntkflow.theory.prediction import predict_flow, predictable
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder
from tests.strategies import costly

RUNGS = (*ladder.NAMES, "scheduled")
# The only number of all that depends on the axes of features: the paper's mean over them.
OF_THE_AXES = {"NC1"}
# How a run kept the law of E is found while it is integrated; these states were not.
LAW = LawCheck(0.0, 0.1, 1e-9)
STATS = Stats("none", "", "raw", 0, 0.0, 0, 0, 1e-9, 1e-9, 0.0)


def rotate_kernel(kernel, Q, sizes):
    if kernel.rung == "kronecker":
        return kernels.KroneckerKernel(kernel.K, Q.T @ kernel.A @ Q)
    if kernel.rung == "matrix-block":
        return kernels.MatrixBlockKernel(*(Q.T @ A @ Q for A in (kernel.A_d, kernel.A_c, kernel.A_n)))
    if kernel.rung == "tensor":
        turn = np.kron(Q, np.eye(sizes.N))
        Theta = turn.T @ ladder.dense(kernel, sizes) @ turn
        return kernels.TensorKernel((Theta + Theta.T) / 2)
    if kernel.rung == "scheduled":
        return kernels.ScheduledKernel(
            kernel.times, tuple(rotate_kernel(k, Q, sizes) for k in kernel.kernels)
        )
    return kernel


def relabel_kernel(kernel, classes, samples, sizes):
    """The kernel of the samples in another order, of which the classes are in the order `classes`."""
    if kernel.rung == "class-block":
        return kernels.ClassBlockKernel(kernel.kappa_d[classes], kernel.B[np.ix_(classes, classes)])
    if kernel.rung == "sample":
        return kernels.SampleKernel(kernel.K[np.ix_(samples, samples)])
    if kernel.rung == "kronecker":
        return kernels.KroneckerKernel(relabel_kernel(kernel.K, classes, samples, sizes), kernel.A)
    if kernel.rung == "tensor":
        n, N = sizes.n, sizes.N
        Theta = ladder.dense(kernel, sizes).reshape(n, N, n, N)[:, samples][:, :, :, samples]
        return kernels.TensorKernel(Theta.reshape(n * N, n * N))
    if kernel.rung == "scheduled":
        knots = (relabel_kernel(k, classes, samples, sizes) for k in kernel.kernels)
        return kernels.ScheduledKernel(kernel.times, tuple(knots))
    return kernel


def make(name, sizes, seed):
    if name != "scheduled":
        return ladder.make(name, sizes, seed)
    return kernels.ScheduledKernel(
        (0.0, 1.0), (ladder.make("kronecker", sizes, seed), ladder.make("kronecker", sizes, seed + 1))
    )


def solution(problem, states):
    """Any states as if they had been integrated: the numbers said of them do not ask whether they were."""
    packed = np.stack([np.concatenate([s.H.ravel(), s.W.ravel(), s.b]) for s in states])
    times = np.linspace(0, 1, len(states))
    return Solution(problem, times, packed, nf.Reason.T_END, STATS, RawFlow.build(problem), LAW)


def flat(values, name=""):
    """All numbers in nested plain values, by name; lists in increasing order, as their order is that of classes."""
    if isinstance(values, dict):
        return {k: v for key, value in values.items() for k, v in flat(value, f"{name}.{key}").items()}
    if isinstance(values, list | tuple) and values and isinstance(values[0], dict):
        return {k: v for i, value in enumerate(values) for k, v in flat(value, f"{name}[{i}]").items()}
    if values is None or isinstance(values, str):
        return {}
    return {name: np.sort(np.asarray(values, dtype=float).ravel())}


def reported(run):
    """Every number that a run, its summary and `theory` report."""
    problem = run.problem
    prediction = predict_flow(problem) if predictable(problem) else None
    decayed = decay_conditions.predict_decayed(problem) if problem.decay.any else None
    lines = {f"{line.quantity}": line.error for line in compare(run, prediction)}
    return {
        **{name: values for name, values in run.series.items()},
        "clock": collapse_rate(problem),
        "horizon": default_horizon(problem),
        **flat(document(_invariant(run, prediction)), "invariant"),
        **flat(document(block_constants(problem))),
        **flat(document(predictions(problem, prediction, decayed)), "predicted"),
        **flat(lines, "agreement"),
    }


def assert_same(got, want, but=()):
    assert got.keys() == want.keys()
    for name in want:
        if name not in but:
            np.testing.assert_allclose(got[name], want[name], rtol=2e-8, atol=1e-11, err_msg=name)


@st.composite
def cases(draw):
    name = draw(st.sampled_from(RUNGS))
    C = draw(st.integers(2, 3))
    equal = draw(st.booleans()) or name in ladder.BALANCED_ONLY
    m = draw(st.integers(1, 3)) if equal else tuple(draw(st.lists(st.integers(1, 3), min_size=C, max_size=C)))
    sizes, seed = nf.Sizes(C, m, draw(st.integers(1, 5))), draw(st.integers(0, 10**6))
    decay = draw(st.sampled_from([None, nf.Decay(0.1, 0.1, 0.0), nf.Decay(0.2, 0.05, 0.1)]))
    states = [random_state(sizes, seed + i) for i in range(2)]
    return nf.Problem(sizes, make(name, sizes, seed), states[0], decay=decay or nf.Decay()), states, seed


@given(cases())
@costly(25)
def test_every_reported_number_survives_a_rotation_of_features(case):
    problem, states, seed = case
    sizes = problem.sizes
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((sizes.n, sizes.n)))[0]
    turned = [nf.State(Q.T @ s.H, s.W @ Q, s.b) for s in states]
    other = nf.Problem(sizes, rotate_kernel(problem.kernel, Q, sizes), turned[0], decay=problem.decay)
    assert_same(reported(solution(other, turned)), reported(solution(problem, states)), but=OF_THE_AXES)


@given(cases())
@costly(25)
def test_every_reported_number_survives_another_order_of_classes_and_samples(case):
    problem, states, seed = case
    sizes, rng = problem.sizes, np.random.default_rng(seed)
    classes = rng.permutation(sizes.C)
    samples = np.concatenate([sizes.starts[c] + rng.permutation(sizes.counts[c]) for c in classes])
    moved = [nf.State(s.H[:, samples], s.W[classes], s.b[classes]) for s in states]
    small = nf.Sizes(sizes.C, tuple(sizes.counts[c] for c in classes), sizes.n)
    kernel = relabel_kernel(problem.kernel, classes, samples, sizes)
    other = nf.Problem(small, kernel, moved[0], decay=problem.decay)
    assert_same(reported(solution(other, moved)), reported(solution(problem, states)))


def test_the_papers_NC1_alone_depends_on_the_axes_and_says_so():
    sizes = nf.Sizes(3, 4, 5)
    state = random_state(sizes)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    runs = [
        solution(nf.Problem(sizes, ladder.make("block", sizes), s), [s])
        for s in (state, nf.State(Q.T @ state.H, state.W @ Q, state.b))
    ]
    one, two = (run.series for run in runs)
    moved = {name for name in one if abs(one[name][0] - two[name][0]) > 1e-9}
    assert moved == OF_THE_AXES
    assert "axes" in DESCRIPTIONS["NC1"]


@pytest.mark.parametrize("name", RUNGS)
def test_steps_and_their_law_survive_a_rotation(name):
    sizes = nf.Sizes(2, 2, 4)
    state, kernel = random_state(sizes), make(name, sizes, 0)
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    numbers = []
    for s, k in (
        (state, kernel),
        (nf.State(Q.T @ state.H, state.W @ Q, state.b), rotate_kernel(kernel, Q, sizes)),
    ):
        found = descend(nf.Problem(sizes, k, s), steps=5, eta=0.01, momentum=0.5)
        numbers.append({"drift": found.drift, "error": found.error, **as_solution(found, 0.0).series})
    assert_same(numbers[1], numbers[0], but=OF_THE_AXES)


@pytest.mark.parametrize("name", ["block", "class-block", "sample"])
def test_the_norm_is_that_of_the_matrix_where_all_of_E_is_conserved(name):
    sizes = nf.Sizes(3, 3, 4)
    state, kernel = random_state(sizes), ladder.make(name, sizes)
    K = ladder.dense(kernel, nf.Sizes(3, 3, 1))
    E = (state.W.T @ state.W - state.H @ np.linalg.solve(K, state.H.T)) / 3
    assert solution(nf.Problem(sizes, kernel, state), [state]).series["E_norm"][0] == pytest.approx(
        np.linalg.norm(E)
    )
    quantity = conserved(kernel, sizes)
    assert quantity.norm(quantity.values(state)) == pytest.approx(np.linalg.norm(E))


def test_the_norm_is_that_of_the_projection_on_what_commutes():
    # Averaging F over the orthogonal matrices that commute with A projects on what commutes with A: here signs.
    sizes = nf.Sizes(3, 3, 4)
    V = np.linalg.qr(np.random.default_rng(2).standard_normal((4, 4)))[0]
    kernel = kernels.KroneckerKernel(ladder.make("block", sizes), (V * [1.0, 2.0, 2.0, 3.0]) @ V.T)
    state = random_state(sizes)
    weights, features = conserved(kernel, sizes).terms(state)
    F = V.T @ (weights - features) @ V
    blocks = np.zeros((4, 4))
    for piece in (slice(0, 1), slice(1, 3), slice(3, 4)):
        blocks[piece, piece] = F[piece, piece]
    quantity = conserved(kernel, sizes)
    assert quantity.norm(quantity.values(state)) == pytest.approx(np.linalg.norm(blocks))
    # Of the whole tensor only the multiple of the identity is left: tr F / n times 1, of norm |tr F| / sqrt n.
    tensor = ladder.make("tensor", sizes)
    quantity = conserved(tensor, sizes)
    weights, features = quantity.terms(state)
    assert quantity.norm(quantity.values(state)) == pytest.approx(abs(np.trace(weights - features)) / 2)


def test_one_kernel_written_as_several_rungs_has_one_set_of_numbers():
    sizes = nf.Sizes(3, 3, 4)
    states, block = [random_state(sizes, i) for i in range(2)], ladder.make("block", sizes)
    found = [
        solution(nf.Problem(sizes, kernel, states[0]), states).series
        for kernel in (
            block,
            kernels.ClassBlockKernel.from_block(block, 3),
            kernels.SampleKernel(block.matrix(sizes)),
            kernels.KroneckerKernel(block, np.eye(4)),
        )
    ]
    for series in found[1:]:
        for name in series.keys() & found[0].keys():
            np.testing.assert_allclose(series[name], found[0][name], rtol=1e-9, err_msg=name)
