"""Kernels without labels: of one set of samples, between two, of outputs; by jax.jacrev pair by pair."""

import jax
import ntkflow_validation
import numpy as np
import pytest
from ntkflow_validation.kernels import FolderStore, gram, measure
from ntkflow_validation.kernels.backends.layers import Layer
from ntkflow_validation.precision import full

from ntkflow.errors import InputError
from tests.validation.kernels.nets import cnn, inputs, mlp, parameters

LABELS = np.repeat([0, 1, 2], 3)
X = inputs(LABELS)
OTHERS = inputs(np.array([0, 1, 1, 2]), seed=7)
W, B = np.random.default_rng(0).normal(size=(3, 4)), np.zeros(3)


def jacobian(function, params, x):
    """Gradients of every output on every sample, (N, n, P), in float64."""
    J = jax.jit(full(jax.jacrev(function)))(params, x)
    leaves = [np.asarray(leaf, float) for leaf in jax.tree.leaves(J)]
    return np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)


def theta(function, params, x, z):
    """Theta[i, j, p, q]."""
    return np.einsum("ipa,jqa->ijpq", jacobian(function, params, x), jacobian(function, params, z))


@pytest.mark.parametrize(
    ("net", "factors"),
    [(mlp, True), pytest.param(cnn, False, marks=pytest.mark.slow)],
    ids=["factors", "rows"],
)
@pytest.mark.parametrize("others", [None, OTHERS], ids=["same", "cross"])
def test_every_entry_is_the_product_of_two_gradients(net, factors, others, monkeypatch):
    monkeypatch.setattr(Layer, "wins", property(lambda _: factors))
    params, size = parameters(net), len(X) if others is None else 4
    full, each, mean = (gram(net, params, X, others, entries=e) for e in ("full", "each", "mean"))
    expected = theta(net, params, X, X if others is None else others)
    assert full.shape == (9, size, 4, 4)
    np.testing.assert_allclose(full, expected, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(each, np.einsum("ijpp->ijp", expected), atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(mean, np.einsum("ijpp->ij", expected) / 4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "none"])
def test_with_a_head_it_is_the_kernel_of_the_outputs_with_the_heads_own(bias):
    params = {
        "body": parameters(mlp),
        "W": W.astype(np.float32),
        **({"b": B.astype(np.float32)} if bias else {}),
    }

    def outputs(p, x):
        return mlp(p["body"], x) @ p["W"].T + (p["b"] if bias else 0.0)

    expected = theta(outputs, params, X, OTHERS)
    head = (params["W"], params.get("b"))
    full, each, mean = (
        gram(mlp, params["body"], X, OTHERS, head=head, entries=e) for e in ("full", "each", "mean")
    )
    np.testing.assert_allclose(full, expected, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(each, np.einsum("ijpp->ijp", full), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mean, each.mean(axis=2), rtol=1e-6)


def test_on_the_samples_of_a_measurement_it_is_what_was_measured():
    params, order = parameters(mlp), np.random.default_rng(3).permutation(9)
    found = measure(mlp, params, X[order], LABELS[order], head=(W, B))
    np.testing.assert_allclose(gram(mlp, params, X[order]), found.features.mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        gram(mlp, params, X[order], head=(W, B)), found.outputs.mean, rtol=1e-5, atol=1e-5
    )
    assert ntkflow_validation.gram is gram


def test_a_small_memory_changes_no_number():
    params, many = parameters(mlp), np.tile(X, (11, 1, 1, 1))
    one, two = (gram(mlp, params, many, OTHERS, memory=m) for m in ("1GiB", "1MiB"))
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="kernel needs about"):
        gram(mlp, params, many, memory="1MiB", entries="full")


def test_scales_beyond_single_precision():
    params, scale = parameters(mlp), 1e25
    big = gram(lambda p, x: scale * mlp(p, x), params, X, OTHERS)
    np.testing.assert_allclose(big / scale**2, gram(mlp, params, X, OTHERS), rtol=1e-4)


def test_a_store_keeps_it_and_knows_sides_apart(tmp_path):
    store, params = FolderStore(tmp_path), parameters(mlp)
    first = gram(mlp, params, X, OTHERS, store=store)
    count = len(list(tmp_path.iterdir()))
    np.testing.assert_array_equal(gram(mlp, params, X, OTHERS, store=store), first)
    assert len(list(tmp_path.iterdir())) == count
    assert gram(mlp, params, X[:4], np.concatenate([X[4:], OTHERS]), store=store).shape == (4, 9)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"entries": "trace"}, "one of mean"),
        ({"against": OTHERS[:, :2]}, "samples like those of X"),
        ({"against": np.full_like(OTHERS, np.nan)}, "^against = "),
        ({"head": (W[:, :2], None)}, r"\(C, n\)"),
        ({"X": {}}, "^X = "),
    ],
    ids=["entries", "shape", "nan", "head", "mapping"],
)
def test_others_are_refused(settings, rule):
    given = {"X": X, **settings}
    with pytest.raises(InputError, match=rule):
        gram(mlp, parameters(mlp), **given)


def test_samples_that_see_each_other_are_refused():
    with pytest.raises(InputError, match="depend on the other samples"):
        gram(lambda p, x: mlp(p, x) - mlp(p, x).mean(axis=0), parameters(mlp), X)
