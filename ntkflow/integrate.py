"""`solve`: from a problem to a solution, with a stop condition and the reason it ended."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from ntkflow._types import Times, Vector
from ntkflow.engines import choose
from ntkflow.engines.base import Stepper, interpolant
from ntkflow.errors import InputError, SolveError, real
from ntkflow.problem import Problem
from ntkflow.saving import knots_of, log_grid
from ntkflow.solution import Solution, Stats
from ntkflow.stopping import Reason, Stop
from ntkflow.systems import Flow, RawFlow, ThinFlow, clock

# Local errors add up along a run; with this factor the drift of E has stayed below the rtol asked for.
TOLERANCE_SAFETY = 1 / 30
EARLIEST = 1e-60
# The field is evaluated for the stationarity test only once a step's mean speed is below this many targets.
NEARLY = 100.0
BLIND_STEPS = 8

Progress = Callable[[float, float], None]


def default_horizon(problem: Problem) -> float:
    """End time when none is given: 200 within-class time constants 1/(mu_single x*), x* = sqrt(m/mu_class).

    Long enough for exponential collapse and to see an algebraic tail as one (theory 7.2, 7.3). Kernels without
    scalar blocks, and one sample per class, get 1000 units of tau = sqrt(m mu_class) t.
    """
    rate = clock(problem)
    coefficients = problem.kernel.thin(problem.sizes)
    if coefficients is None or problem.sizes.N == problem.sizes.C:
        return 1e3 / rate
    m = problem.sizes.N / problem.sizes.C
    return 200 * rate / (m * float(coefficients.within[problem.sizes.masses > 1].min()))


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
            None saves the engine's own steps, thinned to about 30 per decade of time, and the knots of a moving
            kernel.

    Other Arguments:
        rtol: bound asked for the drift of E relative to the norms of its terms; the engine works at rtol/30.
        engine: 'auto' or one of `ntkflow.engines.choose.NAMES`.
        form: 'thin' (class-decomposed, eq. 25, or by samples for a kernel without blocks), 'raw' (eq. 19), or
            'auto': thin where it exists.
        max_steps: limit on accepted steps.
        progress: called with (t, fraction done) after each step.
        throw: raise SolveError on failure; False returns what there is, with the reason.

    Returns:
        The solution; `solution.reason` says what ended it.

    Raises:
        InputError: an argument is out of its range.
        SolveError: the integration failed and `throw` is true.
    """
    times = _checked_times(save_at, t_end)
    horizon = _checked_horizon(t_end, times, problem)
    stop = stop if stop is not None else (Stop() if times is None else Stop(None, None, None))
    _check_rtol(rtol)
    flow = _flow(problem, form)
    choice = choose.choose(flow, horizon, engine)
    began = time.perf_counter()
    knots = [knot for knot in knots_of(problem.kernel) if knot < horizon]
    run = _Run(flow, choice.engine, horizon, rtol, stop, times, knots, max_steps, progress)
    # Products of small matrices: several BLAS threads contend and cost more than they bring.
    with threadpool_limits(1, user_api="blas"):
        reason = run.march()
    stats = Stats(
        engine=choice.engine,
        because=choice.because,
        form=flow.form,
        unknowns=len(run.packed[0]),
        stiffness=choice.stiffness,
        steps=run.steps,
        evaluations=run.stepper.nfev,
        rtol=rtol,
        rtol_internal=run.rtol,
        seconds=time.perf_counter() - began,
    )
    solution = Solution(problem, np.array(run.times), np.array(run.packed), reason, stats, flow)
    if reason.failed and throw:
        raise SolveError(f"integration ended at t = {run.times[-1]:.6g} of {horizon:.6g}: {reason.sentence}")
    return solution


