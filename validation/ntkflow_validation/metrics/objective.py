"""What a training minimises over its outputs, and whether its biases move: all that the residual of a flow depends on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow.problem.losses import MSE, SQUARED_ERROR, Loss, Smoothed
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow_validation.kernels.methods.components import split

Outputs = Float64[np.ndarray, "C N"]
# Half width of the differences that stand for a second derivative: only directions are taken from them.
STEP = 1e-5


@dataclass(frozen=True)
class Objective:
    """A loss of the outputs, with the head that it trains.

    Attributes:
        loss: a sum over samples.
        biased: whether b moves; a head without a bias has b = 0, and keeps it.
    """

    loss: Loss = SQUARED_ERROR
    biased: bool = True

    @property
    def squares(self) -> bool:
        """Whether the residual is linear in the outputs: squared errors, of smoothed targets too."""
        return isinstance(self.loss.loss if isinstance(self.loss, Smoothed) else self.loss, MSE)

    @property
    def plain(self) -> bool:
        """Whether it is eq. (4), whatever moves: squared errors of one-hot targets."""
        return isinstance(self.loss, MSE)

    def of_outputs(self, F: Outputs, sizes: Sizes) -> Outputs:
        """R = dL/dF; F may be changed in place."""
        if not self.plain:
            return np.asarray(self.loss.residual(F, sizes.Y))
        # Every stage of every step asks: without another C x N array.
        F[sizes.labels, np.arange(sizes.N)] -= 1.0
        return F

    def residual(self, state: State, sizes: Sizes) -> Outputs:
        """R of a state."""
        return np.asarray(self.loss.residual(state.logits, sizes.Y))

    def value(self, state: State, sizes: Sizes) -> float:
        """The loss of a state."""
        return float(self.loss.value(state.logits, sizes.Y))

    def of_biases(self, R: Outputs) -> Float64[np.ndarray, " C"]:
        """dL/db as the training follows it: 0 where b is held."""
        return R.sum(axis=1) if self.biased else np.zeros(len(R))

    def curved(self, state: State, sizes: Sizes, V: Outputs) -> Outputs:
        """How R moves as the outputs move along V: V itself for squared errors."""
        size = float(np.abs(V).max(initial=0.0))
        if self.squares or not size:
            return V
        F, Y, h = state.logits, sizes.Y, STEP / size
        return np.asarray(self.loss.residual(F + h * V, Y) - self.loss.residual(F - h * V, Y)) / (2 * h)

    def losses(self, state: State, sizes: Sizes) -> dict[str, float]:
        """The loss, and half the squared norms of the three parts of its residual, which add up to it for squared errors."""
        parts = split(self.residual(state, sizes), sizes.labels)
        mean, contrast, within = (0.5 * float(np.sum(part**2)) for part in parts[::-1])
        whole = {"loss_global": mean, "loss_class": contrast, "loss_individual": within}
        return {"loss": self.value(state, sizes), **whole}


PLAIN = Objective()
