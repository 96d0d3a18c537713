"""Rungs whose kernel is not measured but follows from the inputs, from homogeneity, or from hidden activations.

Not in the paper (theory 16.4, 16.5).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ntkflow._types import Features
from ntkflow.errors import InputError
from ntkflow.problem.sizes import Sizes
from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.kernels.methods.arc_cosine import arc_cosine, homogeneous_decay
from ntkflow_validation.ladder.clocks import on_probe
from ntkflow_validation.ladder.measured import Measured
from ntkflow_validation.ladder.operators.base import KernelOperator, Operator
from ntkflow_validation.training.readout import linear_readout
from ntkflow_validation.training.steps import loss_scale

# Of W, H and b.
Decays = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class FadingOperator(Operator):
    """An operator that shrinks as exp(-rate t).

    Attributes:
        inner: before it shrinks.
        rate: per flow time.
        sizes: of the samples.
        since: time for which it has shrunk at t = 0 already.
    """

    inner: Operator
    rate: float
    sizes: Sizes
    since: float = 0.0

    def act(self, G: Features, t: float = 0.0) -> Features:
        """exp(-rate t) Op[G]."""
        found: np.ndarray = self._left(t) * self.inner.act(G)
        return found

    def pull(self, W: np.ndarray, R: np.ndarray, t: float = 0.0) -> Features:
        """exp(-rate t) Op[W^T R]."""
        found: np.ndarray = self._left(t) * self.inner.pull(W, R)
        return found

    def between(self, begin: float, end: float) -> "FadingOperator":
        """In a clock that starts at `begin`: smaller by then."""
        del end
        return replace(self, since=self.since + begin)

    @cached_property
    def gain(self) -> float:
        """At t = 0, where it is largest."""
        return self._left(0.0) * self.inner.gain

    def _left(self, t: float) -> float:
        return float(np.exp(-self.rate * (self.since + t)))


def infinite_width(found: Measured) -> Operator:
    """The arc-cosine kernel of an MLP in the NTK parametrisation, at the start of its training."""
    model = getattr(found.config, "model", None)
    if not isinstance(model, ModelConfig) or model.name != "mlp" or model.parametrisation != "ntk":
        raise InputError(
            "rungs",
            "infinite-width",
            "has the kernel of an MLP in the NTK parametrisation",
            "train one: model.name = 'mlp', model.parametrisation = 'ntk'",
        )
    X = found.x.reshape(len(found.x), -1).astype(np.float64)
    return KernelOperator(
        on_probe(arc_cosine(X, model.depth, model.hidden_bias, model.readout_bias), found), found.sizes
    )


def decay_of(found: Measured) -> float:
    """lambda of weight decay, per flow time of the observed samples; 0 without."""
    recipe = found.config.training
    return loss_scale(recipe, found.trained, found.sizes.C) * recipe.weight_decay * found.share


def layers_of_features(found: Measured) -> int:
    """D: features are homogeneous of this degree in the parameters that decay.

    Raises:
        InputError: they are not, or it is not known.
    """
    model = getattr(found.config, "model", None)
    homogeneous = isinstance(model, ModelConfig) and (
        model.name == "linear" or (model.name == "mlp" and not (model.hidden_bias or model.readout_bias))
    )
    if not homogeneous or model is None:
        raise InputError(
            "rungs",
            "fading-sample",
            "has features that are homogeneous in the parameters",
            "train an MLP with model.hidden_bias = false and model.readout_bias = false",
        )
    return 1 if model.name == "linear" else model.depth + 1


def fading(found: Measured) -> Operator:
    """The measured N x N kernel times e^(-2 (D-1) lambda t), as it is while the network is lazy."""
    rate = homogeneous_decay(layers_of_features(found)) * decay_of(found)
    if not decay_of(found):
        raise InputError("rungs", "fading-sample", "is sample itself, nothing decays", "use sample")
    return FadingOperator(KernelOperator(on_probe(found.mean_kernel, found), found.sizes), rate, found.sizes)


def two_linear_layers(found: Measured) -> Operator:
    """The kernel A~^T A~ of a linear readout on frozen hidden activations A~ = [a; 1]."""
    config = found.config
    if found.network is None or not hasattr(config, "model"):
        raise InputError(
            "rungs", "two-linear-layers", "needs the network itself", "train it by `ntkflow validate`"
        )
    readout, A = linear_readout(found.network, found.train_state.variables, found.x)
    if readout.c is not None:
        if decay_of(found) and config.training.decay_on == "weights":
            raise InputError(
                "rungs",
                "two-linear-layers",
                "takes V and c as one layer, but c does not decay",
                "use training.decay_on = 'all' or model.readout_bias = false",
            )
        A = np.vstack([A, np.ones(A.shape[1])])
    return KernelOperator(on_probe(A.T @ A, found), found.sizes)


def decayed(found: Measured) -> Decays:
    """Rates of a network whose features shrink at D lambda: a linear readout on frozen activations has D = 1."""
    rate, on = decay_of(found), found.config.training.decay_on
    return rate, rate, rate if on == "all" else 0.0


def homogeneous(found: Measured) -> Decays:
    """Rates of a homogeneous network."""
    rate, _, biases = decayed(found)
    return rate, layers_of_features(found) * rate, biases
