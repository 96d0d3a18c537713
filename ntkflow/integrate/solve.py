"""`solve`: from a problem to a solution, with a stop condition and the reason it ended."""

import time
import warnings
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from ntkflow._types import Times
from ntkflow.errors import InputError, LawWarning, SolveError
from ntkflow.integrate.engines import choose
from ntkflow.integrate.run import Run
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.stopping import Stop
from ntkflow.integrate.task import MAX_STEPS, Cost, Task
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.problem import Problem
from ntkflow.progress import Progress


def solve(
    problem: Problem,
    *,
    t_end: float | None = None,
    stop: Stop | None = None,
    save_at: Sequence[float] | Times | None = None,
    rtol: float = 1e-8,
    engine: str = "auto",
    form: str = "auto",
    max_steps: int = MAX_STEPS,
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
    task = Task.of(
        problem, t_end=t_end, stop=stop, save_at=save_at, rtol=rtol, engine=engine, form=form, max_steps=max_steps
    )  # fmt: skip
    return settle(run_alone(task, progress), throw)


def run_alone(task: Task, progress: Progress | None = None) -> Solution:
    """The solution of one task, whatever ended it."""
    began, motion = time.perf_counter(), task.motion()
    run = Run(task, progress, None if motion is None else motion.observe)
    # Products of small matrices: several BLAS threads contend and cost more than they bring.
    with threadpool_limits(1, user_api="blas"):
        reason = run.march()
        intervals = run.stepper.intervals
        cost = Cost(
            choose.in_all([interval.choice for interval in intervals], len(run.packed[0])),
            run.steps,
            run.stepper.nfev,
            min(interval.rtol for interval in intervals),
        )
        return task.solution(run.times, np.array(run.packed), reason, cost, began, motion, run.turns)


def settle(solution: Solution, throw: bool = True, stacklevel: int = 3) -> Solution:
    """Hand a solution out: raise where it failed and warn where the law of E's motion was left.

    Raises:
        SolveError: the integration failed and `throw` is true.

    Warns:
        LawWarning: as `solve` does.
    """
    reason, law = solution.reason, solution.law
    if reason.failed and throw:
        ended, horizon = solution.times[-1], solution.settings["t_end"]
        raise SolveError(f"integration ended at t = {ended:.6g} of {horizon:.6g}: {reason.sentence}")
    # A broken law costs no data: whoever sees the warning has the run to look at.
    if law is not None and law.failed and not reason.failed:
        warnings.warn(law.sentence, LawWarning, stacklevel=stacklevel)
    return solution
