"""The two-layer linear network f(x) = W V x + b, the known answer of the whole pipeline."""

import math

import jax
from flax import nnx

from ntkflow_validation.config.config import ModelConfig


class LinearBody(nnx.Module):
    """h(x) = V x. Its features' NTK is (X^T X) (x) I_n, constant, so the theory holds exactly (theory 15).

    Args:
        config: features, and `scale` on the LeCun normal initial weights.
        input_shape: shape of one input, flattened.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        init = nnx.initializers.variance_scaling(config.scale**2, "fan_in", "normal")
        self.dense = nnx.Linear(
            math.prod(input_shape), config.features, use_bias=False, kernel_init=init, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        return self.dense(x.reshape(x.shape[0], -1))
