"""Modules of Flax NNX and Equinox are read and measured like functions of their parameters."""

import equinox as eqx
import jax
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.kernels import measure
from ntkflow_validation.recording.dropout import drops
from ntkflow_validation.recording.reader import Reader, check_fit

from ntkflow.errors import InputError
from ntkflow.foreign.heads import part, read
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
    W, b = read(part(net, "head"), C=C)
    features, params = reader.differentiable(net)
    found = measure(features, params, X, Y, head=(W, b))
    np.testing.assert_allclose(found.features.mean, X @ X.T, atol=1e-4)
    if kind is Flax:
        assert not net.drop.deterministic


@pytest.mark.parametrize("kind", [Flax, Equinox])
def test_what_does_not_run_is_told_with_the_remedy(kind):
    with pytest.raises(InputError, match=r"features = .*does not run.*give X in the layout"):
        Reader(lambda net, x: net.features(x), X[:, :4])(kind())


def test_inputs_must_be_one_array():
    with pytest.raises(InputError, match=r"X = .*must be one array"):
        Reader(lambda net, x: x, iter([X]))(Equinox())


def test_outputs_in_the_place_of_features_are_told_as_what_they_are():
    check_fit(X.T, np.ones((C, 7)))
    with pytest.raises(InputError, match="these are the 3 outputs, after the head"):
        check_fit(np.ones((C, 12)), np.ones((C, 7)))
    with pytest.raises(InputError, match="must be the 7 that the head acts on; give"):
        check_fit(np.ones((4, 12)), np.ones((C, 7)))


def test_dropout_is_seen():
    net, of_equinox = (
        Flax(),
        eqx.nn.Sequential([eqx.nn.Linear(2, 2, key=jax.random.key(0)), eqx.nn.Dropout(0.5)]),
    )
    assert drops(net)
    net.drop.rate = 0.0
    assert not drops(net)
    assert drops(of_equinox)
    assert not drops(eqx.nn.inference_mode(of_equinox))
    assert not drops(Equinox())
    assert not drops({"V": X})


def test_numbers_beyond_single_precision_are_infinite_without_a_warning():
    network = {"V": np.full((X.shape[1], 2), 1e300)}
    found = Reader(lambda p, x: x @ p["V"], np.abs(X) + 1)(network)
    assert np.isinf(found).all()
