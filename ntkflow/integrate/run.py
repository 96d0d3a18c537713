"""One integration under way: steps, saves, and asks after every step whether to stop."""

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from ntkflow._types import Times, Vector
from ntkflow.dynamics.packed import Flow, Saddle, Speed, class_speed, norm, relative_speed
from ntkflow.integrate.engines.base import interpolant
from ntkflow.integrate.engines.chain import Chain, Step
from ntkflow.integrate.save_times import log_grid
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.progress import Progress

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


class Run:
    """Steps an engine from 0 to t_end and keeps what is to be saved.

    Args:
        flow: the packed system.
        sizes: of the problem.
        engine: name of the engine, or 'auto'.
        t_end: end time.
        rtol: tolerance asked for; the engine works at a share of it.
        stop: conditions that end the run earlier.
        save_at: exact times to save; the state in which the run ends earlier is saved too. None: the engine's own
            steps, thinned.
        knots: times at which a moving kernel has a kink; steps end there and begin anew, and where `save_at` is
            None the state there is saved.
        max_steps: limit on accepted steps.
        progress: called with ("integrating", t, t_end) after each step.
        observe: called after each accepted step, before its end is saved.
        saddle: the rates of W = H = 0, where that is a saddle: a run that falls into it is to end.
        reached: of a state at rest by the target for NC1, whether it is the predicted end; None: every one is.

    Attributes:
        stepper: what steps; `stepper.intervals` are those between the knots.
        steps: accepted steps.
        times: saved times.
        packed: packed states there.
        turns: (t, packed state) at the knots passed, whether saved or not; empty for a constant kernel.
    """

    def __init__(
        self,
        flow: Flow,
        sizes: Sizes,
        engine: str,
        t_end: float,
        rtol: float,
        stop: Stop,
        save_at: Times | None,
        knots: Sequence[float],
        max_steps: int,
        progress: Progress | None,
        observe: Callable[[Step], None] | None = None,
        saddle: Saddle | None = None,
        reached: Callable[[State], bool] | None = None,
    ) -> None:
        self.reached = reached
        self.flow, self.sizes, self.stop, self.t_end = flow, sizes, stop, t_end
        self.max_steps, self.progress, self.observe = max_steps, progress, observe
        y0 = flow.start()
        self.stepper = Chain(flow, knots, t_end, rtol, engine)
        self.steps = 0
        self.last = (0.0, y0)
        self.mark = (0, 0.0, y0)
        self.recent: deque[tuple[int, float, Vector]] = deque(maxlen=2)
        self.blind = stop.nc1 is None and stop.loss is None and stop.stationarity is None
        self.saddle, self.origin = saddle, self._features_and_weights(y0)
        self.spread = flow.within_rms(y0)
        self.times: list[float] = []
        self.packed: list[Vector] = []
        self.turns: list[tuple[float, Vector]] = []
        self.exact = save_at
        # A hundredth of the fastest time constant: before that nothing can be seen to move on a log axis of time.
        first = 1e-2 / max(flow.spectral_radius(y0), 1 / t_end)
        self.grid: Iterator[float] = iter(
            save_at if save_at is not None else log_grid(first, t_end, y0.nbytes, knots)
        )
        self.knots, self.wakes = list(knots), 0.0
        self.next = next(self.grid)
        if save_at is None or self.next == 0.0:
            self._save(0.0, y0)
            self.next = next(self.grid, math.inf) if save_at is not None else self.next

    def march(self) -> Reason:
        """Step until something ends the run."""
        with warnings.catch_warnings():
            # LSODA announces failures here too; its status tells them, and the result code says what to do.
            warnings.filterwarnings("ignore", "lsoda:", UserWarning)
            reason = self._until_something_ends_it()
        self._save_end(reason)
        return reason

    def _until_something_ends_it(self) -> Reason:
        reason = self._stop_reason() if self.exact is None else None
        while reason is None:
            if self.stepper.status != "failed":
                # A trial step may overflow; the engine rejects it, or the check below ends the run.
                with np.errstate(over="ignore", invalid="ignore"):
                    self.stepper.step()
            if self.stepper.status == "failed":
                reason = self._failure()
                break
            self.steps += 1
            if self.observe is not None and self.stepper.last is not None:
                self.observe(self.stepper.last)
            if self.steps % WORN_STEPS == 0:
                self.recent.append((self.steps, self.stepper.t, self.stepper.y.copy()))
            reason = self._stop_reason()
            if self.knots and self.stepper.t == self.stepper.interval.end:
                self.turns.append((self.stepper.t, np.array(self.stepper.y)))
            if reason is not Reason.NOT_FINITE:
                self._save_due(last=reason is not None)
            if self.progress is not None:
                self.progress("integrating", self.stepper.t, self.t_end)
        return reason

    def _stop_reason(self) -> Reason | None:
        if self.steps and self.steps % STALL_STEPS == 0:
            before, self.mark = self.mark, (self.steps, self.stepper.t, self.stepper.y.copy())
            if self._out_of_reach(before) and self._still(before):
                return Reason.STALLED
        # Engines refuse steps that are not finite; without targets a look now and then is enough.
        within = self.stepper.t < self.stepper.interval.end
        if self.blind and within and self.steps % BLIND_STEPS:
            return Reason.MAX_STEPS if self.steps >= self.max_steps else None
        # The order tells which reason is given where several hold: what is wrong first, then targets, then the time.
        t, y, stop, flow = self.stepper.t, self.stepper.y, self.stop, self.flow
        if not np.all(np.isfinite(y)):
            return Reason.NOT_FINITE
        if self.saddle is not None and self._at_saddle(t, y, self.saddle):
            return Reason.SADDLE
        if stop.nc1 is not None and self._collapsed(t, y, stop.nc1):
            return Reason.NC1
        if stop.loss is not None and flow.loss(y) <= stop.loss:
            return Reason.LOSS
        if stop.stationarity is not None and self._stationary(t, y, stop.stationarity):
            return Reason.STATIONARY
        if self.stepper.status == "finished":
            return Reason.T_END
        return Reason.MAX_STEPS if self.steps >= self.max_steps else None

    def _features_and_weights(self, y: Vector) -> tuple[float, float]:
        blocks = self.flow.blocks(y)
        return norm(blocks[:-2]), norm(blocks[-2:-1])

    def _at_saddle(self, t: float, y: Vector, saddle: Saddle) -> bool:
        """Whether both have shrunk so far, and the outputs with them, that rounding decides where they go."""
        depth = saddle.depth(SADDLE_ERROR / self.stepper.interval.rtol)
        now = self._features_and_weights(y)
        shrunk = all(0 < size <= depth * start for size, start in zip(now, self.origin, strict=True))
        if not (shrunk and now[0] * now[1] <= depth**2):
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
        if self.wakes > t and not self._at_rest(self.wakes, y, target, speed):
            return False
        ahead = (time for time in (*self.knots, self.t_end) if time > t) if self.knots else ()
        # Among many knots the one that moves it is remembered: it will do so after the next step too.
        self.wakes = next((time for time in ahead if not self._at_rest(time, y, target, speed)), 0.0)
        return not self.wakes

    def _at_rest(self, t: float, y: Vector, target: float, speed: Speed) -> bool:
        """Whether y is as good as at rest under the kernel of time t."""
        blocks, field = self.flow.blocks, self.flow.field
        return bool(speed(blocks(y), blocks(field(t, y))) <= target * self.flow.clock)

    def _stationary(self, t: float, y: Vector, target: float) -> bool:
        """Whether the state rests; the field, which decides, is asked only where the mean speed over the step is near."""
        (begin, before), self.last = self.last, (t, y.copy())
        span = (t - begin) * self.flow.clock
        moved = y - before
        near = bool(math.sqrt(moved @ moved) <= NEARLY * target * span * math.sqrt(y @ y))
        return near and self._rests(t, y, target, relative_speed)

    def _failure(self) -> Reason:
        """Why the engine gave up: whether it does so at rest, where rounding sets the steps, or stalls is chance."""
        if not np.all(np.isfinite(self.stepper.y)):
            return Reason.NOT_FINITE
        if len(self.recent) < 2 or not self._out_of_reach(self.recent[0]):
            return Reason.STEP_FAILED
        if self._still(self.recent[0]):
            return Reason.STALLED
        # Outputs may have reached labels of size one to the tolerance: |R|^2 <= 2 L for the losses known.
        square = (STALL_MOTION * self.stepper.interval.rtol) ** 2
        loss, start = self.flow.loss(self.stepper.y), self.flow.loss(self.flow.start())
        fitted = 0 <= 2 * loss <= square * min(1.0, 2 * start)
        return Reason.STALLED if fitted else Reason.STEP_FAILED

    def _out_of_reach(self, before: tuple[int, float, Vector]) -> bool:
        """Whether the interval's end cannot be reached within the step limit at the pace since then."""
        steps, t, _ = before
        now = self.stepper.t
        return bool(
            (now - t) * (self.max_steps - self.steps)
            < (self.steps - steps) * (self.stepper.interval.end - now)
        )

    def _still(self, before: tuple[int, float, Vector]) -> bool:
        """Whether rounding, and not the solution, has set the steps since then."""
        y = self.stepper.y
        moved = y - before[2]
        return bool(math.sqrt(moved @ moved) <= STALL_MOTION * self.stepper.interval.rtol * math.sqrt(y @ y))

    def _save_due(self, last: bool) -> None:
        t = self.stepper.t
        if self.exact is not None:
            if self.next <= t:
                inside = interpolant(self.stepper)
                while self.next <= t:
                    self._save(self.next, self.stepper.y.copy() if self.next == t else inside(self.next))
                    self.next = next(self.grid, math.inf)
            return
        # Where the kernel changes its slope the law of E's motion has a kink: those states are saved too.
        if (t >= self.next or last or t == self.stepper.interval.end) and t > self.times[-1]:
            self._save(t, self.stepper.y.copy())
        while self.next <= t:
            self.next = next(self.grid, math.inf)

    def _save_end(self, reason: Reason) -> None:
        """The last finite state of a run that ended before its end time, unless it is there already."""
        t, y = self.stepper.t, self.stepper.y
        if np.all(np.isfinite(y)):
            if reason is not Reason.T_END and (not self.times or t > self.times[-1]):
                self._save(t, y.copy())
        elif not self.times:
            self._save(0.0, self.flow.start())

    def _save(self, t: float, y: Vector) -> None:
        self.times.append(float(t))
        self.packed.append(np.array(y))
