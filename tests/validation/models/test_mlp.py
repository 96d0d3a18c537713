"""The NTK parametrisation of the MLP: its kernel does not see gamma, and its stored weights carry the body's rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.config.config import ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.models import MlpBody, build
from ntkflow_validation.precision import full
from ntkflow_validation.training.train import start

from ntkflow.errors import InputError

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def body(gamma, **settings):
    config = ModelConfig("mlp", features=3, width=6, depth=2, parametrisation="ntk", gamma=gamma, **settings)
    module = MlpBody(config, (4,), rngs=nnx.Rngs(1))
    graph, params = nnx.split(module)
    return lambda p: nnx.merge(graph, p)(jnp.asarray(X)), params


def tangent_kernel(gamma):
    f, params = body(gamma)
    J = jax.tree.leaves(jax.jacobian(f)(params))
    J = np.concatenate([np.asarray(j).reshape(15, -1) for j in J], axis=1)
    return np.asarray(f(params)), J @ J.T


@full
def test_features_start_smaller_by_gamma_and_the_kernel_as_it_is():
    (h, K), (small, same) = tangent_kernel(1.0), tangent_kernel(8.0)
    np.testing.assert_allclose(small, h / 8, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(same, K, rtol=1e-4, atol=1e-5 * np.abs(K).max())


@full
def test_a_step_of_the_stored_weights_is_one_of_gamma_squared_of_the_weights():
    gamma, rate = 4.0, 1e-2
    f, params = body(gamma, hidden_bias=False)

    def of_weights(v):
        a = X
        for layer in range(2):
            a = nnx.relu(jnp.sqrt(2 / a.shape[1]) * a @ v[layer])
        return (a @ v[2] / jnp.sqrt(6.0) + v[3]) / gamma

    names = [("hidden", 0, "kernel"), ("hidden", 1, "kernel"), ("readout", "kernel"), ("readout", "bias")]
    pure = nnx.to_pure_dict(params)

    def pick(tree):
        found = []
        for path in names:
            inner = tree
            for key in path:
                inner = inner[key]
            found.append(inner)
        return found

    V = [gamma * u for u in pick(pure)]
    np.testing.assert_allclose(of_weights(V), f(params), rtol=1e-5, atol=1e-6)
    stepped = [
        v - rate * gamma**2 * g
        for v, g in zip(V, jax.grad(lambda v: jnp.sum(of_weights(v) ** 3))(V), strict=True)
    ]
    moved = nnx.to_pure_dict(
        jax.tree.map(lambda u, g: u - rate * g, params, jax.grad(lambda p: jnp.sum(f(p) ** 3))(params))
    )
    for v, u in zip(stepped, pick(moved), strict=True):
        np.testing.assert_allclose(gamma * u, v, rtol=1e-4, atol=1e-5)


def test_biases_can_be_left_out():
    params = build(
        ModelConfig("mlp", width=5, hidden_bias=False, readout_bias=False), (4,), 3, 0
    ).initial.params
    assert all(
        "bias" not in layer for layer in (*params["body"]["hidden"].values(), params["body"]["readout"])
    )
    assert "bias" in params["head"]


def test_the_head_starts_where_the_mean_of_the_labels_is():
    network = build(ModelConfig("mlp", width=5), (4,), 4, 0)
    found = start(network, TrainConfig(initial_bias="1/C")).variables.params["head"]["bias"]
    np.testing.assert_array_equal(found, np.full(4, 0.25, np.float32))
    with pytest.raises(InputError, match="initial_bias"):
        RunConfig(model=ModelConfig("mlp", head_bias=False), training=TrainConfig(initial_bias="1/C"))


def test_settings_that_do_nothing_are_refused():
    with pytest.raises(InputError, match=r"model.gamma.*NTK parametrisation"):
        ModelConfig("mlp", gamma=4.0)
    with pytest.raises(InputError, match="is not a setting of resnet8"):
        ModelConfig("resnet8", hidden_bias=False)
    stated = RunConfig().stated()
    assert not {"gamma", "hidden_bias", "readout_bias", "parametrisation"} & set(stated["model"])
    assert "initial_bias" not in stated["training"]
