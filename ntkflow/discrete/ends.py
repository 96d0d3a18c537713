"""When a descent ends before its last step: the stop conditions of the flow, asked at the saved steps."""

from dataclasses import dataclass

import numpy as np

from ntkflow.problem import Problem
from ntkflow.saving import knots_of
from ntkflow.state import State, class_means, spread
from ntkflow.stopping import Reason, Stop
from ntkflow.systems import class_speed, clock, relative_speed


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
        stop = self.stop
        # What rests now may move again under another kernel.
        still = t >= max(knots_of(self.problem.kernel), default=0.0)
        change = [(b - a) / self.dt for a, b in zip(_parts(before), _parts(now), strict=True)]
        if stop.nc1 is not None and still and self._rms(self.problem.state) > stop.nc1 >= self._rms(now):
            speed = class_speed(_parts(now), change, self.problem.sizes)
            if speed <= stop.nc1 * clock(self.problem):
                return Reason.NC1
        if stop.loss is not None and self._loss(now) <= stop.loss:
            return Reason.LOSS
        if stop.stationarity is not None and still:
            speed = relative_speed(_parts(now), change)
            if speed <= stop.stationarity * clock(self.problem):
                return Reason.STATIONARY
        return None

    def _rms(self, state: State) -> float:
        sizes = self.problem.sizes
        return float(np.sqrt(np.mean((state.H - spread(class_means(state.H, sizes), sizes)) ** 2)))

    def _loss(self, state: State) -> float:
        sizes = self.problem.sizes
        return float(self.problem.loss.value(state.logits, np.eye(sizes.C)[:, sizes.labels]))


def _parts(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return state.H, state.W, state.b
