"""Residual networks for small images: ResNet20 (16, 32, 64 channels) and ResNet8 (8, 16, 32)."""

import jax
from flax import nnx

from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models.layers import Layers, normalised

BLOCKS = {"resnet20": 3, "resnet8": 1}


class ResidualBlock(nnx.Module):
    """relu(norm(conv(relu(norm(conv x)))) + x); when channels change, stride 2 and a 1x1 shortcut.

    Args:
        layers: maker of layers.
        inputs: channels of x.
        outputs: channels of the result.
    """

    def __init__(self, layers: Layers, inputs: int, outputs: int) -> None:
        strides = 1 if inputs == outputs else 2
        self.conv1 = layers.conv(inputs, outputs, strides=strides)
        self.norm1 = layers.norm(outputs)
        self.conv2 = layers.conv(outputs, outputs)
        self.norm2 = layers.norm(outputs)
        self.shortcut = (
            None
            if inputs == outputs
            else layers.conv(inputs, outputs, size=1, strides=2, use_bias=True, zero_bias=True)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """The block's output, (B, height, width, channels)."""
        z = nnx.relu(normalised(self.norm1, self.conv1(x)))
        z = normalised(self.norm2, self.conv2(z))
        return nnx.relu(z + (x if self.shortcut is None else self.shortcut(x)))


class ResNetBody(nnx.Module):
    """A 3x3 convolution, three stages of residual blocks with w, 2w, 4w channels, mean over the image.

    Three blocks a stage make ResNet20, one makes ResNet8; n = 4w. Source: paper, section 6. With the readout
    "pool-linear" a dense layer without activation follows, whose imbalance with the head is conserved.

    Args:
        config: name, width w, norm, readout, init.
        input_shape: (height, width, channels) of one image.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        layers, w = Layers(config, rngs), config.width
        self.conv = layers.conv(input_shape[-1], w)
        self.norm = layers.norm(w)
        blocks, channels = [], w
        for outputs in (w, 2 * w, 4 * w):
            for _ in range(BLOCKS[config.name]):
                blocks.append(ResidualBlock(layers, channels, outputs))
                channels = outputs
        self.blocks = nnx.List(blocks)
        self.readout = layers.dense(channels, config.features) if config.readout == "pool-linear" else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        x = nnx.relu(normalised(self.norm, self.conv(x)))
        for block in self.blocks:
            x = block(x)
        x = x.mean(axis=(1, 2))
        return x if self.readout is None else self.readout(x)
