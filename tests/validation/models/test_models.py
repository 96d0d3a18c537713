import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.config.config import MODELS, ModelConfig
from ntkflow_validation.models import build
from ntkflow_validation.models.layers import Layers
from ntkflow_validation.models.resnet import ResidualBlock
from ntkflow_validation.models.table import BODIES

from ntkflow.errors import InputError

SMALL = {"vgg11": 1, "vgg16": 1, "densenet40": 2, "mlp": 4, "linear": 0}


def shapes(config, input_shape, classes=10):
    """Shapes of all numbers of a network, without computing them."""
    return jax.eval_shape(lambda: build(config, input_shape, classes, seed=0).initial)


def size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_every_configurable_model_is_in_the_table():
    assert set(BODIES) == set(MODELS)


@pytest.mark.parametrize(
    ("name", "input_shape", "parameters", "features"),
    [
        ("resnet20", (32, 32, 3), 272_378, 64),
        ("vgg11", (28, 28, 1), 9_622_922, 256),
        ("vgg16", (32, 32, 3), 15_121_226, 256),
        ("densenet40", (32, 32, 3), 96_634, 132),
        ("densenet40", (28, 28, 1), 96_202, 132),
        ("resnet8", (8, 8, 1), 19_762, 32),
        ("mlp", (8, 8, 1), 88_850, 24),
    ],
)
def test_parameter_counts(name, input_shape, parameters, features):
    config = ModelConfig(name=name)
    variables = shapes(config, input_shape)
    assert size(variables.params) == parameters
    assert config.features == features
    assert variables.params["head"]["kernel"].shape == (features, 10)


@pytest.mark.parametrize("name", MODELS)
def test_features_are_float32_of_the_configured_dimension(name):
    config = ModelConfig(name=name, width=SMALL.get(name, 2), features=5 if name in ("cnn", "mlp") else 0)

    def features(x):
        network = build(config, (12, 12, 2), 3, seed=1)
        return network.features(*network.initial, x)

    h = jax.eval_shape(features, jnp.zeros((4, 12, 12, 2)))
    assert h.shape == (4, config.features)
    assert h.dtype == jnp.float32


def test_outputs_are_a_linear_head_on_the_features():
    network = build(ModelConfig(name="mlp", width=4), (12,), 3, seed=1)
    params, statistics = network.initial
    x = jax.random.normal(jax.random.key(0), (4, 12))
    f = nnx.merge(network.graph_eval, params, statistics)(x)
    h = network.features(params, statistics, x)
    np.testing.assert_allclose(f, h @ params["head"]["kernel"] + params["head"]["bias"], atol=1e-5)


@pytest.mark.parametrize(("norm", "coupled"), [("batch", True), ("group", False), ("none", False)])
def test_only_batch_normalisation_couples_samples_in_training(norm, coupled):
    network = build(ModelConfig(name="cnn", width=2, norm=norm), (8, 8, 1), 3, seed=0)
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    outputs = jax.jit(lambda x: network.train_outputs(*network.initial, x)[0])
    alone, together = outputs(x[:2]), outputs(x)[:2]
    assert bool(jnp.allclose(alone, together, atol=1e-5)) is not coupled
    assert bool(jax.tree.leaves(network.initial.statistics)) is coupled


def test_vgg_sees_small_images_resized_bilinearly():
    network = build(ModelConfig(name="vgg11", width=1), (28, 28, 1), 3, seed=0)
    image = np.random.default_rng(0).normal(size=(28, 28)).astype(np.float32)
    # pixel centres of the new grid in the old one
    where = np.clip((np.arange(32) + 0.5) * 28 / 32 - 0.5, 0, 27)
    rows = np.stack([np.interp(where, np.arange(28), column) for column in image.T]).T
    large = np.stack([np.interp(where, np.arange(28), row) for row in rows])
    features = jax.jit(network.features)
    small, resized = (
        features(*network.initial, jnp.asarray(im, jnp.float32)[None, :, :, None]) for im in (image, large)
    )
    assert float(jnp.abs(small).max()) > 0
    np.testing.assert_allclose(small, resized, atol=1e-5)


