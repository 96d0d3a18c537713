"""`solve`: from a problem to a solution, with a stop condition and the reason it ended."""

import time
import warnings
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from ntkflow import checks
from ntkflow._types import Times
from ntkflow.checks import real
from ntkflow.dynamics.levels import LevelFlow, has_levels
from ntkflow.dynamics.packed import Flow, RawFlow, ThinFlow
from ntkflow.dynamics.saddle import Saddle
from ntkflow.errors import InputError, LawWarning, SolveError
from ntkflow.integrate.engines import choose
from ntkflow.integrate.horizon import DecayedEnd, default_horizon
from ntkflow.integrate.motion import Motion, moves
from ntkflow.integrate.run import Run
from ntkflow.integrate.save_times import knots_of
from ntkflow.integrate.solution import Solution, Stats
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.integrate.trust import lost_accuracy
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.problem import Problem
from ntkflow.progress import Progress

# The counterpart of the largest size that input may have (`errors.LARGEST`): what is absurd is refused in one line.
EARLIEST = 1e-60


def solve(
    problem: Problem,
    *,
    t_end: float | None = None,
    stop: Stop | None = None,
    save_at: Sequence[float] | Times | None = None,
    rtol: float = 1e-8,
    engine: str = "auto",
    form: str = "auto",
    max_steps: int = 10_000_000,
    progress: Progress | None = None,
    throw: bool = True,
) -> Solution:
    """Integrate the gradient flow of `problem` in float64.

    Main arguments:
        problem: sizes, kernel, initial state.
        t_end: end time, in the units of the sum loss (4); None means `default_horizon`.
        stop: conditions that end the run earlier; None means `Stop()`, or no condition when `save_at` is given.
        save_at: exact times to save, increasing, from 0 to at most t_end; they set t_end when it is None.
            A run that ends earlier saves its last state too. None saves the engine's own steps, thinned to about
            30 per decade of time, and the knots of a moving kernel.

    Other Arguments:
        rtol: bound asked for the drift of E relative to the norms of its terms; the engine works at a
            twentieth (structured) or a thirtieth of it.
        engine: 'auto' or one of `ntkflow.integrate.engines.choose.NAMES`.
        form: 'thin' (class-decomposed, eq. 25 or 73, or by samples for a kernel without blocks), 'raw' (eq. 19), or
            'auto': thin where it exists.
        max_steps: limit on accepted steps.
        progress: called with ("integrating", t, t_end) after each step, as `nf.Bar()` is.
        throw: raise SolveError on failure; False returns what there is, with the reason.

    Returns:
        The solution; `solution.reason` says what ended it.

    Raises:
        InputError: an argument is out of its range.
        SolveError: the integration failed and `throw` is true.

    Warns:
        LawWarning: E moves, by decay or a moving kernel, and left the exact law of its motion.
    """
    if isinstance(problem, LayeredProblem):
        raise InputError("problem", "a LayeredProblem", "has layers of its own", "use nf.solve_layers")
    times, horizon = _checked_span(save_at, t_end, problem)
    stop = stop if stop is not None else (Stop() if times is None else Stop(None, None, None))
    if not 1e-12 <= real("rtol", rtol) <= 1e-2:
        raise InputError("rtol", rtol, "must lie in 1e-12 .. 1e-2 in float64", "1e-8 suits most uses")
    flow = _flow(problem, form)
    began = time.perf_counter()
    knots = [knot for knot in knots_of(problem.kernel) if knot < horizon]
    motion = Motion(problem, flow, rtol) if moves(problem) else None
    observe = None if motion is None else motion.observe
    saddle = Saddle.of_problem(problem, flow.clock)
    run = Run(
        flow, problem.sizes, engine, horizon, rtol, stop, times, knots, max_steps, progress, observe, saddle,
        DecayedEnd(problem).reached if problem.decay.any else None,
    )  # fmt: skip
    # Products of small matrices: several BLAS threads contend and cost more than they bring.
    with threadpool_limits(1, user_api="blas"):
        reason = run.march()
        packed = np.array(run.packed)
        law = None if motion is None else motion.check(None if reason.failed else flow.state(packed[-1]))
        known = 0.0 if law is None else law.tolerance
        if not reason.failed and lost_accuracy(problem, flow, *_with_turns(run, packed), rtol, known):
            reason = Reason.INACCURATE
    intervals = run.stepper.intervals
    choice = choose.in_all([interval.choice for interval in intervals], len(run.packed[0]))
    stats = Stats(
        engine=choice.engine,
        because=choice.because,
        form=flow.form,
        unknowns=len(run.packed[0]),
        stiffness=choice.stiffness,
        steps=run.steps,
        evaluations=run.stepper.nfev,
        rtol=rtol,
        rtol_internal=min(interval.rtol for interval in intervals),
        seconds=time.perf_counter() - began,
    )
    targets = {"stop_nc1": stop.nc1, "stop_loss": stop.loss, "stationarity": stop.stationarity}
    settings = {"t_end": horizon, "rtol": rtol, "engine": engine, "form": form}
    # Zero is how a configuration switches a target off.
    settings |= {name: target or 0.0 for name, target in targets.items()}
    solution = Solution(problem, np.array(run.times), packed, reason, stats, flow, law, settings=settings)
    if reason.failed and throw:
        raise SolveError(f"integration ended at t = {run.times[-1]:.6g} of {horizon:.6g}: {reason.sentence}")
    # A broken law costs no data: whoever sees the warning has the run to look at.
    if law is not None and law.failed and not reason.failed:
        warnings.warn(law.sentence, LawWarning, stacklevel=2)
    return solution


def _with_turns(run: Run, packed: np.ndarray) -> tuple[Times, np.ndarray]:
    """Times and states saved, and those at the knots, in order."""
    times = np.array([*run.times, *(t for t, _ in run.turns)])
    times, first = np.unique(times, return_index=True)
    return times, np.array([*packed, *(y for _, y in run.turns)])[first] if run.turns else packed


def _flow(problem: Problem, form: str) -> Flow:
    if form not in ("auto", "thin", "raw"):
        raise InputError("form", repr(form), "must be auto, thin or raw", "choose one of these")
    if form == "raw":
        return RawFlow.build(problem)
    if problem.has_thin:
        return ThinFlow.build(problem)
    if form == "thin" or has_levels(problem):
        return LevelFlow.build(problem)
    return RawFlow.build(problem)


def _checked_span(
    save_at: Sequence[float] | Times | None, t_end: float | None, problem: Problem
) -> tuple[Times | None, float]:
    """Times to save and the end of the run, each as asked for or as follows from the other."""
    times = None if save_at is None else checks.times("save_at", save_at)
    if times is not None and t_end is not None and times[-1] > t_end:
        raise InputError("save_at", times[-1], f"lies after t_end = {t_end}", "raise t_end")
    if t_end is None:
        t_end = float(times[-1]) if times is not None else default_horizon(problem)
    t_end = real("t_end", t_end)
    if not t_end >= EARLIEST:
        raise InputError("t_end", t_end, f"must be positive, at least {EARLIEST:g}", "give a time > 0")
    return times, t_end
