"""Three convolutions, with or without normalisation; for small images."""

import jax
from flax import nnx

from validation.config import ModelConfig


def _norm(kind: str, channels: int, rngs: nnx.Rngs) -> nnx.Module | None:
    if kind == "group":
        return nnx.GroupNorm(channels, num_groups=1, rngs=rngs)
    return nnx.BatchNorm(channels, rngs=rngs) if kind == "batch" else None


class ConvBody(nnx.Module):
    """conv(width) - conv(2 width, stride 2) - conv(2 width, stride 2), each 3x3 with ReLU, then the readout.

    Readout "linear": a dense layer without activation to n features, whose neurons have nearly equal kernels.
    Readout "pool": the last convolution has n channels and its ReLU outputs are averaged over the image.

    Args:
        config: features, width, norm, readout.
        input_shape: (height, width, channels) of one image.
        rngs: random numbers for the initial weights (LeCun normal).
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        w, n = config.width, config.features
        last = n if config.readout == "pool" else 2 * w
        self.conv1 = nnx.Conv(input_shape[-1], w, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(w, 2 * w, (3, 3), strides=2, rngs=rngs)
        self.conv3 = nnx.Conv(2 * w, last, (3, 3), strides=2, rngs=rngs)
        self.norm1 = _norm(config.norm, w, rngs)
        self.norm2 = _norm(config.norm, 2 * w, rngs)
        self.norm3 = _norm(config.norm, last, rngs)
        # Two strides of 2 with "SAME" padding: each side becomes ceil(side / 4).
        flat = last * -(-input_shape[0] // 4) * -(-input_shape[1] // 4)
        self.dense = nnx.Linear(flat, n, rngs=rngs) if config.readout == "linear" else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        layers = ((self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3))
        for conv, norm in layers:
            x = conv(x)
            x = nnx.relu(x if norm is None else norm(x))
        if self.dense is None:
            return x.mean(axis=(1, 2))
        return self.dense(x.reshape(x.shape[0], -1))
