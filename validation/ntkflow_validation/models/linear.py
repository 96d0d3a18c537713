"""Linear networks f(x) = W V_L .. V_1 x + b, the known answers of the whole pipeline."""

import math

import jax
from flax import nnx

from ntkflow_validation.config.config import ModelConfig


class LinearBody(nnx.Module):
    """h(x) = V_L .. V_1 x, every layer of n features and without bias.

    For one layer the features' NTK is (X^T X) (x) I_n, constant, so the theory holds exactly (theory 15); for several it moves
    with them, and everything about it is known (theory 18.2).

    Args:
        config: features, `layers`, and `scale` on the LeCun normal initial weights.
        input_shape: shape of one input, flattened.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        init = nnx.initializers.variance_scaling(config.scale**2, "fan_in", "normal")
        self.dense = nnx.Linear(
            math.prod(input_shape), config.features, use_bias=False, kernel_init=init, rngs=rngs
        )
        # None of them for one layer: its parameters have the names they always had.
        self.upper = nnx.List(
            nnx.Linear(config.features, config.features, use_bias=False, kernel_init=init, rngs=rngs)
            for _ in range(config.layers - 1)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        h: jax.Array = self.dense(x.reshape(x.shape[0], -1))
        for layer in self.upper:
            h = layer(h)
        return h
