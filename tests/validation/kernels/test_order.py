"""Whatever a measurement hands out fits what it was given, in the order in which it was given."""

import numpy as np
import pytest
from ntkflow_validation.kernels import measure

import ntkflow as nf
from ntkflow.errors import InputError
from ntkflow.problem.kernels import kernel_files
from ntkflow.runs import files
from tests.validation.kernels.nets import features_of, inputs, mlp, pairwise, parameters

LABELS = np.array([2, 0, 1, 0, 2, 2, 0, 1, 0, 2])
W, B = np.random.default_rng(3).normal(size=(3, 4)), np.zeros(3)
RUNGS = ("block", "class-block", "sample", "kronecker", "matrix-block", "tensor")
ALL = ("tensor", "matrix", "outputs", "row-space", "output-tensor")


@pytest.fixture(scope="module")
def measured():
    params, x = parameters(mlp), inputs(LABELS)
    H = features_of(mlp, params, x)
    return measure(mlp, params, x, LABELS, head=(W, B), quantities=ALL), H, pairwise(mlp, params, x)


def test_all_samples_are_in_the_order_given(measured):
    found, H, Theta = measured
    K = np.einsum("pipj->ij", Theta) / 4
    np.testing.assert_allclose(found.H, H, atol=1e-6)
    assert found.labels.tolist() == LABELS.tolist()
    assert found.order.tolist() == list(range(10))
    for given in (
        found.features.mean,
        found.sample().K,
        found.kronecker().K.K,
        found.arrays()["K"],
    ):
        np.testing.assert_allclose(given, K, atol=1e-5 * K.max())
    for given in (
        found.full.values,
        found.arrays()["measured.full.values"],
        found.tensor().Theta.reshape(Theta.shape),
    ):
        np.testing.assert_allclose(given, Theta, atol=1e-5 * Theta.max())
    outputs = np.einsum("kp,piqj,kq->ij", W, Theta, W) / 3 + H.T @ H + 1
    np.testing.assert_allclose(found.outputs.mean, outputs, atol=1e-5 * outputs.max())
    sorted_ = np.argsort(LABELS, kind="stable")
    np.testing.assert_array_equal(found.sample(order="class").K, found.sample().K[np.ix_(sorted_, sorted_)])
    with pytest.raises(InputError, match="given, class"):
        found.sample(order="labels")


@pytest.mark.parametrize("rung", RUNGS)
def test_problems_and_files_are_those_of_sorted_samples(rung, tmp_path):
    # Matrix blocks need classes of one size.
    labels = np.array([2, 0, 1, 0, 2, 1, 1, 2, 0]) if rung == "matrix-block" else LABELS
    params, x, order = parameters(mlp), inputs(labels), np.argsort(labels, kind="stable")
    H = features_of(mlp, params, x)
    wanted = {"matrix-block": ("matrix",), "tensor": ("tensor",), "kronecker": ("matrix",)}.get(rung, ())
    found, expected = (
        measure(mlp, params, x[rows], labels[rows], head=(W, B), quantities=wanted)
        for rows in (np.arange(len(labels)), order)
    )
    found.save_state(tmp_path / "state.npz", H, rung=rung)
    file = files.read_state(tmp_path / "state.npz")
    from_file = nf.Problem(file.sizes, kernel_files.build(file.arrays, rung), file.state)
    expected = expected.problem(rung=rung)
    G = np.random.default_rng(0).normal(size=H.shape)
    moved = expected.kernel.apply(G, expected.sizes)
    for problem in (found.problem(rung=rung), found.problem(H, W, B, rung=rung), from_file):
        np.testing.assert_allclose(problem.state.H, H[:, order], atol=1e-5)
        np.testing.assert_allclose(
            problem.kernel.apply(G, problem.sizes), moved, atol=1e-5 * np.abs(moved).max()
        )


def test_the_obvious_file_is_right(measured, tmp_path):
    found, H, _ = measured
    np.savez(tmp_path / "own.npz", H=H, W=W, b=B, labels=LABELS, K=found.sample().K)
    file = files.read_state(tmp_path / "own.npz")
    np.testing.assert_array_equal(file.arrays["K"], found.sample(order="class").K)


def test_some_samples_of_each_class_say_which(tmp_path):
    params, x = parameters(mlp), inputs(LABELS)
    H = features_of(mlp, params, x)
    found = measure(mlp, params, x, LABELS, head=(W, B), per_class=2)
    assert found.order.tolist() == [0, 1, 2, 3, 4, 7]
    assert found.labels.tolist() == LABELS[found.order].tolist()
    for given in (H, H[:, found.order]):
        problem = found.problem(given, rung="sample")
        np.testing.assert_allclose(problem.state.H, H[:, [1, 3, 2, 7, 0, 4]], atol=1e-6)
    with pytest.raises(InputError, match="one column a sample"):
        found.problem(H[:, :5])
    with pytest.raises(InputError, match="one of block"):
        found.save_state(tmp_path / "x.npz", rung="scheduled")
    with pytest.raises(InputError, match="needs the classifier"):
        measure(mlp, params, x, LABELS).problem()
    assert measure(mlp, params, x, LABELS, head=(W, None)).problem().state.b.tolist() == [0, 0, 0]
