"""The two-layer linear network with a nonlinear branch mixed in by degrees: a known departure from the theory."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from ntkflow_validation.config.config import ModelConfig


class BentBody(nnx.Module):
    """h(x) = V x + bend B sqrt(2/width) relu(U x).

    With bend = 0 it is the linear network, whose features' NTK is (X^T X) (x) I_n. The branch adds bend^2 times
    the NTK of a hidden layer whose entries are standard normal: as the width grows, that kernel becomes constant,
    the same for every neuron and a function of the inputs' Gram matrix alone, hence again block structured
    on block inputs. A narrow branch is none of these (theory 15).

    Args:
        config: features, width, `bend`, and `scale` on the LeCun normal initial V.
        input_shape: shape of one input, flattened.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        inputs, standard = math.prod(input_shape), nnx.initializers.normal(1.0)
        init = nnx.initializers.variance_scaling(config.scale**2, "fan_in", "normal")
        self.dense = nnx.Linear(inputs, config.features, use_bias=False, kernel_init=init, rngs=rngs)
        self.hidden = nnx.Linear(inputs, config.width, use_bias=False, kernel_init=standard, rngs=rngs)
        self.branch = nnx.Linear(
            config.width, config.features, use_bias=False, kernel_init=standard, rngs=rngs
        )
        self.factor = config.bend * math.sqrt(2 / config.width)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        x = x.reshape(x.shape[0], -1)
        found: jax.Array = self.dense(x) + jnp.float32(self.factor) * self.branch(nnx.relu(self.hidden(x)))
        return found
