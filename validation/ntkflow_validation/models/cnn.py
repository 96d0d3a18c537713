"""Three convolutions, with or without normalisation; for small images."""

import jax
from flax import nnx

from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models.layers import Layers, normalised


class ConvBody(nnx.Module):
    """conv(width) - conv(2 width, stride 2) - conv(2 width, stride 2), each 3x3 with ReLU, then the readout.

    Readout "linear": a dense layer without activation to n features, whose neurons have nearly equal kernels.
    Readout "pool": the last convolution has n channels and its ReLU outputs are averaged over the image.

    Args:
        config: features, width, norm, readout, init.
        input_shape: (height, width, channels) of one image.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        w, n, layers = config.width, config.features, Layers(config, rngs)
        last = n if config.readout == "pool" else 2 * w
        self.conv1 = layers.conv(input_shape[-1], w, use_bias=True)
        self.conv2 = layers.conv(w, 2 * w, strides=2, use_bias=True)
        self.conv3 = layers.conv(2 * w, last, strides=2, use_bias=True)
        self.norm1 = layers.norm(w)
        self.norm2 = layers.norm(2 * w)
        self.norm3 = layers.norm(last)
        # Two strides of 2 with "SAME" padding: each side becomes ceil(side / 4).
        flat = last * -(-input_shape[0] // 4) * -(-input_shape[1] // 4)
        self.dense = layers.dense(flat, n) if config.readout == "linear" else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        layers = ((self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3))
        for conv, norm in layers:
            x = nnx.relu(normalised(norm, conv(x)))
        if self.dense is None:
            return x.mean(axis=(1, 2))
        return self.dense(x.reshape(x.shape[0], -1))
