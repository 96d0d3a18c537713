"""Modules of Flax NNX and Equinox are read and measured like functions of their parameters."""

import equinox as eqx
import jax
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.kernels import measure
from ntkflow_validation.kernels.networks.heads import part
from ntkflow_validation.recording.arrays import head_of
from ntkflow_validation.recording.reader import Reader

from tests.validation.recording.loops import C, Y, inputs, n

X = inputs().astype(np.float32)


class Flax(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.body, self.drop = nnx.Linear(7, n, use_bias=False, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(n, C, rngs=rngs)

    def features(self, x):
        return self.drop(self.body(x))


class Equinox(eqx.Module):
    body: eqx.nn.Linear
    head: eqx.nn.Linear
    activation: object

    def __init__(self):
        self.body = eqx.nn.Linear(7, n, use_bias=False, key=jax.random.key(0))
        self.head = eqx.nn.Linear(n, C, key=jax.random.key(1))
        self.activation = jax.nn.relu

    def features(self, x):
        return jax.vmap(self.body)(x)


@pytest.mark.parametrize("kind", [Flax, Equinox])
def test_a_module_is_read_and_measured(kind):
    net, reader = kind(), Reader(lambda net, x: net.features(x), X)
    weights = np.asarray(net.body.kernel[...] if kind is Flax else net.body.weight.T)
    np.testing.assert_allclose(reader(net), X @ weights, atol=1e-5)
    W, b = head_of(part(net, "head"), None, C)
    features, params = reader.differentiable(net)
    found = measure(features, params, X, Y, head=(W, b))
    np.testing.assert_allclose(found.features.mean, X @ X.T, atol=1e-4)
    if kind is Flax:
        assert not net.drop.deterministic
