"""When a descent ends before its last step: the stop conditions of the flow, asked at the saved steps."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from ntkflow._types import Floats
from ntkflow.dynamics.packed import RawFlow, Speed, class_speed, collapse_rate, relative_speed
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

    def reason(self, before: State, now: State, t: float) -> Reason | None:
        """Why the descent ends at `now`, at flow time t, whose previous step was `before`; None when it goes on."""
        stop, speed = self.stop, partial(class_speed, sizes=self.problem.sizes)
        # A target that the start meets already is none, as in the flow (`integrate.stopping.Stop`).
        fallen = stop.nc1 is not None and self._rms(self.problem.state) > stop.nc1 >= self._rms(now)
        if stop.nc1 is not None and fallen and self._rests(before, now, t, stop.nc1, speed):
            return Reason.NC1
        loss, Y = self.problem.loss, self.problem.sizes.Y
        if stop.loss is not None and float(loss.value(now.logits, Y)) <= stop.loss:
            return Reason.LOSS
        if stop.stationarity is not None and self._rests(before, now, t, stop.stationarity, relative_speed):
            return Reason.STATIONARY
        return None

    def _rests(self, before: State, now: State, t: float, target: float, speed: Speed) -> bool:
        """Whether the last step moved the state by no more, and no kernel that is still to come would."""
        change = [(b - a) / self.dt for a, b in zip(_parts(before), _parts(now), strict=True)]
        limit = target * collapse_rate(self.problem)
        if speed(_parts(now), change) > limit:
            return False
        # A kernel that still has to move may set in motion again what rests now.
        flow = RawFlow.build(self.problem)
        y = np.concatenate([part.ravel() for part in _parts(now)])
        ahead = [knot for knot in knots_of(self.problem.kernel) if knot > t]
        return all(speed(flow.blocks(y), flow.blocks(flow.field(knot, y))) <= limit for knot in ahead)

    def _rms(self, state: State) -> float:
        sizes = self.problem.sizes
        return float(np.sqrt(np.mean((state.H - spread(class_means(state.H, sizes), sizes)) ** 2)))


def _parts(state: State) -> tuple[Floats, Floats, Floats]:
    return state.H, state.W, state.b
