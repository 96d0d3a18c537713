"""bn="batch" of modules of Linen and Equinox: kept in training mode, refused in inference mode.

Those of Flax NNX and torch have it beside their other tests.
"""

import equinox
import jax
import numpy as np
import pytest
from flax import linen
from ntkflow_validation.kernels import measure

from ntkflow.errors import InputError

LABELS = np.repeat([0, 1, 2], 2)
X = np.random.default_rng(0).normal(1.0, 2.0, size=(6, 3)).astype(np.float32)


class Linen(linen.Module):
    train: bool

    @linen.compact
    def __call__(self, x):
        return linen.BatchNorm(use_running_average=not self.train)(linen.Dense(4)(x))


class Equinox(equinox.Module):
    layer: equinox.nn.Linear
    norm: equinox.nn.BatchNorm

    def __init__(self, key, mode):
        self.layer = equinox.nn.Linear(3, 4, key=key)
        self.norm = equinox.nn.BatchNorm(4, "samples", mode=mode, momentum=0.5)

    def __call__(self, x, state):
        return self.norm(self.layer(x), state)


def of_equinox(state):
    def features(net, x):
        return jax.vmap(net, axis_name="samples", in_axes=(0, None), out_axes=(0, None))(x, state)[0]

    return features


def writing(module):
    return lambda net, x: module.apply(net, x, mutable=["batch_stats"])[0]


def test_of_linen():
    variables = Linen(False).init(jax.random.key(0), X)
    for network in (Linen(False), Linen(False).apply):
        with pytest.raises(
            InputError, match=r"^bn = .*takes the running statistics.*use_running_average=False"
        ):
            measure(network, variables, X, LABELS, bn="batch", probes=2)
    found = measure(writing(Linen(True)), variables, X, LABELS, bn="batch", probes=2)
    assert found.bn == "batch"
    # Normalised by the batch itself, and not by statistics of the start.
    np.testing.assert_allclose(found.H.mean(1), 0, atol=1e-5)
    # The module itself need not be told to drop what it writes.
    for network in (Linen(True), Linen(True).apply):
        own = measure(network, variables, X, LABELS, bn="batch", probes=2)
        np.testing.assert_array_equal(own.H, found.H)


class Dropping(linen.Module):
    @linen.compact
    def __call__(self, x, train=True):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(4)(x))
        return linen.Dropout(0.5, deterministic=not train)(x)


def test_of_linen_the_advice_is_for_training_mode():
    net = Dropping()
    variables = net.init(jax.random.key(0), X, train=False)
    for network in (net, net.apply, writing(net), lambda v, x: net.apply(v, x)):
        with pytest.raises(InputError, match=r"no dropout .*use_running_average=False.*mutable") as told:
            measure(network, variables, X, LABELS, bn="batch", probes=2)
        assert "inference" not in told.value.remedy


@pytest.mark.parametrize("mode", ["batch", pytest.param("ema", marks=pytest.mark.slow)])
def test_of_equinox(mode):
    net, state = equinox.nn.make_with_state(Equinox)(jax.random.key(0), mode)
    rows = jax.vmap(net, axis_name="samples", in_axes=(0, None), out_axes=(0, None))
    state = rows(X, state)[1]
    with pytest.raises(
        InputError, match=r"^bn = .*takes the running statistics.*inference_mode\(network, False\)"
    ):
        measure(of_equinox(state), equinox.nn.inference_mode(net), X, LABELS, bn="batch", probes=2)
    assert measure(of_equinox(state), net, X, LABELS, bn="batch", probes=2).bn == "batch"
    # A state beside the network, as both are trained, is not differentiated by.
    still = equinox.nn.inference_mode(net)
    found = measure(lambda pair, x: of_equinox(pair[1])(pair[0], x), (still, state), X, LABELS)
    alone = measure(of_equinox(state), still, X, LABELS)
    assert found.parameters == alone.parameters == found.total_parameters
    np.testing.assert_allclose(found.features.mean, alone.features.mean, rtol=1e-6)