def drawn(init, kind):
    """Weights, biases and fan-in of one big layer."""
    layers = Layers(ModelConfig(name="cnn", features=25, init=init), nnx.Rngs(0))
    if kind == "dense":
        layer, fan_in = layers.dense(100, 300), 100
    elif kind == "conv":
        layer, fan_in = layers.conv(20, 300, use_bias=True), 180
    else:
        layer, fan_in = layers.conv(100, 300, size=1, use_bias=True), 100
    return np.asarray(layer.kernel[...]), np.asarray(layer.bias[...]), fan_in


@pytest.mark.parametrize("kind", ["dense", "conv", "pointwise"])
def test_the_uniform_initialisation_is_the_printed_one(kind):
    weights, biases, fan_in = drawn("uniform", kind)
    limit = 1 / np.sqrt(fan_in)
    for values in (weights, biases):
        assert np.abs(values).max() <= limit * (1 + 1e-6)
        assert values.max() > 0.97 * limit
        assert values.min() < -0.97 * limit


@pytest.mark.parametrize(("kind", "factor"), [("dense", 3), ("conv", 1 / 3), ("pointwise", 3)])
def test_the_other_uniform_initialisation_is_that_of_the_papers_code(kind, factor):
    weights, biases, fan_in = drawn("uniform-code", kind)
    limit = np.sqrt(factor / fan_in)
    assert 0.97 * limit < np.abs(weights).max() <= limit * (1 + 1e-6)
    assert biases.min() >= 0
    assert 0.9 / 5 < biases.max() < 1 / 5


def test_the_normal_initialisations_have_their_variances():
    for init, variance in (("lecun-normal", 1 / 180), ("he-normal", 2 / (9 * 300))):
        weights, biases, _ = drawn(init, "conv")
        assert weights.var() == pytest.approx(variance, rel=0.02)
        assert not biases.any()
    assert np.abs(drawn("lecun-normal", "conv")[0]).max() < 3 / np.sqrt(180)  # truncated


def test_the_shortcut_starts_without_bias_in_every_initialisation():
    block = ResidualBlock(Layers(ModelConfig(name="resnet8", init="uniform-code"), nnx.Rngs(0)), 4, 8)
    assert not np.any(block.shortcut.bias[...])


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"name": "resnet20", "features": 32}, "model.features"),
        ({"name": "resnet20", "depth": 3}, "model.depth"),
        ({"name": "mlp", "depth": 1_000_000}, "model.depth"),
        ({"name": "resnet20", "readout": "pool"}, "model.readout"),
        ({"name": "cnn", "readout": "pool-linear"}, "model.readout"),
        ({"name": "vgg11", "readout": "pool-linear"}, "model.readout"),
        ({"name": "cnn", "scale": 2.0}, "model.scale"),
        ({"name": "linear", "width": 3}, "model.width"),
        ({"name": "mlp", "norm": "group"}, "model.norm"),
        ({"init": "xavier"}, "model.init"),
    ],
)
def test_settings_a_model_would_ignore_are_refused(settings, argument):
    with pytest.raises(InputError) as caught:
        ModelConfig(**settings)
    assert caught.value.argument == argument


def test_a_residual_network_may_end_in_a_linear_readout():
    plain, read = (
        shapes(ModelConfig(name="resnet8", **r), (8, 8, 1)) for r in ({}, {"readout": "pool-linear"})
    )
    assert size(read.params) == size(plain.params) + 32 * 32 + 32
    assert read.params["body"]["readout"]["kernel"].shape == (32, 32)
    assert "readout" not in plain.params["body"]


def test_the_bent_network_is_the_linear_one_plus_a_branch_of_the_given_size():
    straight, bent = (
        build(ModelConfig(name="bent", features=3, width=512, bend=bend), (6,), 2, seed=1)
        for bend in (0.0, 0.5)
    )
    x = jax.random.normal(jax.random.key(0), (40, 6))
    plain = straight.features(*straight.initial, x)
    assert np.allclose(plain, x @ straight.initial.params["body"]["dense"]["kernel"], atol=1e-5)
    branch = bent.features(*bent.initial, x) - plain
    # Hidden units have mean square |x|^2 / 2, so the branch has variance bend^2 |x|^2 in every neuron.
    assert float(jnp.mean(branch**2)) == pytest.approx(0.25 * 6, rel=0.3)
