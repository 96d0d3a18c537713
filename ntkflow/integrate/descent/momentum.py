"""Heavy ball and Nesterov: how fast flow time runs, and which plain step size drifts as much.

Both move by a sum over past gradients, x_{k+1} = x_k - eta sum_j c_j g_{k-j} with sum_j c_j = 1/(1-beta).
E is quadratic and E'(x)[g(x)] = 0, so to leading order a step changes E by
    eta^2 [(sum c)^2 + 2 (sum c) sum j c_j] Q(g),    Q(g) = dE'(x)[.]/2 along g,
for gradients that change slowly, and by eta^2 (sum c)^2 Q(noise) for the part that is independent from step
to step. Per unit of flow time eta/(1-beta) this gives `effective_step` and `time_step`. Not in the paper.
"""

from dataclasses import dataclass

from ntkflow import checks
from ntkflow.errors import InputError
from ntkflow.problem import flow_units
from ntkflow.rounding import whole_up


@dataclass(frozen=True)
class Momentum:
    """Step size and momentum of a descent on the sum loss (4).

    Args:
        eta: step size of the sum loss, > 0; a step of a mean loss over N C outputs divided by N C.
        beta: momentum, 0 <= beta < 1.
        nesterov: move by g + beta v instead of v, where v <- beta v + g.

    Raises:
        InputError: a value is out of range, or Nesterov is asked for without momentum.

    >>> Momentum(0.1, 0.5).effective_step
    0.6000000000000001
    """

    eta: float
    beta: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "eta", checks.positive("eta", self.eta, "give a step > 0"))
        object.__setattr__(self, "beta", checks.momentum(self.beta))
        # Both forms are the same step then: asked for by name it must have been meant otherwise.
        if self.nesterov and self.beta == 0:
            raise InputError("nesterov", True, "has no meaning without momentum", "give momentum > 0")

    @property
    def time_step(self) -> float:
        """Flow time per step, eta / (1 - beta)."""
        return self.eta / (1 - self.beta)

    @property
    def effective_step(self) -> float:
        """Step of plain gradient descent whose E drifts as fast per unit of flow time.

        eta (1 + beta) / (1 - beta)^2 for the heavy ball, eta (1 - beta + 2 beta^2) / (1 - beta)^2 for Nesterov.
        """
        return flow_units.drift_step(self.eta, self.beta, self.nesterov)

    def steps_to(self, t: float) -> int:
        """Least number of steps that reach the flow time t > 0, up to rounding.

        >>> Momentum(0.0003).steps_to(0.003)
        10
        """
        return whole_up(t / self.time_step)

    def reach(self, k: int) -> float:
        """Flow time by which step k advances, k = 0, 1, ...: `time_step` once the velocity has built up."""
        return float(self.eta * flow_units.build_up(k, self.beta, self.nesterov))
