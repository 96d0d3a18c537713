"""The linear readout of a network, if it has one: features h = V a + c of hidden activations a."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ntkflow.errors import InputError
from ntkflow_validation.metrics.variability import Readout
from ntkflow_validation.models.base import Network, Variables
from ntkflow_validation.precision import full

# Names by which bodies call it.
NAMES = ("readout", "dense", "layer")
# |V a + c - h| over |h| up to which a layer is the last of a body: float32 sums.
SAME = 1e-4


class _Through(nnx.Module):
    """Gives its inputs."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def linear_readout(network: Network, variables: Variables, x: np.ndarray) -> tuple[Readout, np.ndarray]:
    """The head on the readout, and the readout's inputs, factors before it included.

    Args:
        network: structure.
        variables: its numbers.
        x: inputs, (N, ...).

    Returns:
        W, V, c in float64, and a of shape (w, N).

    Raises:
        InputError: the last layer of the body is not linear.
    """
    body = nnx.merge(network.graph_eval, *variables).body
    inputs = jnp.asarray(x)
    # Through `full`: on a GPU products are rounded otherwise.
    observe = full(lambda values: body(values))
    H = np.asarray(observe(inputs), dtype=np.float64)
    for name in NAMES:
        layer = getattr(body, name, None)
        if not isinstance(layer, nnx.Linear):
            continue
        V = np.asarray(layer.kernel[...], dtype=np.float64).T
        c = None if layer.bias is None else np.asarray(layer.bias[...], dtype=np.float64)
        setattr(body, name, _Through())
        a = np.asarray(observe(inputs), dtype=np.float64)
        if a.ndim == 2 and a.shape[1] == V.shape[1]:
            found = a @ V.T + (0.0 if c is None else c)
            if found.shape == H.shape and np.linalg.norm(found - H) <= SAME * np.linalg.norm(H):
                W = np.asarray(variables.params["head"]["kernel"], dtype=np.float64).T
                return Readout(W, V, c, f"body.{name}"), a.T
        setattr(body, name, layer)
    raise InputError(
        "network",
        type(body).__name__,
        "has no linear readout: its features come from an activation or a pooling",
        "use an mlp, a cnn with model.readout = 'linear' or a ResNet with 'pool-linear'",
    )
