"""One integration under way: steps, saves, and asks after every step whether to stop."""

import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np

from ntkflow._types import Times, Vector
from ntkflow.integrate.engines.base import Stepper, interpolant
from ntkflow.integrate.engines.chain import Chain, Step
from ntkflow.integrate.save_times import own_grid
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.task import Task
from ntkflow.integrate.watch import Now
from ntkflow.progress import Progress


class March:
    """Which states a run keeps: those at exact times, or those after the engine's own steps, thinned.

    Args:
        save_at: exact times; None: the engine's own steps.
        own: times that the steps are thinned to.
        y0: the start.

    Attributes:
        stepper: what steps; there before anything is kept.
        times: saved times.
        packed: packed states there.
    """

    stepper: Stepper

    def __init__(self, save_at: Times | None, own: Callable[[], Times], y0: Vector) -> None:
        self.times: list[float] = []
        self.packed: list[Vector] = []
        self.exact = save_at is not None
        self.grid: Iterator[float] = iter(own() if save_at is None else save_at)
        self.next = next(self.grid)
        if not self.exact or self.next == 0.0:
            self._save(0.0, y0)
            self.next = next(self.grid, math.inf) if self.exact else self.next

    def _save_due(self, ends: bool) -> None:
        """Keep what is due after a step; `ends` says that this state is to be kept whenever it comes."""
        t = self.stepper.t
        if self.exact:
            if self.next <= t:
                inside = interpolant(self.stepper)
                while self.next <= t:
                    self._save(self.next, self.stepper.y.copy() if self.next == t else inside(self.next))
                    self.next = next(self.grid, math.inf)
            return
        if (t >= self.next or ends) and t > self.times[-1]:
            self._save(t, self.stepper.y.copy())
        while self.next <= t:
            self.next = next(self.grid, math.inf)

    def _save(self, t: float, y: Vector) -> None:
        self.times.append(float(t))
        self.packed.append(np.array(y))


class Run(March):
    """Steps an engine from 0 to t_end and keeps what is to be saved.

    Steps end at the knots of a moving kernel and begin anew; where no exact times are to be saved, the states there are.
    The state in which a run ends earlier is saved too.

    Args:
        task: what is to be done.
        progress: called with ("integrating", t, t_end) after each step.
        observe: called after each accepted step, before its end is saved.

    Attributes:
        stepper: what steps; `stepper.intervals` are those between the knots.
        steps: accepted steps.
        turns: (t, packed state) at the knots passed, whether saved or not; empty for a constant kernel.
    """

    stepper: Chain

    def __init__(
        self, task: Task, progress: Progress | None = None, observe: Callable[[Step], None] | None = None
    ) -> None:
        self.flow, self.t_end, self.knots = task.flow, task.t_end, task.knots
        self.progress, self.observe = progress, observe
        self.watch = task.watch()
        self.stepper = Chain(self.flow, self.knots, self.t_end, task.rtol, task.engine)
        self.steps = 0
        self.turns: list[tuple[float, Vector]] = []
        super().__init__(task.times, lambda: own_grid(self.flow, self.t_end, self.knots), self.flow.start())

    def march(self) -> Reason:
        """Step until something ends the run."""
        with warnings.catch_warnings():
            # LSODA announces failures here too; its status tells them, and the result code says what to do.
            warnings.filterwarnings("ignore", "lsoda:", UserWarning)
            reason = self._until_something_ends_it()
        self._save_end(reason)
        return reason

    def _until_something_ends_it(self) -> Reason:
        reason = None if self.exact else self.watch.reason(self._now)
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
            t, end = self.stepper.t, self.stepper.interval.end
            reason = None if self.watch.indifferent(t, end, self.steps) else self.watch.reason(self._now)
            if self.knots and t == end:
                self.turns.append((self.stepper.t, np.array(self.stepper.y)))
            if reason is not Reason.NOT_FINITE:
                # Where the kernel changes its slope the law of E's motion has a kink: those states are saved too.
                self._save_due(reason is not None or bool(t == end))
            if self.progress is not None:
                self.progress("integrating", self.stepper.t, self.t_end)
        return reason

    @property
    def _now(self) -> Now:
        stepper = self.stepper
        interval, finished = stepper.interval, stepper.status == "finished"
        return Now(stepper.t, stepper.y, self.steps, interval.rtol, interval.end, finished)

    def _save_end(self, reason: Reason) -> None:
        """The last finite state of a run that ended before its end time, unless it is there already."""
        t, y = self.stepper.t, self.stepper.y
        if np.all(np.isfinite(y)):
            if reason is not Reason.T_END and (not self.times or t > self.times[-1]):
                self._save(t, y.copy())
        elif not self.times:
            self._save(0.0, self.flow.start())
