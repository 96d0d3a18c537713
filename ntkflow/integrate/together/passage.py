"""A task on its way through the lockstep engine: one stretch between two knots after another, and what each has brought."""

import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np

from ntkflow._types import Floats, Vector
from ntkflow.dynamics.packed import ThinFlow
from ntkflow.integrate.engines import choose, midpoint
from ntkflow.integrate.engines.chain import (
    FEW_INTERVALS,
    SMALLEST_RTOL,
    Interval,
    Step,
    block_tolerances,
    structured_rtol,
)
from ntkflow.integrate.engines.lockstep.job import Job
from ntkflow.integrate.engines.on_leaf import OnLeaf
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from ntkflow.integrate.save_times import own_grid
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.task import Cost, Task
from ntkflow.integrate.together.generic import generic
from ntkflow.integrate.together.symmetric import Symmetric
from ntkflow.integrate.watch import Now

LOCKSTEP = "lockstep"
BECAUSE = "a small thin system among many"
GENERIC = "a generic state among many, its deviations eliminated by E"
SYMMETRIC = "a state of seven numbers, symmetric in the classes, among many"


class Passage:
    """One task.

    Args:
        number: its place among the tasks.
        task: what is asked for; its flow is thin.

    Attributes:
        watch: what knows when it is to end.
        motion: what follows the law of E's motion; None where E stays put.
        reason: why it has ended; None while it goes on.
        steps: accepted steps of the stretches that are done with.
    """

    def __init__(self, number: int, task: Task) -> None:
        self.number, self.task = number, task
        self.watch, self.motion = task.watch(), task.motion()
        self.reason: Reason | None = None
        self.steps = self._evaluations = 0
        self._seconds = 0.0
        self._engine = choose.JAX if task.engine == choose.JAX else LOCKSTEP
        assert isinstance(task.flow, ThinFlow)
        self._flow = task.flow
        self._symmetric, self._generic = Symmetric.of(task), generic(task)
        self._t, self._y = 0.0, self._flow.start()
        self._spans = list(pairwise([0.0, *task.knots, task.t_end]))
        self._rtol = max(
            structured_rtol(task.rtol) / max(1.0, len(self._spans) / FEW_INTERVALS), SMALLEST_RTOL
        )
        self._choices: list[choose.Choice] = []
        self._times: list[float] = []
        self._packed: list[Floats] = []
        self._turns: list[tuple[float, Vector]] = []
        self._exact = task.times is not None
        self._radius = self._flow.spectral_radius(self._y)
        own = (self._flow, task.t_end, task.knots, self._radius)
        self._grid = own_grid(*own) if task.times is None else task.times
        if not self._exact:
            # A target may be met before anything has moved.
            self.reason = self.watch.reason(Now(0.0, self._y, 0, self._rtol, self._spans[0][1]))
        if not self._exact or self._grid[0] == 0.0:
            self._save(0.0, self._y)

    @property
    def last(self) -> bool:
        """Whether the stretch under way ends at the end time."""
        return len(self._choices) == len(self._spans)

    @property
    def _kind(self) -> str:
        if self._generic:
            return GENERIC
        return BECAUSE if self._symmetric is None else SYMMETRIC

    def next(self) -> "Member | None":
        """The next stretch, for a slot of the engine; None when the task has come to its end.

        Raises:
            InputError: the class kernel there is not symmetrisable, or the state can't be left to E.
        """
        while self.reason is None and not self.last:
            begin, end = self._spans[len(self._choices)]
            flow = self._flow.between(begin, end)
            same = begin == 0.0 and flow is self._flow
            stiffness = (self._radius if same else flow.spectral_radius(self._y)) * (end - begin)
            because = f"{self._kind} (rho T = {stiffness:.2g}, {self._y.size} unknowns)"
            choice = choose.Choice(self._engine, stiffness, because, BECAUSE)
            self._choices.append(choice)
            interval = Interval(begin, end, flow, choice, self._rtol)
            if len(self._spans) == 1 or stiffness >= midpoint.SHORT:
                return self._stretch(interval, flow)
            self._leap(interval)
        return None

    def _stretch(self, interval: Interval, flow: ThinFlow) -> "Member":
        coordinates = self._symmetric or Coordinates.build(flow.system, 0.0, interval.width, self._y)
        if self._generic:
            coordinates = OnLeaf.of(coordinates, self._y, interval.width, self._rtol)
        grid = self._within(interval)
        if not self._exact and not (len(grid) and grid[-1] == interval.end):
            grid = np.append(grid, interval.end)
        return Member(
            coordinates=coordinates,
            z=coordinates.enter(self._y),
            t_end=interval.width,
            rtol=self._rtol,
            atol=np.array(block_tolerances(flow, self._y, self._rtol)),
            grid=interval.locals(grid),
            exact=self._exact,
            told=self.motion is not None,
            passage=self,
            interval=interval,
            asked=grid,
        )

    def _within(self, interval: Interval) -> Floats:
        """Times of the grid after the beginning of an interval, up to its end."""
        result: Floats = self._grid[(self._grid > interval.begin) & (self._grid <= interval.end)]
        return result

    def take(self, member: "Member") -> None:
        """What a stretch has brought."""
        interval, coordinates = member.interval, member.coordinates
        if local := member.saved_at:
            # The start before the first of them, in one array: most runs have no other.
            begins = [rows.shape for rows in self._packed] == [(1, self._y.size)]
            rows = np.empty((begins + len(local), self._y.size))
            if begins:
                rows[:1] = self._packed.pop()
            coordinates.leave(member.saved, out=rows[begins:])
            self._packed.append(rows)
            # A time that was asked for is kept as it was given.
            asked = member.asked[: len(local)] if self._exact else interval.times(np.array(local))
            self._times.extend(asked.tolist())
        self._t, self._y = interval.time(member.t), coordinates.leave(member.z)
        self.steps += member.steps
        self._evaluations += member.evaluations
        self._seconds += member.seconds
        self.reason = member.reason
        if member.status == "failed":
            member.tell_worn()
            self.reason = self.watch.failure(self._now(interval))
        self._turn(interval)

    def _now(self, interval: Interval) -> Now:
        finished = self.last and self._t == interval.end
        return Now(self._t, self._y, self.steps, self._rtol, interval.end, finished)

    def _turn(self, interval: Interval) -> None:
        if self._t == interval.end and len(self._spans) > 1:
            self._turns.append((self._t, self._y))

    def _leap(self, interval: Interval) -> None:
        """An interval so short that one step is exact to rounding."""
        stepper = midpoint.Midpoint(interval.flow.field, self._y, interval.width)
        stepper.step()
        if self.motion is not None:
            self.motion.observe(Step(interval, (0.0, interval.width), stepper))
        inside = stepper.dense()
        for t in self._within(interval) if self._exact else [interval.end]:
            self._save(float(t), inside(interval.local(float(t))))
        self._t, self._y = interval.end, stepper.y
        self.steps += 1
        self._evaluations += stepper.nfev
        self.reason = self.watch.reason(self._now(interval))
        self._turn(interval)

    def _save(self, t: float, y: Vector) -> None:
        self._times.append(t)
        self._packed.append(y[None])

    def solution(self) -> Solution:
        """What came of the task."""
        assert self.reason is not None
        # The last finite state of a run that ended before its end time, unless it is there already.
        if np.all(np.isfinite(self._y)):
            if self.reason is not Reason.T_END and (not self._times or self._t > self._times[-1]):
                self._save(self._t, self._y)
        elif not self._times:
            self._save(0.0, self._flow.start())
        choice = choose.in_all(
            self._choices or [choose.Choice(self._engine, 0.0, BECAUSE, BECAUSE)], self._y.size
        )
        cost = Cost(choice, self.steps, self._evaluations, self._rtol, self._seconds)
        packed = self._packed[0] if len(self._packed) == 1 else np.concatenate(self._packed)
        began = time.perf_counter()
        return self.task.solution(self._times, packed, self.reason, cost, began, self.motion, self._turns)


@dataclass(eq=False, kw_only=True)
class Member(Job):
    """One stretch of a passage, as a job of the engine; its clock starts at 0 with the stretch.

    Attributes:
        passage: of what task.
        interval: the stretch.
        asked: times to save at, in the time of the run.
        reason: why it was stopped; None while nothing has stopped it.
        worn: time, flat vector and steps of the last two steps by which the watch tells whether a run gets nowhere.
    """

    passage: Passage
    interval: Interval
    asked: Floats
    reason: Reason | None = None
    worn: deque[tuple[float, Floats, int]] = field(default_factory=partial(deque, maxlen=2))

    def tell_worn(self) -> None:
        """Hand what was put off to the watch."""
        while self.worn:
            self.passage.watch.stalled(self.now(*self.worn.popleft()))

    def now(self, t: float, z: Floats, steps: int) -> Now:
        """Where the run stands, for its watch, from what the engine knows of it."""
        y, interval, passage = self.coordinates.leave(z), self.interval, self.passage
        finished = passage.last and t >= self.t_end
        return Now(interval.time(t), y, passage.steps + steps, self.rtol, interval.end, finished)
