"""From a problem of linear layers to its solution: scipy's engines, chosen by stiffness, with Q_1 .. Q_L watched."""

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ntkflow import checks
from ntkflow._types import Times, Vector
from ntkflow.checks import real
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.errors import InputError, SolveError
from ntkflow.integrate.engines.scipy_engine import DENSE_LIMIT, METHODS
from ntkflow.integrate.layers.law import LawOfLayers
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.save_times import log_grid
from ntkflow.integrate.solution import Stats
from ntkflow.integrate.stopping import Reason, Stop
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
# The engine's tolerance is this share of the one asked for.
SHARE = 1 / 30


def solve_layers(
    problem: LayeredProblem,
    *,
    t_end: float | None = None,
    stop: Stop | None = None,
    save_at: Sequence[float] | Times | None = None,
    rtol: float = 1e-8,
    engine: str = "auto",
    form: str = "auto",
    max_steps: int = 2_000_000,
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
        engine: 'auto' or one of scipy's, `NAMES`.
        form: 'thin' (class means and within-class factors), 'raw' (all samples) or 'auto'.
        max_steps: limit on accepted steps.
        progress: called with ("integrating", t, t_end) after each step.
        throw: raise SolveError on failure; False returns what there is, with the reason.

    Raises:
        InputError: an argument is out of its range.
        SolveError: the integration failed and `throw` is true.
    """
    checks.choice("engine", engine, NAMES)
    checks.choice("form", form, ("auto", "thin", "raw"))
    rtol = real("rtol", rtol)
    if not 1e-12 <= rtol <= 1e-2:
        raise InputError("rtol", rtol, "must lie in 1e-12 .. 1e-2 in float64", "1e-8 suits most uses")
    flow = LayeredFlow.build(problem, form)
    if form == "thin" and flow.form != "thin":
        raise InputError(
            "form", "'thin'", "needs the squared error and a kernel of blocks", "use raw or auto"
        )
    times = None if save_at is None else checks.times("save_at", save_at)
    if t_end is None:
        t_end = float(times[-1]) if times is not None else default_horizon(problem)
    t_end = checks.positive("t_end", t_end, "give a time > 0")
    if times is not None and times[-1] > t_end:
        raise InputError("save_at", times[-1], f"lies after t_end = {t_end}", "raise t_end")
    stop = stop if stop is not None else (Stop() if times is None else Stop(None, None, None))
    chosen, because, stiffness = _engine(flow, t_end, engine)
    began = time.perf_counter()
    march = _March(flow, chosen, t_end, rtol, stop, times, max_steps, progress)
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "lsoda:", UserWarning)
        reason = march.until_something_ends_it()
    gaps = np.array(march.gaps)
    if not reason.failed and (gaps.max() > rtol or march.rose > rtol):
        reason = Reason.INACCURATE
    stats = Stats(
        chosen, because, flow.form, len(flow.start), stiffness, march.steps, march.stepper.nfev, rtol, march.rtol,
        time.perf_counter() - began,
    )  # fmt: skip
    if reason.failed and throw:
        raise SolveError(f"integration ended at t = {march.times[-1]:.6g} of {t_end:.6g}: {_said(reason)}")
    return LayeredSolution(problem, np.array(march.times), np.array(march.packed), reason, stats, flow, gaps)


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


class _March:
    """One integration under way: steps, saves, and asks after every step whether to stop."""

    def __init__(
        self,
        flow: LayeredFlow,
        engine: str,
        t_end: float,
        rtol: float,
        stop: Stop,
        save_at: Times | None,
        max_steps: int,
        progress: Progress | None,
    ) -> None:
        import scipy.integrate

        self.flow, self.t_end, self.stop, self.max_steps, self.progress = (
            flow,
            t_end,
            stop,
            max_steps,
            progress,
        )
        self.rtol = max(SHARE * rtol, 3e-14)
        y0 = flow.start
        # Of the state's own size: the layers of a small start are to grow out of it with all their digits.
        atol = 1e-4 * self.rtol * max(float(np.abs(y0).max()), 1e-12)
        self.stepper: Any = getattr(scipy.integrate, engine)(
            flow.field, 0.0, y0, t_end, rtol=self.rtol, atol=atol
        )
        self.clock = collapse_rates(flow.problem)[1]
        self.law = LawOfLayers(flow)
        self.steps, self.rose = 0, 0.0
        self.times: list[float] = []
        self.packed: list[Vector] = []
        self.gaps: list[list[float]] = []
        self.exact = save_at is not None
        self.spread = flow.within_rms(y0)
        self.lowest = self.scale = self._height(y0)
        first = 1e-2 / max(largest_rate(flow.problem), 1 / t_end)
        self.grid = iter(save_at if save_at is not None else log_grid(first, t_end, y0.nbytes))
        self.next = next(self.grid)
        if not self.exact or self.next == 0.0:
            self._save(0.0, y0)
            self.next = next(self.grid, math.inf) if self.exact else self.next

    def until_something_ends_it(self) -> Reason:
        """Step to the end."""
        reason: Reason | None = None
        while reason is None:
            begin = self.stepper.t
            with np.errstate(over="ignore", invalid="ignore"):
                self.stepper.step()
            if self.stepper.status == "failed":
                reason = Reason.STEP_FAILED
                break
            self.steps += 1
            y = self.stepper.y
            if not np.all(np.isfinite(y)):
                return Reason.NOT_FINITE
            if self.law.moves:
                self.law.advance(begin, self.stepper.t, self.stepper.dense_output())
            reason = self._stop_reason(y)
            self._save_due(reason is not None)
            if self.progress is not None:
                self.progress("integrating", self.stepper.t, self.t_end)
        if reason is not Reason.T_END and self.stepper.t > self.times[-1]:
            self._save(self.stepper.t, self.stepper.y.copy())
        return reason

    def _stop_reason(self, y: Vector) -> Reason | None:
        if self.stepper.status == "finished":
            return Reason.T_END
        if self.steps >= self.max_steps:
            return Reason.MAX_STEPS
        if self.stop.loss is not None and self.flow.loss(y) < self.stop.loss:
            return Reason.LOSS
        if (
            self.stop.nc1 is not None
            and self.spread > self.stop.nc1 >= self.flow.within_rms(y)
            and self._rests(y, self.stop.nc1)
        ):
            return Reason.NC1
        if self.stop.stationarity is not None and self._rests(y, self.stop.stationarity):
            return Reason.STATIONARY
        return None

    def _rests(self, y: Vector, target: float) -> bool:
        # Next to the saddle W = V = 0 speeds fall with a power of the size for L >= 2: the share of the state tells them apart.
        speed = self.flow.field(self.stepper.t, y)
        return math.sqrt(speed @ speed) <= target * self.clock * math.sqrt(y @ y)

    def _height(self, y: Vector) -> float:
        return self.flow.loss(y) + self.flow.penalty(y)

    def _save_due(self, last: bool) -> None:
        t = self.stepper.t
        if self.exact:
            if self.next <= t:
                inside = self.stepper.dense_output()
                while self.next <= t:
                    self._save(self.next, self.stepper.y.copy() if self.next == t else inside(self.next))
                    self.next = next(self.grid, math.inf)
            return
        if (t >= self.next or last) and t > self.times[-1]:
            self._save(t, self.stepper.y.copy())
        while self.next <= t:
            self.next = next(self.grid, math.inf)

    def _save(self, t: float, y: Vector) -> None:
        self.times.append(float(t))
        self.packed.append(np.array(y))
        # At the end of a step the law has come as far as the state; a time inside one has its nearest known value.
        self.gaps.append(
            self.law.gaps(y)
            if not (self.exact and self.law.moves and t != self.stepper.t)
            else self.gaps[-1]
            if self.gaps
            else [0.0] * self.flow.problem.L
        )
        height = self._height(y)
        self.rose = max(self.rose, (height - self.lowest) / max(self.scale, 1e-300))
        self.lowest = min(self.lowest, height)
