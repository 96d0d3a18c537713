"""Fully connected hidden layers and a linear readout."""

import math
from itertools import pairwise

import jax
from flax import nnx

from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models.layers import Layers


class MlpBody(nnx.Module):
    """`depth` ReLU layers of `width` units, then a dense layer without activation to n features.

    In the NTK parametrisation with weights V_l of variance 1 and rate gamma^2 (the head's is 1),

        a_l = relu(sqrt(2/w_(l-1)) V_l a_(l-1) + c_l),    h = (V a/sqrt(w) + c)/gamma.

    What is stored and trained is U = V/gamma, and c/gamma, at rate 1: then dU = -dL/dU is dV = -gamma^2 dL/dV, so that no
    optimiser has to know of groups, the kernel of the stored parameters is that which moves the features, weight decay is
    the same number in flow time for head and body, and W^T W - U U^T is what the readout conserves.

    Args:
        config: features, width, depth, init, biases, parametrisation, gamma.
        input_shape: shape of one input, flattened.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        sizes = [math.prod(input_shape), *[config.width] * config.depth]
        layers = Layers(config, rngs)
        self.scaled = config.parametrisation == "ntk"
        self.gamma = config.gamma

        def dense(inputs: int, outputs: int, use_bias: bool) -> nnx.Linear:
            if self.scaled:
                return layers.unit_dense(inputs, outputs, 1 / config.gamma, use_bias)
            return layers.dense(inputs, outputs, use_bias)

        self.hidden = nnx.List([dense(a, b, config.hidden_bias) for a, b in pairwise(sizes)])
        self.readout = dense(sizes[-1], config.features, config.readout_bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features, (B, n)."""
        x = x.reshape(x.shape[0], -1)
        for layer in self.hidden:
            # Factors of the inputs and of what comes out, so that the layer is one that kernels know how to take apart.
            x = self.gamma * layer(math.sqrt(2 / x.shape[1]) * x) if self.scaled else layer(x)
            x = nnx.relu(x)
        return self.readout(x / math.sqrt(x.shape[1]) if self.scaled else x)
