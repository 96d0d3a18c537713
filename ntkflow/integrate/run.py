"""One integration under way: steps, saves, and asks after every step whether to stop."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ntkflow._types import Times, Vector
from ntkflow.dynamics.packed import Flow
from ntkflow.dynamics.saddle import Saddle
from ntkflow.integrate.engines.base import interpolant
from ntkflow.integrate.engines.chain import Chain, Step
from ntkflow.integrate.save_times import own_grid
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.integrate.watch import Now, Watch
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.progress import Progress


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
        self.flow, self.t_end, self.progress, self.observe = flow, t_end, progress, observe
        self.watch = Watch(flow, sizes, t_end, stop, knots, max_steps, saddle, reached)
        y0 = flow.start()
        self.stepper = Chain(flow, knots, t_end, rtol, engine)
        self.steps = 0
        self.times: list[float] = []
        self.packed: list[Vector] = []
        self.turns: list[tuple[float, Vector]] = []
        self.exact = save_at
        self.grid: Iterator[float] = iter(save_at if save_at is not None else own_grid(flow, t_end, knots))
        self.knots = list(knots)
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
        reason = self.watch.reason(self._now) if self.exact is None else None
        while reason is None:
            if self.stepper.status != "failed":
                # A trial step may overflow; the engine rejects it, or the check below ends the run.
                with np.errstate(over="ignore", invalid="ignore"):
                    self.stepper.step()
            if self.stepper.status == "failed":
                reason = self.watch.failure(self._now)
                break
            self.steps += 1
            if self.observe is not None and self.stepper.last is not None:
                self.observe(self.stepper.last)
            reason = self.watch.reason(self._now)
            if self.knots and self.stepper.t == self.stepper.interval.end:
                self.turns.append((self.stepper.t, np.array(self.stepper.y)))
            if reason is not Reason.NOT_FINITE:
                self._save_due(last=reason is not None)
            if self.progress is not None:
                self.progress("integrating", self.stepper.t, self.t_end)
        return reason

    @property
    def _now(self) -> Now:
        stepper = self.stepper
        interval, finished = stepper.interval, stepper.status == "finished"
        return Now(stepper.t, stepper.y, self.steps, interval.rtol, interval.end, finished)

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
