"""Every exact method against the naive pairwise kernel."""

import numpy as np
import pytest
from ntkflow_validation.kernels import measure
from ntkflow_validation.kernels.methods.tensor import blocks_of_tensor

from tests.validation.kernels.nets import NETS, features_of, inputs, means, mlp, no_bias, pairwise, parameters

# Unsorted and imbalanced.
LABELS = np.array([2, 0, 1, 0, 2, 2, 0, 1, 0, 2])
TOLERANCE = 3e-6


def close(found, expected, scale=None):
    scale = np.abs(expected).max() if scale is None else scale
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale)


def problem(net, labels=LABELS):
    params, x = parameters(net), inputs(labels)
    return params, x, pairwise(net, params, x), labels


def expected_constants(K, labels):
    found = means(K, labels)
    N, C = len(K), labels.max() + 1
    Y = np.eye(C)[labels]
    basis = np.linalg.qr(np.c_[np.ones(N), Y[:, 1:]])[0]
    rotated = basis.T @ K @ basis
    return {
        **found,
        "mu_single": found["d"] - found["c"],
        "mu_class": np.trace(rotated[1:, 1:]) / (C - 1),
        "mu_global": rotated[0, 0],
    }


def head_of(seed=3, C=3, n=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(C, n)), rng.normal(size=C)


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_exact_methods_are_the_pairwise_kernel(net):
    params, x, Theta, labels = problem(net)
    K = np.einsum("pipj->ij", Theta) / 4
    exact = measure(net, params, x, LABELS, method="gram", quantities=("tensor", "matrix"))
    few = measure(net, params, x, LABELS, method="class-sums", quantities=("pair-norms",), probes=7)
    close(few.pairs.squares, np.einsum("piqj,piqj->pq", Theta, Theta))
    assert few.pairs.share == pytest.approx(exact.neuron_pairs.share, rel=1e-5)
    close(exact.features.mean, K)
    close(exact.features.trace, 4 * K)
    close(exact.full.values, Theta)
    close(exact.features.norms, np.sqrt(np.einsum("pipj,pipj->p", Theta, Theta)))
    close(exact.full.norms, np.sqrt(np.einsum("piqj,piqj->pq", Theta, Theta)))
    blocks = blocks_of_tensor(Theta, labels)
    for name in ("diagonal", "single", "within", "between"):
        close(getattr(exact.matrix, name), getattr(blocks, name))
    sums = measure(net, params, x, LABELS, method="class-sums")
    for name, value in expected_constants(K, labels).items():
        for result in (exact, sums):
            close(result.features.constants[name].value, value, K.max())
            assert result.features.constants[name].standard_error == 0


def test_spread_over_neurons_classes_and_entries():
    params, x, Theta, labels = problem(mlp)
    found = measure(mlp, params, x, LABELS, method="gram")
    own = [means(np.ascontiguousarray(Theta[p, :, p]), labels) for p in range(4)]
    K = np.einsum("pipj->ij", Theta) / 4
    for kind in "dcn":
        close(found.features.constants[kind].spread_neurons, np.std([o[kind] for o in own]))
    close(found.kappa_d.spread_entries, np.diag(K).std())
    kd, B = found.features.class_values
    for c in range(3):
        rows = labels == c
        assert kd[c] == pytest.approx(np.diag(K)[rows].mean(), rel=1e-5)
        assert B[c, c] == pytest.approx(means(K[np.ix_(rows, rows)], labels[rows])["c"], rel=1e-4)
    assert B[0, 1] == pytest.approx(K[np.ix_(labels == 0, labels == 1)].mean(), rel=1e-5)
    assert found.kappa_n.spread_classes == pytest.approx(np.std([B[0, 1], B[0, 2], B[1, 2]]), rel=1e-9)
    assert found.kappa_d.spread_classes == pytest.approx(kd.std(), rel=1e-9)


