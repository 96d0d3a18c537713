"""From a problem of linear layers to its solution: scipy's engines, chosen by stiffness, with Q_1 .. Q_L watched."""

import warnings
from collections.abc import Sequence

from threadpoolctl import threadpool_limits

from ntkflow import checks
from ntkflow._types import Times
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.dynamics.layers_subspace import Reduced, worthwhile
from ntkflow.errors import SolveError
from ntkflow.integrate.engines.scipy_engine import DENSE_LIMIT, METHODS
from ntkflow.integrate.layers.flat import is_flat, solve_flat
from ntkflow.integrate.layers.march import Choice, LayersMarch
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.integrate.task import asked
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.progress import Progress
from ntkflow.theory.layers.rates import collapse_rates, largest_rate, plateau

NAMES = ("auto", *METHODS)
# Explicit steps are a third of a time constant of the fastest mode; from so many on an implicit engine is cheaper.
STIFF = 3e5
# Time constants of the slowest exponential mode at collapse that a run lasts where no end time is given.
CONSTANTS = 200.0
# A plateau longer than so many units of the class contrasts' rate is cut off then.
LONGEST = 1e6
MAX_STEPS = 2_000_000


def solve_layers(
    problem: LayeredProblem,
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
) -> LayeredSolution:
    """Integrate the gradient flow of L linear layers in float64; the options are those of `nf.solve`.

    Args:
        problem: sizes, K0, initial layers.
        t_end: end time in the units of the sum loss (4); None: the fit's plateau and 200 within-class time constants.
        stop: conditions that end the run earlier; None means `Stop()`, or no condition when `save_at` is given.
        save_at: exact times to save, increasing; they set t_end when it is None.
        rtol: bound asked for the gap of Q_1 .. Q_L to their law, relative to their terms.
        engine: 'auto' or one of scipy's, `NAMES`; one layer without biases of its own goes to the engines of `nf.solve`.
        form: 'thin' (class means and within-class factors), 'raw' (all samples) or 'auto': thin where there is such a form, in
            the subspaces that the flow never leaves where these leave less than half of the unknowns, as of balanced starts.
        max_steps: limit on accepted steps.
        progress: called with ("integrating", t, t_end) after each step.
        throw: raise SolveError on failure; False returns what there is, with the reason.

    Raises:
        InputError: an argument is out of its range.
        SolveError: the integration failed and `throw` is true.
    """
    checks.choice("engine", engine, NAMES)
    t_end, stop, times, rtol = asked(t_end, stop, save_at, rtol, form, lambda: default_horizon(problem))
    if engine == "auto" and form != "raw" and is_flat(problem):
        flat = solve_flat(problem, form, t_end, stop, times, rtol, max_steps, progress)
        return settle_layers(flat, t_end, throw)
    march = begin(problem, t_end, stop, times, rtol, engine, form, max_steps, progress)
    return settle_layers(run_alone(march), t_end, throw)


def run_alone(march: LayersMarch) -> LayeredSolution:
    """Take an integration to its end, failed or not."""
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "lsoda:", UserWarning)
        reason = march.until_something_ends_it()
    return march.solution(reason)


def begin(
    problem: LayeredProblem,
    t_end: float,
    stop: Stop,
    times: Times | None,
    rtol: float,
    engine: str = "auto",
    form: str = "auto",
    max_steps: int = MAX_STEPS,
    progress: Progress | None = None,
) -> LayersMarch:
    """An integration before its first step, of all features or in the subspaces of its start where these are worth it."""
    flow = LayeredFlow.build(problem, form)
    found = worthwhile(problem) if form == "auto" else None
    reduced = None if found is None else Reduced(flow, found)
    moving = flow if reduced is None else reduced.flow
    chosen, because, stiffness = _engine(moving, t_end, engine)
    if reduced is not None:
        few, all_of_them = (", ".join(map(str, of.problem.widths)) for of in (moving, flow))
        because += f"; in subspaces of {few} of {all_of_them} features, which the flow never leaves"
    choice = Choice(chosen, because, stiffness)
    return LayersMarch(moving, reduced, choice, t_end, rtol, stop, times, max_steps, progress)


def settle_layers(found: LayeredSolution, t_end: float, throw: bool = True) -> LayeredSolution:
    """A solution as it is handed out.

    Raises:
        SolveError: it failed and `throw` is true.
    """
    if found.reason.failed and throw:
        raise SolveError(
            f"integration ended at t = {found.times[-1]:.6g} of {t_end:.6g}: {_said(found.reason)}"
        )
    return found


def _said(reason: Reason) -> str:
    if reason is Reason.INACCURATE:
        return "accuracy was lost: a Q_l left its law by more than rtol, or the loss rose; lower rtol or choose another engine"
    return reason.sentence


def _engine(flow: LayeredFlow, t_end: float, engine: str) -> tuple[str, str, float]:
    """Engine, why, and the largest rate at the start or at collapse times the horizon."""
    stiffness = largest_rate(flow.problem) * t_end
    if engine != "auto":
        return engine, "asked for", stiffness
    if stiffness < STIFF or len(flow.start) > DENSE_LIMIT:
        why = (
            "not stiff"
            if stiffness < STIFF
            else f"stiff, with too many unknowns ({len(flow.start)}) for a dense Jacobian"
        )
        return "DOP853", f"{why} (rho T = {stiffness:.2g})", stiffness
    return "LSODA", f"stiff (rho T = {stiffness:.2g})", stiffness


def default_horizon(problem: LayeredProblem) -> float:
    """End time when none is given: five plateaus, and `CONSTANTS` time constants within classes or, if slower, of decay."""
    within, contrasts, _ = collapse_rates(problem)
    rates = [rate for rate in problem.decay.rates(problem.L) if rate]
    slowest = (
        min([within, contrasts, *rates]) if problem.sizes.N > problem.sizes.C else min([contrasts, *rates])
    )
    return CONSTANTS / slowest + min(5 * plateau(problem), LONGEST / contrasts)
