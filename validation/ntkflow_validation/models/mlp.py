"""Fully connected hidden layers and a linear readout."""

import math
from itertools import pairwise

import jax
from flax import nnx

from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models.layers import Layers


class MlpBody(nnx.Module):
    """`depth` ReLU layers of `width` units, then a dense layer without activation to n features.

    Args:
        config: features, width, depth, init.
        input_shape: shape of one input, flattened.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        sizes = [math.prod(input_shape), *[config.width] * config.depth]
        layers = Layers(config, rngs)
        self.hidden = nnx.List([layers.dense(a, b) for a, b in pairwise(sizes)])
        self.readout = layers.dense(sizes[-1], config.features)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        x = x.reshape(x.shape[0], -1)
        for layer in self.hidden:
            x = nnx.relu(layer(x))
        return self.readout(x)
