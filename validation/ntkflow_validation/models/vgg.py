"""VGG11 and VGG16 for 32x32 images, normalised, with two dense layers on top."""

import jax
from flax import nnx

from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models.layers import Layers, normalised

# 3x3 convolutions in each of the five stages
STAGES = {"vgg11": (1, 1, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3)}
SIDE = 32


class VggBody(nnx.Module):
    """Five stages of 3x3 convolutions and 2x2 max-pooling, then dense layers of 8w and 4w units.

    Stages have w, 2w, 4w, 8w, 8w channels (w = 64: 512 and 256 dense units, n = 256). Every layer is followed
    by normalisation and ReLU; there is no dropout. Images of other sizes are resized to 32x32, bilinearly.
    Source: paper, section 6.

    Args:
        config: name, width w, norm, init.
        input_shape: (height, width, channels) of one image.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        layers, w, channels = Layers(config, rngs, momentum=0.9), config.width, input_shape[-1]
        convolutions, norms = [], []
        for depth, outputs in zip(STAGES[config.name], (w, 2 * w, 4 * w, 8 * w, 8 * w), strict=True):
            for _ in range(depth):
                convolutions.append(layers.conv(channels, outputs, use_bias=True))
                norms.append(layers.norm(outputs))
                channels = outputs
        dense = []
        for units in (8 * w, config.features):
            dense.append(layers.dense(channels, units))
            norms.append(layers.norm(units))
            channels = units
        self.depths = STAGES[config.name]
        self.convolutions, self.dense, self.norms = nnx.List(convolutions), nnx.List(dense), nnx.List(norms)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        if x.shape[1:3] != (SIDE, SIDE):
            x = jax.image.resize(x, (x.shape[0], SIDE, SIDE, x.shape[3]), "linear")
        norms, convolutions = iter(self.norms), iter(self.convolutions)
        for depth in self.depths:
            for _ in range(depth):
                x = nnx.relu(normalised(next(norms), next(convolutions)(x)))
            x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        for layer in self.dense:
            x = nnx.relu(normalised(next(norms), layer(x)))
        return x
