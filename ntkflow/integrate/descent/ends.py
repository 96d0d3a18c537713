"""When a descent ends before its last step: the stop conditions of the flow, asked at the saved steps."""

from dataclasses import dataclass

import numpy as np

from ntkflow.dynamics.packed import RawFlow, clock, relative_speed
from ntkflow.integrate.save_times import knots_of
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State, class_means, spread


@dataclass(frozen=True, eq=False)
class Ends:
    """Stop conditions of one descent.

    Attributes:
        problem: what is descended.
        stop: the targets.
        dt: flow time per step.
    """

    problem: Problem
    stop: Stop
    dt: float

    def reason(self, before: State, now: State, t: float = 0.0) -> Reason | None:
        """Why the descent ends at `now`, at flow time t, whose previous step was `before`; None when it goes on."""
        stop = self.stop
        if stop.nc1 is not None and self._rms(self.problem.state) > stop.nc1 >= self._rms(now):
            return Reason.NC1
        if stop.loss is not None and self._loss(now) <= stop.loss:
            return Reason.LOSS
        if stop.stationarity is not None:
            change = [(b - a) / self.dt for a, b in zip(_parts(before), _parts(now), strict=True)]
            target = stop.stationarity * clock(self.problem)
            if relative_speed(_parts(now), change) <= target and self._rests_ahead(now, t, target):
                return Reason.STATIONARY
        return None

    def _rests_ahead(self, now: State, t: float, target: float) -> bool:
        """Whether no kernel that is still to come would move the state again."""
        flow = RawFlow.build(self.problem)
        y = np.concatenate([part.ravel() for part in _parts(now)])
        ahead = [knot for knot in knots_of(self.problem.kernel) if knot > t]
        speeds = (relative_speed(flow.blocks(y), flow.blocks(flow.field(knot, y))) for knot in ahead)
        return all(speed <= target for speed in speeds)

    def _rms(self, state: State) -> float:
        sizes = self.problem.sizes
        return float(np.sqrt(np.mean((state.H - spread(class_means(state.H, sizes), sizes)) ** 2)))

    def _loss(self, state: State) -> float:
        sizes = self.problem.sizes
        return float(self.problem.loss.value(state.logits, np.eye(sizes.C)[:, sizes.labels]))


def _parts(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return state.H, state.W, state.b
