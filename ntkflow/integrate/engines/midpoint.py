"""One step of the midpoint rule, for intervals between knots so short that it is exact to rounding."""

from collections.abc import Callable

from ntkflow._types import Vector
from ntkflow.integrate.engines.base import Interpolant

# Below this rho T its error, of relative size (rho T)^2 of a change of relative size rho T, is below rounding. Widths
# near the smallest float would overflow in the step size rules of the other engines.
SHORT = 1e-8


class Midpoint:
    """A `Stepper` that takes one step of `field` from 0 to `width`."""

    def __init__(self, field: Callable[[float, Vector], Vector], y0: Vector, width: float) -> None:
        self.t, self.y, self.status, self.nfev = 0.0, y0, "running", 0
        self._field, self._width, self._start = field, width, y0

    def step(self) -> None:
        """Take the step."""
        if self.status != "running":
            raise RuntimeError(f"the integration has {self.status}; start a new one")
        half = 0.5 * self._width
        middle = self._start + half * self._field(0.0, self._start)
        self.y = self._start + self._width * self._field(half, middle)
        self.t, self.status, self.nfev = self._width, "finished", 2

    def dense(self) -> Interpolant:
        """Linear between the two ends: bent by less than rounding."""
        return lambda t: self._start + (t / self._width) * (self.y - self._start)
