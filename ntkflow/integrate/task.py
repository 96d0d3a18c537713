"""What is to be integrated and how: the arguments of `solve`, checked, and what follows from them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ntkflow import checks
from ntkflow._types import Floats, Times, Vector
from ntkflow.checks import real
from ntkflow.dynamics.levels import LevelFlow, has_levels
from ntkflow.dynamics.packed import Flow, RawFlow, ThinFlow
from ntkflow.dynamics.saddle import Saddle
from ntkflow.errors import InputError
from ntkflow.integrate.engines.choose import Choice
from ntkflow.integrate.horizon import DecayedEnd, default_horizon
from ntkflow.integrate.motion import Motion, moves
from ntkflow.integrate.save_times import knots_of
from ntkflow.integrate.solution import Solution, Stats
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.integrate.trust import lost_accuracy
from ntkflow.integrate.watch import Watch
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State

# The counterpart of the largest size that input may have (`errors.LARGEST`): what is absurd is refused in one line.
EARLIEST = 1e-60
MAX_STEPS = 10_000_000


@dataclass(frozen=True)
class Cost:
    """What an integration took.

    Attributes:
        choice: the engine and why.
        steps: accepted steps.
        evaluations: evaluations of the vector field.
        rtol: the tolerance given to the engine.
        seconds: its share of the time of runs in lockstep; None: the time since it began.
    """

    choice: Choice
    steps: int
    evaluations: int
    rtol: float
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """One integration to be done; the attributes are the arguments of `solve`, none of them left open.

    Attributes:
        problem: sizes, kernel, initial state.
        t_end: end time.
        stop: conditions that end it earlier.
        times: exact times to save; None saves the engine's own steps, thinned.
        rtol: bound asked for the drift of E.
        engine: name of the engine, or 'auto'.
        form: 'thin', 'raw' or 'auto'.
        max_steps: limit on accepted steps.
    """

    problem: Problem
    t_end: float
    stop: Stop
    times: Times | None
    rtol: float
    engine: str
    form: str
    max_steps: int

    @classmethod
    def of(
        cls,
        problem: Problem,
        *,
        t_end: float | None = None,
        stop: Stop | None = None,
        save_at: Sequence[float] | Times | None = None,
        rtol: float = 1e-8,
        engine: str = "auto",
        form: str = "auto",
        max_steps: int = MAX_STEPS,
    ) -> "Task":
        """From the arguments of `solve`.

        Raises:
            InputError: an argument is out of its range.
        """
        horizon, stop, times, rtol = asked(t_end, stop, save_at, rtol, form, lambda: default_horizon(problem))
        return cls(problem, horizon, stop, times, rtol, engine, form, max_steps)

    @cached_property
    def flow(self) -> Flow:
        """The packed system, in the form asked for."""
        return flow_of(self.problem, self.form)

    @cached_property
    def knots(self) -> list[float]:
        """Times before the end at which the kernel has a kink."""
        return [knot for knot in knots_of(self.problem.kernel) if knot < self.t_end]

    @cached_property
    def saddle(self) -> Saddle | None:
        """The rates of W = H = 0, where that is a saddle."""
        return Saddle.of_problem(self.problem, self.flow.clock)

    @property
    def reached(self) -> Callable[[State], bool] | None:
        """Of a state at rest, whether it is where decay leads; None where there is none."""
        return DecayedEnd(self.problem).reached if self.problem.decay.any else None

    def watch(self) -> Watch:
        """What asks after every step whether it is to end."""
        return Watch(
            self.flow,
            self.problem.sizes,
            self.t_end,
            self.stop,
            self.knots,
            self.max_steps,
            self.saddle,
            self.reached,
        )

    def motion(self) -> Motion | None:
        """What follows the law of E's motion; None where E stays put."""
        return Motion(self.problem, self.flow, self.rtol) if moves(self.problem) else None

    def solution(
        self,
        times: Sequence[float],
        packed: Floats,
        reason: Reason,
        cost: Cost,
        began: float,
        motion: Motion | None = None,
        turns: Sequence[tuple[float, Vector]] = (),
    ) -> Solution:
        """What came of it, audited.

        Args:
            times: saved times.
            packed: states there.
            reason: what ended it.
            cost: what it took.
            began: when, on the clock of `time.perf_counter`.
            motion: what followed the law of E.
            turns: times and states at the knots passed.
        """
        law = None if motion is None else motion.check(None if reason.failed else self.flow.state(packed[-1]))
        known = 0.0 if law is None else law.tolerance
        if not reason.failed and lost_accuracy(
            self.problem, self.flow, *_with_turns(times, packed, turns), self.rtol, known
        ):
            reason = Reason.INACCURATE
        stats = Stats(
            engine=cost.choice.engine,
            because=cost.choice.because,
            form=self.flow.form,
            unknowns=packed.shape[1],
            stiffness=cost.choice.stiffness,
            steps=cost.steps,
            evaluations=cost.evaluations,
            rtol=self.rtol,
            rtol_internal=cost.rtol,
            seconds=time.perf_counter() - began if cost.seconds is None else cost.seconds,
        )
        stop = self.stop
        targets = {"stop_nc1": stop.nc1, "stop_loss": stop.loss, "stationarity": stop.stationarity}
        settings = {"t_end": self.t_end, "rtol": self.rtol, "engine": self.engine, "form": self.form}
        # Zero is how a configuration switches a target off.
        settings |= {name: target or 0.0 for name, target in targets.items()}
        return Solution(
            self.problem, np.array(times), packed, reason, stats, self.flow, law, settings=settings
        )


def _with_turns(
    times: Sequence[float], packed: Floats, turns: Sequence[tuple[float, Vector]]
) -> tuple[Times, Floats]:
    """Times and states saved, and those at the knots, in order."""
    every, first = np.unique(np.array([*times, *(t for t, _ in turns)]), return_index=True)
    return every, np.array([*packed, *(y for _, y in turns)])[first] if turns else packed


def flow_of(problem: Problem, form: str) -> Flow:
    """The packed system of a problem, in the form asked for."""
    if form == "raw":
        return RawFlow.build(problem)
    if problem.has_thin:
        return ThinFlow.build(problem)
    if form == "thin" or has_levels(problem):
        return LevelFlow.build(problem)
    return RawFlow.build(problem)


def asked(
    t_end: float | None,
    stop: Stop | None,
    save_at: Sequence[float] | Times | None,
    rtol: float,
    form: str,
    horizon: Callable[[], float],
) -> tuple[float, Stop, Times | None, float]:
    """End time, conditions, times to save and tolerance, as asked for or as follows from the others.

    Raises:
        InputError: one is out of its range.
    """
    times = None if save_at is None else checks.times("save_at", save_at)
    if times is not None and t_end is not None and times[-1] > t_end:
        raise InputError("save_at", times[-1], f"lies after t_end = {t_end}", "raise t_end")
    if t_end is None:
        t_end = float(times[-1]) if times is not None else horizon()
    t_end, rtol = real("t_end", t_end), real("rtol", rtol)
    if not t_end >= EARLIEST:
        raise InputError("t_end", t_end, f"must be positive, at least {EARLIEST:g}", "give a time > 0")
    if not 1e-12 <= rtol <= 1e-2:
        raise InputError("rtol", rtol, "must lie in 1e-12 .. 1e-2 in float64", "1e-8 suits most uses")
    checks.choice("form", form, ("auto", "thin", "raw"))
    if stop is None:
        stop = Stop() if times is None else Stop(None, None, None)
    return t_end, stop, times, rtol