class _Run:
    """One integration under way: steps, saves, and asks after every step whether to stop."""

    def __init__(
        self,
        flow: Flow,
        engine: str,
        t_end: float,
        rtol: float,
        stop: Stop,
        save_at: Times | None,
        knots: Sequence[float],
        max_steps: int,
        progress: Progress | None,
    ) -> None:
        self.flow, self.stop, self.t_end, self.max_steps, self.progress = (
            flow,
            stop,
            t_end,
            max_steps,
            progress,
        )
        self.rtol = rtol * TOLERANCE_SAFETY
        y0 = flow.start()
        self.stepper: Stepper = choose.start(
            engine, flow, y0, t_end, self.rtol, _absolute(flow, y0, self.rtol)
        )
        self.steps = 0
        self.last = (0.0, y0)
        self.blind = stop.nc1 is None and stop.loss is None and stop.stationarity is None
        self.spread = flow.within_rms(y0)
        self.times: list[float] = []
        self.packed: list[Vector] = []
        self.exact = save_at
        first = 1e-2 / max(flow.spectral_radius(y0), 1 / t_end)
        self.grid: Iterator[float] = iter(
            save_at if save_at is not None else log_grid(first, t_end, y0.nbytes, knots)
        )
        self.knots = [] if save_at is not None else list(knots)
        self.next = next(self.grid)
        if save_at is None or self.next == 0.0:
            self._save(0.0, y0)
            self.next = next(self.grid, math.inf) if save_at is not None else self.next

    def march(self) -> Reason:
        """Step until something ends the run."""
        reason = self._stop_reason() if self.exact is None else None
        while reason is None:
            if self.stepper.status == "failed":
                return Reason.STEP_FAILED
            # A trial step may overflow; the engine rejects it, or the check below ends the run.
            with np.errstate(over="ignore", invalid="ignore"):
                self.stepper.step()
            if self.stepper.status == "failed":
                reason = Reason.STEP_FAILED if np.all(np.isfinite(self.stepper.y)) else Reason.NOT_FINITE
                break
            self.steps += 1
            reason = self._stop_reason()
            self._save_due(last=reason is not None)
            if self.progress is not None:
                self.progress(self.stepper.t, self.stepper.t / self.t_end)
        return reason

    def _stop_reason(self) -> Reason | None:
        # Engines refuse steps that are not finite; without targets a look now and then is enough.
        if self.blind and self.stepper.status == "running" and self.steps % BLIND_STEPS:
            return Reason.MAX_STEPS if self.steps >= self.max_steps else None
        t, y, stop, flow = self.stepper.t, self.stepper.y, self.stop, self.flow
        if not np.all(np.isfinite(y)):
            return Reason.NOT_FINITE
        if stop.nc1 is not None and self.spread > stop.nc1 >= flow.within_rms(y):
            return Reason.NC1
        if stop.loss is not None and flow.loss(y) <= stop.loss:
            return Reason.LOSS
        if stop.stationarity is not None and self._nearly_stationary(y, stop.stationarity):
            speed = _relative_speed(flow.blocks(y), flow.blocks(flow.field(t, y)))
            if speed <= stop.stationarity * flow.clock:
                return Reason.STATIONARY
        if self.stepper.status == "finished":
            return Reason.T_END
        return Reason.MAX_STEPS if self.steps >= self.max_steps else None

    def _nearly_stationary(self, y: Vector, target: float) -> bool:
        """Whether the mean speed over the last step is near the target, so that the field is worth evaluating."""
        (t, before), self.last = self.last, (self.stepper.t, y.copy())
        span = (self.stepper.t - t) * self.flow.clock
        moved = y - before
        return math.sqrt(moved @ moved) <= NEARLY * target * span * math.sqrt(y @ y)

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

    def _save(self, t: float, y: Vector) -> None:
        self.times.append(float(t))
        self.packed.append(np.array(y))


def _flow(problem: Problem, form: str) -> Flow:
    if form not in ("auto", "thin", "raw"):
        raise InputError("form", repr(form), "must be auto, thin or raw", "choose one of these")
    if form == "thin" and not problem.has_thin:
        what = f"{problem.loss.name} with a {problem.kernel.rung} kernel"
        raise InputError("form", "'thin'", f"does not exist for {what}", "use form='raw'")
    return ThinFlow.build(problem) if problem.has_thin and form != "raw" else RawFlow.build(problem)


def _relative_speed(now: Sequence[np.ndarray], change: Sequence[np.ndarray]) -> float:
    """Largest relative rate of change of the features (all blocks but the last two), W and b.

    Each against its own size, so that a huge bias does not hide that the features move; biases against 1/C.
    """
    b = now[-1]
    sizes = (_norm(now[:-2]), _norm(now[-2:-1]), max(_norm(now[-1:]), 1 / math.sqrt(len(b))))
    speeds = (_norm(change[:-2]), _norm(change[-2:-1]), _norm(change[-1:]))
    return max(speed / size if size > 0 else speed for speed, size in zip(speeds, sizes, strict=True))


def _norm(blocks: Sequence[np.ndarray]) -> float:
    return math.sqrt(sum(float(np.vdot(block, block)) for block in blocks))


def _absolute(flow: Flow, y0: Vector, rtol: float) -> Vector:
    """Absolute tolerance per block: a thousandth of rtol times the block's own size."""
    whole = max(float(np.sqrt(np.mean(y0**2))), np.finfo(float).tiny)
    parts = []
    for block in flow.blocks(y0):
        size = float(np.sqrt(np.mean(block**2))) if block.size else 0.0
        parts.append(np.full(block.size, rtol * 1e-3 * (size if size > 0 else whole)))
    return np.concatenate(parts)


def _checked_times(save_at: Sequence[float] | Times | None, t_end: float | None) -> Times | None:
    if save_at is None:
        return None
    times = np.asarray(save_at, dtype=np.float64)
    if times.ndim != 1 or times.size == 0 or not np.all(np.isfinite(times)):
        raise InputError(
            "save_at", f"array of shape {times.shape}", "must be a list of finite times", "give at least one"
        )
    if times[0] < 0 or np.any(np.diff(times) <= 0):
        raise InputError(
            "save_at", times[:4], "must increase from a time >= 0", "sort the times and drop repeats"
        )
    if t_end is not None and times[-1] > t_end:
        raise InputError("save_at", times[-1], f"lies after t_end = {t_end}", "raise t_end")
    return times


def _checked_horizon(t_end: float | None, times: Times | None, problem: Problem) -> float:
    if t_end is None:
        t_end = float(times[-1]) if times is not None else default_horizon(problem)
    t_end = real("t_end", t_end)
    if not t_end >= EARLIEST:
        raise InputError("t_end", t_end, f"must be positive, at least {EARLIEST:g}", "give a time > 0")
    return t_end


def _check_rtol(rtol: float) -> None:
    if not 1e-12 <= real("rtol", rtol) <= 1e-2:
        raise InputError("rtol", rtol, "must lie in 1e-12 .. 1e-2 in float64", "1e-8 suits most uses")
