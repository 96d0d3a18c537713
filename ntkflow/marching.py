"""One integration under way: steps, saves, and asks after every step whether to stop."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ntkflow._types import Times, Vector
from ntkflow.engines import choose
from ntkflow.engines.base import Stepper, interpolant
from ntkflow.saving import log_grid
from ntkflow.sizes import Sizes
from ntkflow.stopping import Reason, Stop
from ntkflow.systems import Flow, class_speed, relative_speed

# The field is evaluated for the stationarity test only once a step's mean speed is below this many targets.
NEARLY = 100.0
BLIND_STEPS = 8
# So many steps that move the state by less than this many tolerances, at a pace that the step limit cannot cover.
STALL_STEPS = 1000
STALL_MOTION = 100.0

Progress = Callable[[float, float], None]


class Run:
    """Steps an engine from 0 to t_end and keeps what is to be saved.

    Args:
        flow: the packed system.
        sizes: of the problem.
        engine: name of the engine.
        t_end: end time.
        rtol: tolerance given to the engine.
        stop: conditions that end the run earlier.
        save_at: exact times to save; the state in which the run ends earlier is saved too. None: the engine's own
            steps, thinned.
        knots: times at which a moving kernel has a kink, saved exactly where `save_at` is None.
        max_steps: limit on accepted steps.
        progress: called with (t, fraction done) after each step.

    Attributes:
        steps: accepted steps.
        times: saved times.
        packed: packed states there.
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
    ) -> None:
        self.flow, self.sizes, self.stop, self.t_end, self.rtol = flow, sizes, stop, t_end, rtol
        self.max_steps, self.progress = max_steps, progress
        y0 = flow.start()
        self.stepper: Stepper = choose.start(engine, flow, y0, t_end, rtol, _absolute(flow, y0, rtol))
        self.steps = 0
        self.last = self.mark = (0.0, y0)
        self.blind = stop.nc1 is None and stop.loss is None and stop.stationarity is None
        self.spread = flow.within_rms(y0)
        self.times: list[float] = []
        self.packed: list[Vector] = []
        self.exact = save_at
        first = 1e-2 / max(flow.spectral_radius(y0), 1 / t_end)
        self.grid: Iterator[float] = iter(
            save_at if save_at is not None else log_grid(first, t_end, y0.nbytes, knots)
        )
        # What rests now may move again under another kernel.
        self.still_from = max(knots, default=0.0)
        self.knots = [] if save_at is not None else list(knots)
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
                reason = Reason.STEP_FAILED if np.all(np.isfinite(self.stepper.y)) else Reason.NOT_FINITE
                break
            self.steps += 1
            reason = self._stop_reason()
            if reason is not Reason.NOT_FINITE:
                self._save_due(last=reason is not None)
            if self.progress is not None:
                self.progress(self.stepper.t, self.stepper.t / self.t_end)
        return reason

    def _stop_reason(self) -> Reason | None:
        if self.steps and self.steps % STALL_STEPS == 0 and self._stalled():
            return Reason.STALLED
        # Engines refuse steps that are not finite; without targets a look now and then is enough.
        if self.blind and self.stepper.status == "running" and self.steps % BLIND_STEPS:
            return Reason.MAX_STEPS if self.steps >= self.max_steps else None
        t, y, stop, flow = self.stepper.t, self.stepper.y, self.stop, self.flow
        if not np.all(np.isfinite(y)):
            return Reason.NOT_FINITE
        if stop.nc1 is not None and self._collapsed(y, stop.nc1):
            return Reason.NC1
        if stop.loss is not None and flow.loss(y) <= stop.loss:
            return Reason.LOSS
        if stop.stationarity is not None and self._nearly_stationary(y, stop.stationarity):
            speed = relative_speed(flow.blocks(y), flow.blocks(flow.field(t, y)))
            if speed <= stop.stationarity * flow.clock and t >= self.still_from:
                return Reason.STATIONARY
        if self.stepper.status == "finished":
            return Reason.T_END
        return Reason.MAX_STEPS if self.steps >= self.max_steps else None

    def _collapsed(self, y: Vector, target: float) -> bool:
        """Whether deviations are below the target, and the class means, W and b move as little per unit of tau.

        Decay takes the deviations away long before it has decided which classes survive, and a large mu_single
        before the classes are fitted.
        """
        t, flow = self.stepper.t, self.flow
        if t < self.still_from or not self.spread > target >= flow.within_rms(y):
            return False
        speed = class_speed(flow.blocks(y), flow.blocks(flow.field(t, y)), self.sizes)
        return speed <= target * flow.clock

    def _nearly_stationary(self, y: Vector, target: float) -> bool:
        """Whether the mean speed over the last step is near the target, so that the field is worth evaluating."""
        (t, before), self.last = self.last, (self.stepper.t, y.copy())
        span = (self.stepper.t - t) * self.flow.clock
        moved = y - before
        return bool(math.sqrt(moved @ moved) <= NEARLY * target * span * math.sqrt(y @ y))

    def _stalled(self) -> bool:
        """Whether rounding, and not the solution, has set the last steps, and the end is out of reach."""
        (t, before), self.mark = self.mark, (self.stepper.t, self.stepper.y.copy())
        now, y = self.mark
        moved = y - before
        out_of_reach = (now - t) * (self.max_steps - self.steps) < STALL_STEPS * (self.t_end - now)
        still = math.sqrt(moved @ moved) <= STALL_MOTION * self.rtol * math.sqrt(y @ y)
        return bool(out_of_reach and still)

    def _save_due(self, last: bool) -> None:
        t = self.stepper.t
        if self.exact is not None:
            if self.next <= t:
                inside = interpolant(self.stepper)
                while self.next <= t:
                    self._save(self.next, self.stepper.y.copy() if self.next == t else inside(self.next))
                    self.next = next(self.grid, math.inf)
            return
        self._save_knots(t)
        if (t >= self.next or last) and t > self.times[-1]:
            self._save(t, self.stepper.y.copy())
        while self.next <= t:
            self.next = next(self.grid, math.inf)

    def _save_knots(self, t: float) -> None:
        """The states where the kernel changes its slope, exactly there: the law of E's motion has a kink."""
        while self.knots and self.knots[0] <= t:
            knot = self.knots.pop(0)
            self._save(knot, self.stepper.y.copy() if knot == t else interpolant(self.stepper)(knot))

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


def _absolute(flow: Flow, y0: Vector, rtol: float) -> Vector:
    """Absolute tolerance per block: a thousandth of rtol times the block's own size."""
    whole = max(float(np.sqrt(np.mean(y0**2))), np.finfo(float).tiny)
    parts = []
    for block in flow.blocks(y0):
        size = float(np.sqrt(np.mean(block**2))) if block.size else 0.0
        parts.append(np.full(block.size, rtol * 1e-3 * (size if size > 0 else whole)))
    return np.concatenate(parts)
