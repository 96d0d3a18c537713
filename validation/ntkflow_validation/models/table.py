"""Architectures by name."""

from typing import Any

from flax import nnx

from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models.base import Classifier, Network
from ntkflow_validation.models.bent import BentBody
from ntkflow_validation.models.cnn import ConvBody
from ntkflow_validation.models.densenet import DenseNetBody
from ntkflow_validation.models.layers import Layers
from ntkflow_validation.models.linear import LinearBody
from ntkflow_validation.models.mlp import MlpBody
from ntkflow_validation.models.resnet import ResNetBody
from ntkflow_validation.models.vgg import VggBody

BODIES: dict[str, Any] = {
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


def build(config: ModelConfig, input_shape: tuple[int, ...], classes: int, seed: int) -> Network:
    """The network a configuration names, freshly initialised.

    Args:
        config: architecture and its sizes.
        input_shape: shape of one input.
        classes: C.
        seed: seed of the initial weights.
    """
    rngs = nnx.Rngs(seed)
    body = BODIES[config.name](config, input_shape, rngs=rngs)
    return Network.from_module(Classifier(body, Layers(config, rngs).dense(config.features, classes)))
