"""Asks of the state after an accepted step whether the run is to end, and why a step failed."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ntkflow._types import Vector
from ntkflow.dynamics.packed import Flow, Speed, class_speed, norm, relative_speed
from ntkflow.dynamics.saddle import Saddle
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

# The field is evaluated for the stationarity test only once a step's mean speed is below this many targets.
NEARLY = 100.0
BLIND_STEPS = 8
# So many steps that move the state by less than this many tolerances, at a pace that the step limit cannot cover.
STALL_STEPS = 1000
STALL_MOTION = 100.0
# Features and weights that shrink into the saddle at the origin carry an error in its growing directions. When it has come
# to this share of them, the run ends.
SADDLE_ERROR = 0.01
# So much of the saddle's own rate is falling into it, and no approach to a small limit nearby.
FALLING = 0.1
# A step that fails is one that rounding has worn out if so many steps before it got nowhere.
WORN_STEPS = 50


@dataclass(frozen=True, eq=False)
class Now:
    """Where a run stands.

    Attributes:
        t: time.
        y: packed state there.
        steps: accepted steps so far.
        rtol: tolerance that the engine works at on the interval between knots that is under way.
        end: where that interval ends.
        finished: whether the run has come to its end time.
    """

    t: float
    y: Vector
    steps: int
    rtol: float
    end: float
    finished: bool = False


class Watch:
    """Whether one run is to end, step by step.

    Args:
        flow: the packed system.
        sizes: of the problem.
        t_end: end time.
        stop: conditions that end the run earlier.
        knots: times at which a moving kernel has a kink.
        max_steps: limit on accepted steps.
        saddle: the rates of W = H = 0, where that is a saddle: a run that falls into it is to end.
        reached: of a state at rest by the target for NC1, whether it is the predicted end; None: every one is.

    Attributes:
        blind: whether there is no target, so that a look now and then is enough.
        origin: norms of features and weights at the start.
        spread: root mean square within-class standard deviation there.
    """

    def __init__(
        self,
        flow: Flow,
        sizes: Sizes,
        t_end: float,
        stop: Stop,
        knots: Sequence[float],
        max_steps: int,
        saddle: Saddle | None = None,
        reached: Callable[[State], bool] | None = None,
    ) -> None:
        self.flow, self.sizes, self.t_end, self.stop, self.knots = flow, sizes, t_end, stop, list(knots)
        self.max_steps, self.saddle, self.reached = max_steps, saddle, reached
        y0 = flow.start()
        self.blind = stop.nc1 is None and stop.loss is None and stop.stationarity is None
        self.origin, self.spread = self._features_and_weights(y0), flow.within_rms(y0)
        self._first, self._last = y0, (0.0, y0)
        self._mark = Now(0.0, y0, 0, 0.0, 0.0)
        self._recent: deque[Now] = deque(maxlen=2)
        self._wakes = 0.0

    def reason(self, now: Now, near: bool | None = None) -> Reason | None:
        """What ends the run here; None goes on.

        Args:
            now: where it stands.
            near: whether the mean speed since the last look is so low that the run may be at rest; None works it out.
        """
        if self.stalled(now):
            return Reason.STALLED
        # Engines refuse steps that are not finite; without targets a look now and then is enough.
        if not (self.blind and now.t < now.end and now.steps % BLIND_STEPS):
            # The order tells which reason is given where several hold: what is wrong first, then targets, then the time.
            if not np.all(np.isfinite(now.y)):
                return Reason.NOT_FINITE
            if self.saddle is not None and self._at_saddle(now, self.saddle):
                return Reason.SADDLE
            if (met := self._target(now.t, now.y, near)) is not None:
                return met
            if now.finished:
                return Reason.T_END
        return Reason.MAX_STEPS if now.steps >= self.max_steps else None

    def indifferent(self, t: float, end: float, steps: int) -> bool:
        """Whether nothing is asked of a state at t after so many steps: then `reason` is None, and the state need not be made.

        Args:
            t: time.
            end: where the interval between knots that is under way ends.
            steps: accepted steps so far.
        """
        if not self.blind or t >= end or steps >= self.max_steps:
            return False
        return steps % BLIND_STEPS != 0 and steps % WORN_STEPS != 0

    def stalled(self, now: Now) -> bool:
        """Whether the run gets nowhere; to be asked every `WORN_STEPS` and every `STALL_STEPS` steps."""
        if now.steps and now.steps % WORN_STEPS == 0:
            self._recent.append(_kept(now))
        if not now.steps or now.steps % STALL_STEPS:
            return False
        before, self._mark = self._mark, _kept(now)
        return gets_nowhere(now, before, self.max_steps)

    def _target(self, t: float, y: Vector, near: bool | None) -> Reason | None:
        stop = self.stop
        if stop.nc1 is not None and self._collapsed(t, y, stop.nc1):
            return Reason.NC1
        if stop.loss is not None and self.flow.loss(y) <= stop.loss:
            return Reason.LOSS
        if stop.stationarity is not None:
            near = self._near(t, y, stop.stationarity) if near is None else near
            if near and self._rests(t, y, stop.stationarity, relative_speed):
                return Reason.STATIONARY
        return None

    def failure(self, now: Now) -> Reason:
        """Why the engine gave up: whether it does so at rest, where rounding sets the steps, or stalls is chance."""
        if not np.all(np.isfinite(now.y)):
            return Reason.NOT_FINITE
        if len(self._recent) < 2 or not _out_of_reach(now, self._recent[0], self.max_steps):
            return Reason.STEP_FAILED
        if _still(now, self._recent[0]):
            return Reason.STALLED
        # Outputs may have reached labels of size one to the tolerance: |R|^2 <= 2 L for the losses known.
        square = (STALL_MOTION * now.rtol) ** 2
        loss, start = self.flow.loss(now.y), self.flow.loss(self._first)
        fitted = 0 <= 2 * loss <= square * min(1.0, 2 * start)
        return Reason.STALLED if fitted else Reason.STEP_FAILED

    def _features_and_weights(self, y: Vector) -> tuple[float, float]:
        blocks = self.flow.blocks(y)
        return norm(blocks[:-2]), norm(blocks[-2:-1])

    def _at_saddle(self, now: Now, saddle: Saddle) -> bool:
        """Whether both have shrunk so far, and the outputs with them, that rounding decides where they go."""
        depth, t, y = saddle.depth(SADDLE_ERROR / now.rtol), now.t, now.y
        norms = self._features_and_weights(y)
        shrunk = all(0 < size <= depth * start for size, start in zip(norms, self.origin, strict=True))
        if not (shrunk and norms[0] * norms[1] <= depth**2):
            return False
        # A limit may be as small: only what still falls at a good part of the saddle's own rate is on its way into it.
        state, change = (self.flow.blocks(part)[:-1] for part in (y, self.flow.field(t, y)))
        for blocks, speeds in ((state[:-1], change[:-1]), (state[-1:], change[-1:])):
            # Each by its norm before they are multiplied: squares need not be floats here.
            size = norm(blocks)
            shrinking = -sum(float(np.vdot(x / size, v / size)) for x, v in zip(blocks, speeds, strict=True))
            if not shrinking >= FALLING * saddle.falling:
                return False
        return True

    def _collapsed(self, t: float, y: Vector, target: float) -> bool:
        """Whether deviations are below the target, and the class means, W and b move as little per unit of tau.

        Decay takes the deviations away long before it has decided which classes survive, and a large mu_single
        before the classes are fitted. A class that is still next to zero moves as little: where the end is predicted
        the run goes on until it is there.
        """
        speed = partial(class_speed, sizes=self.sizes)
        rests = self.spread > target >= self.flow.within_rms(y) and self._rests(t, y, target, speed)
        return rests and (self.reached is None or self.reached(self.flow.state(y)))

    def _rests(self, t: float, y: Vector, target: float, speed: Speed) -> bool:
        """Whether y rests under the kernel of now and under all to come: a later one may move it again."""
        if not self._at_rest(t, y, target, speed):
            return False
        if self._wakes > t and not self._at_rest(self._wakes, y, target, speed):
            return False
        ahead = (time for time in (*self.knots, self.t_end) if time > t) if self.knots else ()
        # Among many knots the one that moves it is remembered: it will do so after the next step too.
        self._wakes = next((time for time in ahead if not self._at_rest(time, y, target, speed)), 0.0)
        return not self._wakes

    def _at_rest(self, t: float, y: Vector, target: float, speed: Speed) -> bool:
        """Whether y is as good as at rest under the kernel of time t."""
        blocks, field = self.flow.blocks, self.flow.field
        return bool(speed(blocks(y), blocks(field(t, y))) <= target * self.flow.clock)

    def _near(self, t: float, y: Vector, target: float) -> bool:
        """Whether the mean speed since the last look is near a target: then the field, which decides, is asked."""
        (begin, before), self._last = self._last, (t, y.copy())
        span = (t - begin) * self.flow.clock
        moved = y - before
        return bool(math.sqrt(moved @ moved) <= NEARLY * target * span * math.sqrt(y @ y))


def gets_nowhere(now: Now, before: Now, max_steps: int) -> bool:
    """Whether the steps since then have hardly moved the state, at a pace that the step limit cannot cover."""
    return _out_of_reach(now, before, max_steps) and _still(now, before)


def _out_of_reach(now: Now, before: Now, max_steps: int) -> bool:
    """Whether the interval's end cannot be reached within the step limit at the pace since then."""
    return bool((now.t - before.t) * (max_steps - now.steps) < (now.steps - before.steps) * (now.end - now.t))


def _kept(now: Now) -> Now:
    """The same, for good: engines go on in their own memory."""
    return replace(now, y=now.y.copy())


def _still(now: Now, before: Now) -> bool:
    """Whether rounding, and not the solution, has set the steps since then."""
    moved = now.y - before.y
    return bool(math.sqrt(moved @ moved) <= STALL_MOTION * now.rtol * math.sqrt(now.y @ now.y))
