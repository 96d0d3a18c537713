"""Aligned starts of linear networks, whose kernel moves and is known (theory 18.6)."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.layers import initial
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.sizes import Sizes
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.models.base import Network, Tree


def aligned(network: Network, x: np.ndarray, config: RunConfig) -> Network:
    """The network with every contrast at the singular value `model.scale` in all its layers, in one frame; b = 1/C.

    Args:
        network: of the model "linear".
        x: block inputs, which stand sorted by class, (N, ...).
        config: of the data, the model and the seed of the frames.
    """
    data, model = config.data, config.model
    sizes = Sizes(data.classes, len(x) // data.classes, model.features)
    kernel, widths = BlockKernel(data.kappa_d, data.kappa_c, data.kappa_n), (sizes.n,) * model.layers
    return with_layers(network, x, initial.make("aligned", sizes, widths, kernel, config.seed, model.scale))


def with_layers(network: Network, x: np.ndarray, state: LayeredState) -> Network:
    """The network with the layers of a state, of V_1 the smallest that has these images of the inputs."""
    X = np.asarray(x, dtype=np.float64).reshape(len(x), -1).T
    body: Tree = {"dense": {"kernel": np.linalg.pinv(X).T @ state.H.T}}
    if state.V:
        names = sorted(network.initial.params["body"]["upper"])
        body["upper"] = {name: {"kernel": V.T} for name, V in zip(names, state.V, strict=True)}
    params = {"body": body, "head": {"kernel": state.W.T, "bias": state.b}}
    return replace(network, initial=network.initial._replace(params=_like(network.initial.params, params)))


def _like(old: Tree, new: Tree) -> Tree:
    """The new numbers in the shape and order of the old ones."""
    if not isinstance(old, dict):
        return jnp.asarray(new, jnp.float32)
    return {name: _like(old[name], new[name]) for name in old}