@pytest.mark.parametrize("method", ["gram", "class-sums"])
def test_outputs_contain_the_heads_own_kernel(method):
    params, x, Theta, labels = problem(mlp)
    W, b = head_of()
    H = features_of(mlp, params, x)
    of_features = np.einsum("kp,piqj,lq->kilj", W, Theta, W)
    for bias in (b, None):
        expected = of_features + np.einsum("kl,ij->kilj", np.eye(3), H.T @ H + (bias is not None))
        found = measure(mlp, params, x, LABELS, head=(W, bias), method=method,
                        quantities=("outputs", "row-space", "output-tensor"))  # fmt: skip
        close(found.full_outputs.values, expected)
        pairs = measure(mlp, params, x, LABELS, head=(W, bias), method=method,
                        quantities=("output-pair-norms",)).output_pairs  # fmt: skip
        close(pairs.norms, np.sqrt(np.einsum("kilj,kilj->kl", expected, expected)))
        assert pairs.share_error == 0
        mean = np.einsum("kikj->ij", expected) / 3
        for name, value in expected_constants(mean, labels).items():
            close(found.outputs.constants[name].value, value, mean.max())
    assert found.gamma_d is found.outputs.constants["d"]
    basis = np.linalg.svd(W)[2][:3]
    row_space = np.einsum("kp,piqj,kq->ij", basis, Theta, basis) / 3
    whole = blocks_of_tensor(Theta, labels)
    for wanted in ("matrix", "row-matrix"):
        rung = measure(mlp, params, x, LABELS, head=(W, b), method=method, quantities=(wanted,)).matrix_block(
            of="row_space"
        )
        for found_matrix, expected in zip((rung.A_d, rung.A_c, rung.A_n), whole.rung, strict=True):
            # The same operator on what lies in the row space, seen in the row space.
            close(basis @ found_matrix @ basis.T, basis @ expected @ basis.T)
    for name, value in expected_constants(row_space, labels).items():
        close(found.row_space.constants[name].value, value, row_space.max())


def test_rayleigh_quotients_are_those_of_the_tensor():
    params, x, Theta, labels = problem(mlp)
    W, b = head_of()
    H = features_of(mlp, params, x)
    R = W @ H + b[:, None] - np.eye(3)[:, labels]
    averaging = (labels[:, None] == labels) / np.bincount(labels)[labels]
    parts = {"within": R - R @ averaging, "mean": R.mean(axis=1, keepdims=True) * np.ones(10)}
    parts["contrast"] = R - parts["within"] - parts["mean"]
    full = np.einsum("kp,piqj,lq->kilj", W, Theta, W) + np.einsum("kl,ij->kilj", np.eye(3), H.T @ H + 1)
    found = measure(mlp, params, x, LABELS, head=(W, b), quantities=("rayleigh",)).rayleigh
    for name, part in parts.items():
        G = W.T @ part
        expected = np.einsum("pi,piqj,qj", G, Theta, G) / np.sum(G**2)
        assert found.features[name] == pytest.approx(expected, rel=2e-5)
        expected = np.einsum("ki,kilj,lj", part, full, part) / np.sum(part**2)
        assert found.outputs[name] == pytest.approx(expected, rel=2e-5)
    assert sum(found.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("memory", ["1MiB", "1.02MiB"])
def test_small_memory_means_chunks_not_other_numbers(memory, monkeypatch):
    from ntkflow_validation.kernels import budget
    from ntkflow_validation.kernels.backends import tiles
    from ntkflow_validation.kernels.methods import tensor

    monkeypatch.setattr(budget.Budget, "jacobian", property(lambda self: 4 * 60 * 10))
    for module in (budget, tiles, tensor):
        monkeypatch.setattr(module, "COLUMNS", 7)
    monkeypatch.setattr(budget.Budget, "require", lambda *args: None)
    params, x, Theta, _ = problem(mlp)
    found = measure(mlp, params, x, LABELS, method="gram", memory=memory, quantities=("tensor", "matrix"))
    close(found.full.values, Theta)
    close(found.features.mean, np.einsum("pipj->ij", Theta) / 4)
    close(found.matrix.diagonal, np.einsum("piqi->pq", Theta) / 10)


def test_some_neurons_and_samples():
    params, x, Theta, labels = problem(no_bias)
    found = measure(no_bias, params, x, LABELS, neurons=[1, 3], per_class=2, method="gram")
    kept = np.sort(np.concatenate([np.flatnonzero(labels == c)[:2] for c in range(3)]))
    K = (Theta[1, :, 1] + Theta[3, :, 3])[np.ix_(kept, kept)] / 2
    close(found.features.mean, K)
    assert found.order.tolist() == kept.tolist()
    assert found.counts.tolist() == [2, 2, 2]
    assert found.totals.tolist() == [4, 2, 4]
    assert found.neurons == 2


def test_one_sample_per_class():
    labels = np.array([1, 0, 2])
    params, x, Theta, _ = problem(mlp, labels)
    for method in ("gram", "class-sums", "probes"):
        found = measure(mlp, params, x, labels, method=method, probes=4)
        assert np.isnan(found.kappa_c.value)
        assert np.isnan(found.mu_single.value)
        assert found.to_dict()["features"]["kappa_c"]["value"] is None
    K = np.einsum("pipj->ij", Theta) / 4
    exact = measure(mlp, params, x, labels, method="class-sums")
    close(exact.kappa_d.value, np.trace(K) / 3)
    close(exact.kappa_n.value, (K.sum() - np.trace(K)) / 6)
