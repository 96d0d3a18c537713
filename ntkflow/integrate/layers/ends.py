"""When a run of linear layers ends before its time: targets for the loss, the deviations and rest."""

import math

from ntkflow._types import Vector
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.dynamics.layers_subspace import Reduced
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.theory.layers.rates import collapse_rates


class Ends:
    """The targets of `Stop`, asked for after every step.

    Args:
        flow: what is integrated.
        stop: the targets.
        reduced: of all features where they are integrated in subspaces: the targets are theirs.
    """

    def __init__(self, flow: LayeredFlow, stop: Stop, reduced: Reduced | None = None) -> None:
        self.flow, self.stop, self.reduced = flow, stop, reduced
        self.clock = collapse_rates(flow.problem)[1]
        self.spread = self._spread(0.0, flow.start)

    def reached(self, y: Vector, t: float) -> Reason | None:
        """The target that the state at time t meets; None where it meets none."""
        stop = self.stop
        if stop.loss is not None and self.flow.loss(y) < stop.loss:
            return Reason.LOSS
        fell = stop.nc1 is not None and self.spread > stop.nc1 >= self._spread(t, y)
        if not fell and stop.stationarity is None:
            return None
        speed = self.flow.field(0.0, y)
        if self.reduced is None:
            size, moved = math.sqrt(y @ y), math.sqrt(speed @ speed)
        else:
            size, moved = self.reduced.norms(t, y, speed)
        # Next to the saddle W = V = 0 speeds fall with a power of the size for L >= 2: the share of the state tells them apart.
        pace = moved / self.clock
        if fell and stop.nc1 is not None and pace <= stop.nc1 * size:
            return Reason.NC1
        return (
            Reason.STATIONARY if stop.stationarity is not None and pace <= stop.stationarity * size else None
        )

    def _spread(self, t: float, y: Vector) -> float:
        return self.flow.within_rms(y) if self.reduced is None else self.reduced.within_rms(t, y)
