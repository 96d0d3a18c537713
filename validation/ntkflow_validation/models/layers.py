"""Layers as the configuration wants them: initial weights and biases, kind of normalisation."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from ntkflow_validation.config.config import ModelConfig


class Layers:
    """Makes the layers of one network.

    Initialisations, with k = 1/fan_in (for a convolution fan_in counts the kernel's K positions):

    - "lecun-normal": truncated normal of variance k, zero biases. Flax's default.
    - "uniform": U[-sqrt k, sqrt k] for weights and biases, as printed in the paper's section 6.
    - "uniform-code": what the paper's code does instead: limits sqrt(3k) for dense layers and 1x1
      convolutions, sqrt(k/3) for other convolutions, biases U[0, 1/sqrt n) with n the number of features.
    - "he-normal": normal of variance 2/fan_out, zero biases.

    Args:
        config: `init`, `norm`, `features`.
        rngs: random numbers, used in the order in which layers are made.
        momentum: of the running statistics of batch normalisation.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs, momentum: float = 0.99) -> None:
        self.config = config
        self.rngs = rngs
        self.momentum = momentum

    def head(self, features: int, classes: int) -> nnx.Linear:
        """The last layer, from features to outputs."""
        return self.dense(features, classes, self.config.head_bias)

    def dense(self, inputs: int, outputs: int, use_bias: bool = True) -> nnx.Linear:
        """A dense layer."""
        return nnx.Linear(
            inputs,
            outputs,
            use_bias=use_bias,
            kernel_init=self._weights(positions=1),
            bias_init=self._biases(inputs),
            rngs=self.rngs,
        )

    def unit_dense(self, inputs: int, outputs: int, deviation: float, use_bias: bool = True) -> nnx.Linear:
        """A dense layer whose weights are drawn from N(0, deviation^2), with zero biases: factors stand before it."""
        return nnx.Linear(
            inputs,
            outputs,
            use_bias=use_bias,
            kernel_init=nnx.initializers.normal(deviation),
            rngs=self.rngs,
        )

    def conv(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        strides: int = 1,
        use_bias: bool = False,
        zero_bias: bool = False,
    ) -> nnx.Conv:
        """A size x size convolution with "SAME" padding; `zero_bias` starts the bias at 0 in any case."""
        zeros = nnx.initializers.zeros_init()
        return nnx.Conv(
            inputs,
            outputs,
            (size, size),
            strides=strides,
            use_bias=use_bias,
            kernel_init=self._weights(positions=size * size),
            bias_init=zeros if zero_bias else self._biases(inputs * size * size),
            rngs=self.rngs,
        )

    def unit_conv(
        self, inputs: int, outputs: int, deviation: float, strides: int = 1, use_bias: bool = True
    ) -> nnx.Conv:
        """A 3 x 3 convolution with "SAME" padding and weights from N(0, deviation^2), zero biases: as `unit_dense`."""
        return nnx.Conv(
            inputs,
            outputs,
            (3, 3),
            strides=strides,
            use_bias=use_bias,
            kernel_init=nnx.initializers.normal(deviation),
            rngs=self.rngs,
        )

    def norm(self, channels: int) -> nnx.Module | None:
        """Normalisation of `channels` channels; None when there is to be none."""
        if self.config.norm == "group":
            return nnx.GroupNorm(channels, num_groups=1, rngs=self.rngs)
        if self.config.norm == "batch":
            return nnx.BatchNorm(channels, momentum=self.momentum, rngs=self.rngs)
        return None

    def _weights(self, positions: int) -> nnx.Initializer:
        scaling = nnx.initializers.variance_scaling
        # variance_scaling draws from U[-l, l] with l^2 = 3 scale / fan_in.
        choices = {
            "lecun-normal": nnx.initializers.lecun_normal(),
            "uniform": scaling(1 / 3, "fan_in", "uniform"),
            "uniform-code": scaling(1.0 if positions == 1 else 1 / 9, "fan_in", "uniform"),
            "he-normal": scaling(2.0, "fan_out", "normal"),
        }
        return choices[self.config.init]

    def _biases(self, fan_in: int) -> nnx.Initializer:
        if self.config.init == "uniform":
            return _uniform(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
        if self.config.init == "uniform-code":
            return _uniform(0.0, 1 / math.sqrt(self.config.features))
        return nnx.initializers.zeros_init()


def _uniform(low: float, high: float) -> nnx.Initializer:
    def draw(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, tuple(shape), dtype, low, high)

    return draw


def normalised(norm: nnx.Module | None, x: jax.Array) -> jax.Array:
    """`norm(x)`, or x itself without normalisation."""
    return x if norm is None else norm(x)
