"""DenseNet40 with bottleneck layers and compression, growth 12."""

import jax
import jax.numpy as jnp
from flax import nnx

from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models.layers import Layers, normalised

LAYERS = 6  # in each of three blocks; two convolutions each, and four more, make 40


class DenseLayer(nnx.Module):
    """x beside conv3x3(relu(norm(conv1x1(relu(norm x))))): g more channels through a bottleneck of 2g.

    Args:
        layers: maker of layers.
        inputs: channels of x.
        growth: g.
    """

    def __init__(self, layers: Layers, inputs: int, growth: int) -> None:
        self.norm1 = layers.norm(inputs)
        self.conv1 = layers.conv(inputs, 2 * growth, size=1)
        self.norm2 = layers.norm(2 * growth)
        self.conv2 = layers.conv(2 * growth, growth)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x with g channels appended."""
        z = self.conv1(nnx.relu(normalised(self.norm1, x)))
        z = self.conv2(nnx.relu(normalised(self.norm2, z)))
        return jnp.concatenate([x, z], axis=-1)


class Transition(nnx.Module):
    """Half the channels at half the size: norm, ReLU, 1x1 convolution, 2x2 mean-pooling.

    Args:
        layers: maker of layers.
        inputs: channels of x.
    """

    def __init__(self, layers: Layers, inputs: int) -> None:
        self.norm = layers.norm(inputs)
        self.conv = layers.conv(inputs, inputs // 2, size=1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The smaller image."""
        x = self.conv(nnx.relu(normalised(self.norm, x)))
        found: jax.Array = nnx.avg_pool(x, (2, 2), strides=(2, 2))
        return found


class DenseNetBody(nnx.Module):
    """A convolution to 2g channels, three blocks of six dense layers with transitions between, mean over the image.

    Channels 2g, 8g -> 4g, 10g -> 5g, 11g: n = 11g = 132 for growth g = 12. Source: paper, section 6.

    Args:
        config: width (the growth g), norm, init.
        input_shape: (height, width, channels) of one image.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        layers, g = Layers(config, rngs), config.width
        self.conv = layers.conv(input_shape[-1], 2 * g)
        parts: list[nnx.Module] = []
        channels = 2 * g
        for block in range(3):
            for _ in range(LAYERS):
                parts.append(DenseLayer(layers, channels, g))
                channels += g
            if block < 2:
                parts.append(Transition(layers, channels))
                channels //= 2
        self.parts = nnx.List(parts)
        self.norm = layers.norm(channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        x = self.conv(x)
        for part in self.parts:
            x = part(x)
        return nnx.relu(normalised(self.norm, x)).mean(axis=(1, 2))
