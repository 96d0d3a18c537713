"""From an optimiser's steps to flow time, and from its decay to the theory's: the time and the rates of the sum loss.

Frameworks train the mean of a loss, with momentum, and call weight decay what multiplies the parameters in each
step. The theory's time is that of the gradient flow of the sum loss (4). Everything that turns one into the other is
here (theory 11.4, 11.6); the rest of ntkflow knows flow time only.
"""

from dataclasses import dataclass

import numpy as np

from ntkflow import checks
from ntkflow._lazy import lister
from ntkflow._types import Array, Json, Times, Vector

__all__ = [
    "DECAYS",
    "REDUCTIONS",
    "Optimiser",
    "build_up",
    "drift_step",
    "loss_scale",
    "optimiser_decay",
    "theory_decay",
    "times",
]
__dir__ = lister(__all__)

REDUCTIONS = ("mean", "sum")
DECAYS = ("coupled", "decoupled")


def loss_scale(loss: str, reduction: str, samples: int, classes: int, batch: int | None = None) -> float:
    """Sum loss (4) over all samples divided by the loss that is differentiated, in expectation over batches.

    The mean over samples and outputs gives N C; that of the cross-entropy is over samples only and gives N.
    The sum over a batch of B samples gives N / B, since a class-balanced batch has in expectation B / N of
    the full gradient. Source: theory 11.6.

    Args:
        loss: "mse", (f - y)^2 / 2 averaged over outputs; any other name is a loss of a sample, averaged over samples.
        reduction: "mean" or "sum".
        samples: N of the data set.
        classes: C.
        batch: samples in a batch; None for all.
    """
    checks.choice("reduction", reduction, REDUCTIONS)
    if reduction == "mean":
        return float(samples * classes if loss == "mse" else samples)
    return samples / batch if batch else 1.0


def build_up(steps: Array, momentum: float, nesterov: bool = False) -> Array:
    """How far step k (from 0) of a constant gradient goes, in learning rates: (1 - beta^(k+1))/(1 - beta).

    Heavy-ball momentum adds up gradients, v_k = sum_{j<=k} beta^(k-j) g_j; Nesterov's form steps along g + beta v,
    which is one power of beta ahead. Both end at 1/(1 - beta) (theory 11.4).
    """
    return (1 - momentum ** (steps + (2 if nesterov else 1))) / (1 - momentum)


def times(rates: Vector, scale: float, momentum: float = 0.0, nesterov: bool = False) -> Times:
    """Flow time before each step and after the last, (steps + 1,).

    Args:
        rates: learning rate of every step, (steps,).
        scale: `loss_scale`.
        momentum: beta.
        nesterov: Nesterov's form instead of the heavy ball.
    """
    increments = rates * build_up(np.arange(len(rates)), momentum, nesterov) / scale
    return np.concatenate([[0.0], np.cumsum(increments)])


def theory_decay(weight_decay: float, scale: float, momentum: float = 0.0, decay: str = "coupled") -> float:
    """The theory's rate lambda per unit of flow time: N C times that of an optimiser with the mean loss.

    Coupled decay (an L2 penalty, SGD's) passes through the momentum as the gradient does. Decoupled decay,
    x <- (1 - eta weight_decay) x beside the step, does not, and acts (1 - beta) as much in flow time.

    Args:
        weight_decay: the optimiser's number.
        scale: `loss_scale`.
        momentum: beta; it matters for decoupled decay only.
        decay: "coupled" or "decoupled".
    """
    checks.choice("decay", decay, DECAYS)
    return scale * weight_decay * (1 - momentum if decay == "decoupled" else 1.0)


def optimiser_decay(rate: float, scale: float) -> float:
    """The coupled weight decay of an optimiser that is the theory's lambda; the inverse of `theory_decay`."""
    return rate / scale


def drift_step(step: float, momentum: float = 0.0, nesterov: bool = False) -> float:
    """The step eta_eff of plain descent whose E drifts as fast per flow time; iterates follow x' = F - (eta_eff/2) F' F.

    eta for plain descent, eta (1 + beta)/(1 - beta)^2 for heavy ball, eta (1 - beta + 2 beta^2)/(1 - beta)^2 for
    Nesterov's form, whose flow time runs 1/(1 - beta) faster (theory 11.4).

    Args:
        step: eta of the sum loss, the learning rate over `loss_scale`.
        momentum: beta.
        nesterov: Nesterov's form instead of the heavy ball.
    """
    lag = 1 - momentum + 2 * momentum**2 if nesterov else 1 + momentum
    return step * lag / (1 - momentum) ** 2


@dataclass(frozen=True)
class Optimiser:
    """What a run's optimiser is in the theory's units.

    Args:
        scale: `loss_scale`.
        learning_rate: of the differentiated loss; None where only the decay is known.
        momentum: beta, 0 <= beta < 1.
        nesterov: Nesterov's form; its flow time is that of the heavy ball.
        weight_decay: coupled, on W and on the features; None where there is none.

    Raises:
        InputError: a value is out of its range.
    """

    scale: float
    learning_rate: float | None = None
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        if self.learning_rate is not None:
            checks.positive("learning_rate", self.learning_rate, "give a rate > 0")
        checks.momentum(self.momentum)
        if self.weight_decay is not None:
            checks.not_negative("weight_decay", self.weight_decay, "give a rate >= 0")

    @property
    def rate(self) -> float:
        """The theory's lambda, per unit of flow time."""
        return theory_decay(self.weight_decay or 0.0, self.scale)

    @property
    def time_step(self) -> float | None:
        """Flow time of one step, once momentum has built up."""
        if self.learning_rate is None:
            return None
        return self.learning_rate / (self.scale * (1 - self.momentum))

    def as_dict(self) -> Json:
        """Plain values for files."""
        return {
            "loss_scale": self.scale,
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
            "theory_decay": self.rate,
            "time_step": self.time_step,
        }
