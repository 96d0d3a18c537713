"""How the features of a network answer to decay of its weights: the lh of theory 11.1, measured."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ntkflow._types import Features
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.datasets import Inputs
from ntkflow_validation.models.base import Network, Variables
from ntkflow_validation.precision import full
from ntkflow_validation.runs.measurement_run import batch_features


@dataclass(frozen=True, eq=False)
class DecayResponse:
    """Change of the features per unit of decay of the parameters, dH/du with dtheta/du = -theta where it decays.

    Attributes:
        change: dH/du, (n, N).
        ratio: lh/lw, the rate at which H shrinks along itself, -<dH, H>/<H, H>: D for features homogeneous of
            degree D in what decays, 0 for features behind a normalisation.
        cosine: between -dH and H; 1 when decay does nothing but shrink the features.
    """

    change: Features
    ratio: float
    cosine: float


def decay_responder(network: Network, config: RunConfig) -> Callable[[Variables, Inputs], DecayResponse]:
    """The function from variables and inputs to the answer of the features, as training sees them, x as one batch."""
    features = batch_features(network) if config.has_running_statistics else network.body_features
    everything = config.training.decay_on == "all"

    @jax.jit
    @full
    def derivative(variables: Variables, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        body = variables.params["body"]
        shrink = jax.tree.map(lambda p: -p if everything or p.ndim > 1 else jnp.zeros_like(p), body)
        return jax.jvp(lambda b: features(b, variables, x), (body,), (shrink,))

    def respond(variables: Variables, x: Inputs) -> DecayResponse:
        H, change = (np.asarray(a, dtype=np.float64).T for a in derivative(variables, jnp.asarray(x)))
        along, square = -float(np.vdot(change, H)), float(np.vdot(H, H))
        size = float(np.linalg.norm(change)) * square**0.5
        return DecayResponse(change, along / square, along / size if size > 0 else float("nan"))

    return respond
