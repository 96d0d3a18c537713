"""The NTK parametrisation of the cnn: that of the MLP, with convolutions in the place of dense layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models import ConvBody
from ntkflow_validation.precision import full

from ntkflow.errors import InputError

X = np.random.default_rng(0).normal(size=(3, 5, 5, 2)).astype(np.float32)


def body(readout, gamma=1.0, width=3, **settings):
    model = ModelConfig(
        "cnn", features=4, width=width, readout=readout, parametrisation="ntk", gamma=gamma, **settings
    )
    graph, params = nnx.split(ConvBody(model, X.shape[1:], rngs=nnx.Rngs(1)))
    return lambda p: nnx.merge(graph, p)(jnp.asarray(X)), params


def tangent_kernel(readout, **settings):
    """Features, (N, n), and their kernel, (N, n, N, n)."""
    f, params = body(readout, **settings)
    J = jax.tree.leaves(jax.jacobian(f)(params))
    J = np.concatenate([np.asarray(j).reshape(12, -1) for j in J], axis=1)
    return np.asarray(f(params)), (J @ J.T).reshape(3, 4, 3, 4)


@full
@pytest.mark.parametrize("readout", ["linear", "pool"])
def test_features_start_smaller_by_gamma_and_the_kernel_as_it_is(readout):
    (h, K), (small, same) = tangent_kernel(readout), tangent_kernel(readout, gamma=8.0)
    np.testing.assert_allclose(small, h / 8, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(same, K, rtol=1e-4, atol=1e-5 * np.abs(K).max())


@full
@pytest.mark.slow
@pytest.mark.parametrize("readout", ["linear", "pool"])
def test_features_and_their_kernel_keep_their_size_at_any_width(readout):
    def sizes(width):
        h, K = tangent_kernel(readout, width=width, hidden_bias=False, readout_bias=False)
        return np.mean(h**2), np.einsum("inin->", K) / 12

    for narrow, wide in zip(sizes(16), sizes(128), strict=True):
        assert 0.5 < wide / narrow < 2


@full
@pytest.mark.slow
def test_the_dense_readout_has_neurons_that_become_alike_and_pooled_channels_do_not():
    def apart(readout, width):
        _, K = tangent_kernel(readout, width=width, hidden_bias=False, readout_bias=False)
        mean = np.einsum("injn->ij", K) / 4
        return np.linalg.norm(K - np.einsum("ij,nm->injm", mean, np.eye(4))) / np.linalg.norm(K)

    assert apart("linear", 128) < 0.15 < 0.3 < apart("pool", 128)


@pytest.mark.parametrize("readout", ["linear", "pool"])
def test_biases_can_be_left_out(readout):
    def biases(**settings):
        _, params = body(readout, **settings)
        return {path[0] for path, _ in nnx.to_flat_state(params) if path[-1] == "bias"}

    last = "dense" if readout == "linear" else "conv3"
    everywhere = {"conv1", "conv2", "conv3"} | {last}
    assert biases() == everywhere
    assert biases(hidden_bias=False) == {last}
    assert biases(readout_bias=False) == everywhere - {last}
    assert biases(hidden_bias=False, readout_bias=False) == set()


def test_it_has_no_normalisation_there():
    with pytest.raises(InputError, match=r"model.norm.*NTK parametrisation"):
        ModelConfig("cnn", norm="batch", parametrisation="ntk")
