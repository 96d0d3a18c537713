"""The analytic kernel against wide networks, measured, and against their closed form of one hidden layer."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.kernels import measure
from ntkflow_validation.kernels.methods.arc_cosine import arc_cosine
from ntkflow_validation.models import MlpBody

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5))
LABELS = np.repeat([0, 1], 3)


@pytest.mark.parametrize(("hidden_bias", "readout_bias"), [(False, False), (True, True)])
def test_one_hidden_layer_of_many_random_units(hidden_bias, readout_bias):
    V = np.random.default_rng(1).normal(size=(200_000, 5))
    u = np.sqrt(2 / 5) * V @ X.T
    a, on = np.maximum(u, 0), u > 0
    # The readout's own variance is 1: sum_k U_k^2 relu'(u_k) relu'(v_k)/w.
    expected = a.T @ a / len(V) + (on.T @ on.astype(float) / len(V)) * (2 * X @ X.T / 5 + hidden_bias)
    found = arc_cosine(X, 1, hidden_bias, readout_bias)
    np.testing.assert_allclose(found, expected + readout_bias, rtol=0, atol=0.01 * found.max())


def random_units(rng, w):
    """The kernel of two hidden layers of w random units, the mean over readouts of variance 1."""
    V1, V2 = rng.normal(size=(w, 5)), rng.normal(size=(w, w)).astype(np.float32)
    u1 = np.sqrt(2 / 5) * V1 @ X.T
    a1, on1 = np.maximum(u1, 0), u1 > 0
    u2 = np.sqrt(2 / w) * V2 @ a1
    a2, on2 = np.maximum(u2, 0), u2 > 0
    both1, both2 = ((on[:, :, None] * on[:, None, :]).reshape(w, -1).astype(float) for on in (on1, on2))
    last, middle = a2.T @ a2 / w, both2.mean(axis=0).reshape(6, 6) * (2 * a1.T @ a1 / w)
    # Products of different units vanish.
    first = np.sum(both2 * (V2**2 @ both1), axis=0).reshape(6, 6) * 2 / w**2 * (2 * X @ X.T / 5)
    return last + middle + first


def test_two_hidden_layers_of_many_random_units():
    # Of one draw of 1000 units the lengths of activations are some 10 % off.
    rng, found = np.random.default_rng(1), arc_cosine(X, 2, False, False)
    expected = np.mean([random_units(rng, 1000) for _ in range(12)], axis=0)
    assert np.linalg.norm(found - expected) < 0.06 * np.linalg.norm(expected)
    assert np.linalg.norm(arc_cosine(X, 1, False, False) - expected) > 0.2 * np.linalg.norm(expected)


@pytest.mark.parametrize("biases", [True, False], ids=["biases", "none"])
def test_a_wide_network_is_measured_to_have_it(biases):
    config = ModelConfig(
        "mlp",
        features=16,
        width=4000,
        depth=1,
        parametrisation="ntk",
        hidden_bias=biases,
        readout_bias=biases,
        gamma=2.0,
    )
    graph, params = nnx.split(MlpBody(config, (5,), rngs=nnx.Rngs(0)))

    def features(p, x):
        return nnx.merge(graph, p)(jnp.asarray(x))

    found = measure(features, params, X.astype(np.float32), LABELS, method="gram").features.mean
    expected = arc_cosine(X, 1, biases, biases)
    assert np.linalg.norm(found - expected) < 0.06 * np.linalg.norm(expected)


def test_scaling_the_inputs_scales_a_kernel_without_biases():
    np.testing.assert_allclose(arc_cosine(3 * X, 2, False, False), 9 * arc_cosine(X, 2, False, False))
    zero = np.vstack([X, np.zeros(5)])
    assert np.isfinite(arc_cosine(zero, 2)).all()
    assert np.linalg.eigvalsh(arc_cosine(X, 2, False, False))[0] > 0
