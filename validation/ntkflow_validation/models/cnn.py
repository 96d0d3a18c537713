"""Three convolutions, with or without normalisation; for small images."""

import math

import jax
from flax import nnx

from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models.layers import Layers, normalised


class ConvBody(nnx.Module):
    """conv(width) - conv(2 width, stride 2) - conv(2 width, stride 2), each 3x3 with ReLU, then the readout.

    Readout "linear": a dense layer without activation to n features, whose neurons have nearly equal kernels.
    Readout "pool": the last convolution has n channels and its ReLU outputs are averaged over the image.

    In the NTK parametrisation it is `MlpBody` with convolutions in the place of dense layers: a = relu(sqrt(2/(9 c)) V * a)
    with c channels before it, h = V a/(gamma sqrt(w)) with w inputs of the dense layer, or h the mean of
    relu(sqrt(2/(9 c)) V * a)/gamma over the image; weights V of variance 1 and rate gamma^2, V/gamma being stored at rate 1.

    Args:
        config: features, width, norm, readout, init, biases, parametrisation, gamma.
        input_shape: (height, width, channels) of one image.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        w, n, layers = config.width, config.features, Layers(config, rngs)
        pooled = config.readout == "pool"
        last = n if pooled else 2 * w
        self.scaled = config.parametrisation == "ntk"
        self.gamma = config.gamma
        # Of the layer that makes the features, which is not scaled up by gamma again.
        self.last_factor = 1.0 if pooled else config.gamma

        def conv(
            inputs: int, outputs: int, strides: int = 1, use_bias: bool = config.hidden_bias
        ) -> nnx.Conv:
            if self.scaled:
                return layers.unit_conv(inputs, outputs, 1 / config.gamma, strides, use_bias)
            return layers.conv(inputs, outputs, strides=strides, use_bias=use_bias)

        self.conv1 = conv(input_shape[-1], w)
        self.conv2 = conv(w, 2 * w, 2)
        self.conv3 = conv(2 * w, last, 2, config.readout_bias if pooled else config.hidden_bias)
        self.norm1 = layers.norm(w)
        self.norm2 = layers.norm(2 * w)
        self.norm3 = layers.norm(last)
        # Two strides of 2 with "SAME" padding: each side becomes ceil(side / 4).
        flat = last * -(-input_shape[0] // 4) * -(-input_shape[1] // 4)
        if pooled:
            self.dense = None
        elif self.scaled:
            self.dense = layers.unit_dense(flat, n, 1 / config.gamma, config.readout_bias)
        else:
            self.dense = layers.dense(flat, n, config.readout_bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        layers = (
            (self.conv1, self.norm1, self.gamma),
            (self.conv2, self.norm2, self.gamma),
            (self.conv3, self.norm3, self.last_factor),
        )
        for conv, norm, factor in layers:
            x = factor * conv(math.sqrt(2 / (9 * x.shape[-1])) * x) if self.scaled else conv(x)
            x = nnx.relu(normalised(norm, x))
        if self.dense is None:
            return x.mean(axis=(1, 2))
        x = x.reshape(x.shape[0], -1)
        return self.dense(x / math.sqrt(x.shape[1]) if self.scaled else x)
