"""Architectures by name."""

import math
from collections.abc import Callable
from dataclasses import replace

import jax
from flax import nnx

from ntkflow.errors import InputError
from ntkflow.runs.border.costs import refuse_large
from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.config.settings import VECTORS
from ntkflow_validation.models import own
from ntkflow_validation.models.base import Classifier, Network
from ntkflow_validation.models.bent import BentBody
from ntkflow_validation.models.cnn import ConvBody
from ntkflow_validation.models.densenet import DenseNetBody
from ntkflow_validation.models.layers import Layers
from ntkflow_validation.models.linear import LinearBody
from ntkflow_validation.models.mlp import MlpBody
from ntkflow_validation.models.resnet import ResNetBody
from ntkflow_validation.models.vgg import VggBody

BODIES: dict[str, Callable[..., nnx.Module]] = {
    "cnn": ConvBody,
    "mlp": MlpBody,
    "linear": LinearBody,
    "bent": BentBody,
    "resnet8": ResNetBody,
    "resnet20": ResNetBody,
    "vgg11": VggBody,
    "vgg16": VggBody,
    "densenet40": DenseNetBody,
}


def fewest_parameters(config: ModelConfig, inputs: int, classes: int) -> int:
    """A number of parameters that an architecture has at least, known without making any."""
    width, features = config.width, config.features
    # One convolution between stages; a later one has more channels than the first.
    convolution = 9 * width**2
    hidden = {
        "linear": (inputs + (config.layers - 1) * features) * features,
        "bent": (inputs + features) * width,
        "mlp": (inputs + features) * width + (config.depth - 1) * width**2,
        "cnn": convolution + (9 if config.readout == "pool" else 1) * 2 * width * features,
    }
    return hidden.get(config.name, convolution) + features * classes


def _own(config: ModelConfig, input_shape: tuple[int, ...], classes: int, seed: int) -> Network:
    body = own.make(config, input_shape, seed)
    features = own.features_of(body, config, input_shape)
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.split(body, nnx.Param, ...)[1]))
    refuse_large("model.name", config.name, 4 * 4 * count, "its training needs at least", "make it smaller")
    # Its own random numbers: those of the body are drawn by the body.
    layers = Layers(replace(config, features=features), nnx.Rngs(jax.random.fold_in(jax.random.key(seed), 1)))
    return Network.from_module(Classifier(body, layers.head(features, classes)))


def build(config: ModelConfig, input_shape: tuple[int, ...], classes: int, seed: int) -> Network:
    """The network a configuration names, freshly initialised.

    Args:
        config: architecture and its sizes.
        input_shape: shape of one input.
        classes: C.
        seed: seed of the initial weights.

    Raises:
        InputError: it needs images, a network of one's own does not fit, or its parameters, with what training adds to
            them, do not fit into memory.
    """
    if config.is_own:
        return _own(config, input_shape, classes, seed)
    if config.name not in VECTORS and len(input_shape) != 3:
        rule = f"needs images (height, width, channels), the inputs have shape {input_shape}"
        raise InputError("model.name", config.name, rule, f"use {', '.join(VECTORS)}, or give images")
    # Parameters, gradients, momentum and the new parameters, float32 each.
    remedy = "lower model.width, model.features or model.depth"
    needed = 4 * 4 * fewest_parameters(config, math.prod(input_shape), classes)
    refuse_large("model.width", config.width, needed, "its training needs at least", remedy)
    rngs = nnx.Rngs(seed)
    body = BODIES[config.name](config, input_shape, rngs=rngs)
    return Network.from_module(Classifier(body, Layers(config, rngs).head(config.features, classes)))
