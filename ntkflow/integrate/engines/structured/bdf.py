"""Variable-order, variable-step stiff integrator for the thin system, in numpy alone.

Numerical differentiation formulas of orders 1 to 5 in quasi-constant-step form; a modified Newton iteration
whose linear systems are solved by block elimination; the invariant E restored every few steps.
"""

import math
import sys
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow import checks
from ntkflow._types import FeatureMatrix, Times, Vector
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.errors import InputError
from ntkflow.integrate.engines.base import Shared
from ntkflow.integrate.engines.structured import clock, formulas, projection, start
from ntkflow.integrate.engines.structured.clock import PLAIN_TIME, Clock, LogClock
from ntkflow.integrate.engines.structured.coordinates import Coordinates, Flat
from ntkflow.integrate.engines.structured.corrector import BlockNorm, Correction, Corrector, Formula, Work

SAFETY = 0.9
LARGEST_GROWTH, SMALLEST_GROWTH = 10.0, 0.2
# A smaller gain is not worth new differences and a new matrix. Where steps are even in log time, errors rise and fall so
# slowly that a step is shortened before one is refused.
WORTHWHILE_GROWTH, EVEN_KEPT = 1.2, (0.95, 1.15)
AFTER_DIVERGENCE = 0.3
# Rejections in a row after which the history is no longer believed.
REJECTIONS_TO_RESTART = 4
# Each costs an eigenvalue problem of size n. Beyond the sizes that go in lockstep that is dear: there E is looked at more often
# and restored where it is off by rtol; where so many steps move it by more than two, as beside singular kernels, it is
# looked at sooner.
STEPS_BETWEEN_PROJECTIONS, STEPS_BETWEEN_LOOKS = 10, 5
DEAR_FROM, DRIFT_SHARE, MOST_DRIFT = 21, 1.0, 2.0
# In spacings of time: a shorter step would be rounded by a sixteenth of itself or more.
ROUNDING_STEPS = 16
SMALLEST_RTOL = 1e-14
# Beyond the sizes that go in lockstep a step costs little more than measuring the state: so many of one size share a measure.
STEPS_OF_ONE_NORM = 4


class StructuredBDF:
    """One integration of a `ThinSystem` under way, in the manner of scipy's solver classes.

    Args:
        system: the thin system; decay and a kernel that moves linearly between knots are honoured.
        t0: initial time, in units of the sum loss (4).
        y0: packed initial state (H1, L, W, b), as from `ThinState.pack`.
        t_end: final time, after t0.
        rtol: relative tolerance of the local error of each of the blocks H1, L, W, b.
        atol: absolute tolerance, one for all or one per entry of y0; each block uses its smallest.
        first_step: initial step; None chooses one.
        project: restore E every few steps, which changes W H by less than the tolerance. Ignored where E is
            not conserved.

    Attributes:
        t: current time.
        t_old: time before the last step; None before the first.
        status: 'running', 'finished' or 'failed'.
        message: sentence that says why the integration failed and what to do; empty otherwise.
        steps: accepted steps.
        rejected: rejected steps.
        work: evaluations of the field and matrices prepared.

    Raises:
        InputError: a tolerance, time or shape is out of range, or the class kernel is not symmetrisable.
    """

    _coordinates: Coordinates
    _clock: Clock
    _family: formulas.Family
    _end: float
    _corrector: Corrector
    _norm: BlockNorm
    _D: formulas.Differences
    _leaf: FeatureMatrix | None
    _y: Vector | None
    _waiting: int
    _order: int
    _next: tuple[int, float]

    def __init__(
        self,
        system: ThinSystem,
        t0: float,
        y0: Vector,
        t_end: float,
        rtol: float,
        atol: float | Vector,
        first_step: float | None = None,
        project: bool = True,
    ) -> None:
        _check(system, t0, y0, t_end, rtol, atol, first_step)
        self.system, self.t_end, self.rtol, self.project = system, float(t_end), float(rtol), project
        self.t = float(t0)
        self.t_old: float | None = None
        self.status, self.message = "running", ""
        self.steps = self.rejected = 0
        self.work = Work()
        self._atol = np.broadcast_to(np.asarray(atol, dtype=np.float64), y0.shape)
        self._knots = [knot for knot, _ in system.schedule if t0 < knot < t_end]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self._begin(np.array(y0, dtype=np.float64), first_step)

    @property
    def nfev(self) -> int:
        """Evaluations of the field."""
        return self.work.fields

    @property
    def nlu(self) -> int:
        """Matrices prepared for Newton's iteration."""
        return self.work.matrices

    @property
    def y(self) -> Vector:
        """The packed state at t."""
        if self._y is None:
            self._y = self._coordinates.leave(self._D[0])
        return self._y

    @property
    def order(self) -> int:
        """Order of the last step."""
        return self._order

    def step(self) -> None:
        """Take one accepted step, or set `status` to 'failed' and say why in `message`."""
        if self.status != "running":
            raise RuntimeError(f"the integration has {self.status}; start a new one")
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if self._knots and self.t == self._knots[0]:
                # The field has a kink here, which a polynomial through earlier points can't follow.
                self._knots.pop(0)
                self._begin(self.y, None)
            if self.status == "running":
                self._advance()

    def dense(self) -> "Polynomial":
        """The interpolating polynomial of the last step, t in [t_old, t] to a packed state."""
        if self.t_old is None:
            raise RuntimeError("there is no step to interpolate yet; call step first")
        # One step further back the polynomial is off by the correction d of that step, some of its local errors.
        D, covers = self._D[: self._order + 1].copy(), min(self._equal, self._order + 1)
        return Polynomial(self._coordinates, D, self.t, self._h, covers, self._clock)

    def _begin(self, y: Vector, first_step: float | None) -> None:
        """Start at order one; also after every knot of a moving kernel."""
        self._coordinates = Coordinates.build(self.system, self.t, self._stop, y)
        z = self._coordinates.enter(y)
        self._corrector = Corrector(self._coordinates, self.work)
        atol = np.array([piece.min(initial=math.inf) for piece in self._coordinates.cut(self._atol)])
        self._norm = BlockNorm(self._coordinates, self.rtol, atol)
        self._norm.update(z)
        slope = self._coordinates.field(self.t, z, np.zeros_like(z))
        self.work.fields += 1
        self._y, self._waiting = None, STEPS_BETWEEN_LOOKS
        self._order, self._equal, self._next = 1, 0, (1, 1.0)
        self._leaf = projection.leaf(self._coordinates, z) if self._coordinates.conserves else None
        self._D = np.zeros((formulas.HIGHEST_ORDER + 3, z.size))
        self._D[0] = z
        step = first_step or self._first_step(z, slope)
        if not (self._start_clock(step, z, slope) and first_step is None and self._start_high(z)):
            self._D[1] = self._h * self._clock.pace(self._at) * slope
        self._shortest = 1e-12 * self._h
        if not (np.all(np.isfinite(slope)) and self._h > 0):
            self._fail()

    def _start_clock(self, step: float, z: Flat, slope: Flat) -> bool:
        """Choose in what steps are even, set where they are in it and where they end; True where it is log time."""
        self._clock, self._family, even = PLAIN_TIME, formulas.PLAIN, False
        if self._coordinates.n >= DEAR_FROM and self._coordinates.moving is None:
            # The time in which the state as a whole changes by its size.
            unit = self._norm(z) / self._norm(slope)
            if even := 0 < clock.EVEN_FROM * unit <= self._stop - self.t and step > 0:
                self._clock, self._family = LogClock(self.t, unit), formulas.EVEN
                self._norm.of_biases = clock.BIASES
                self._norm.update(z)
        self._at, self._end = self._clock.read(self.t), self._clock.read(self._stop)
        self._h = self._clock.read(self.t + step) - self._at if even else step
        return even

    def _start_high(self, z: Flat) -> bool:
        """Begin at the highest order, where that allows a longer step than the first order does."""
        assert isinstance(self._clock, LogClock)
        k = formulas.HIGHEST_ORDER
        coefficients = start.series(self._coordinates, z, self._clock.unit)
        h = min(clock.LONGEST, start.longest(coefficients, k, self._family.errs[k], SAFETY, self._norm))
        if not self._h < h < (self._end - self._at) / k:
            return False
        self._D[: k + 2] = start.differences(coefficients, h, k + 2)
        self._h, self._order, self._equal, self._next = h, k, k, (k, 1.0)
        return True

    @property
    def _stop(self) -> float:
        return self._knots[0] if self._knots else self.t_end

    def _first_step(self, z: Flat, slope: Flat) -> float:
        """A step whose first-order error, h^2 |y''| / 2, is a fraction of the tolerance."""
        span, speed = self._stop - self.t, self._norm(slope)
        if not (math.isfinite(speed) and speed > 0):
            return span if speed == 0 else math.nan
        size = max(self._norm(z), 1.0)
        probe = 1e-6 * size / speed
        there = self._coordinates.field(self.t, z + probe * slope, np.zeros_like(z))
        self.work.fields += 1
        bend = self._norm(there - slope) / probe
        curved = 0.7 / math.sqrt(bend) if bend > 0 else span
        return min(span, curved, 1e-2 * size / speed)

    def _advance(self) -> None:
        if self._clock is not PLAIN_TIME and self._norm(self._D[1]) <= clock.NEARLY_AT_REST * self._h:
            self._leave_log_time()
        order, ratio = self._next
        self._order = order
        if ratio != 1:
            self._rescale(ratio)
        # Once a step: trials of one step are judged by one measure. Where steps are cheap beside it, it may be that of before.
        if self._coordinates.n < DEAR_FROM or self._equal % STEPS_OF_ONE_NORM == 0:
            self._norm.update(self._D[0])
        refused = 0
        while True:
            landing = self._limit_step()
            if not self._h > max(self._shortest, ROUNDING_STEPS * sys.float_info.epsilon * abs(self._at)):
                return self._fail()
            found = self._attempt()
            error = math.inf if found is None else found.size
            if found is not None and error <= 1:
                return self._accept(found.d, error, landing)
            self.rejected += 1
            refused += 1
            if refused >= REJECTIONS_TO_RESTART:
                self._order = 1
            growth = AFTER_DIVERGENCE if found is None else SAFETY * error ** (-1 / (self._order + 1))
            self._rescale(max(growth, SMALLEST_GROWTH))

    def _attempt(self) -> Correction | None:
        """The correction of the predicted value and the error of the step."""
        k, D, family, at = self._order, self._D, self._family, self._at + self._h
        weights = family.predict[k]
        t, step = (
            (at, self._h)
            if self._clock is PLAIN_TIME
            else (self._clock.time(at), self._h * self._clock.pace(at))
        )
        formula = Formula(t, D[: weights.shape[1]], weights, step, family.leads[k] / step, family.further)
        found = self._corrector.correct(formula, self._norm)
        if found is None:
            return None
        constant = family.errs[k]
        if not family.further:
            return Correction(found.d, constant * found.size)
        d = found.d + D[k + 1]
        return Correction(d, constant * self._norm(d))

    def _limit_step(self) -> bool:
        """Shorten the step to the next time that must be hit; True when it ends there."""
        # What would leave less than a thousandth of a step takes all: a last step of rounding size costs a new grid.
        left = self._end - self._at
        if self._h * 1.001 < left:
            return False
        if self._h != left:
            self._rescale(left / self._h)
        return True

    def _rescale(self, ratio: float) -> None:
        rows = self._order + 1 + self._family.further
        self._D[:rows] = formulas.change_step(self._D[:rows], ratio)
        self._h *= ratio
        self._equal = 0

    def _accept(self, d: Flat, error: float, landing: bool) -> None:
        D, k = self._D, self._order
        self._at = self._end if landing else self._at + self._h
        self.t_old, self.t = self.t, self._stop if landing else self._clock.time(self._at)
        self.status = "finished" if self.t >= self.t_end else "running"
        self.steps += 1
        self._equal += 1
        if k < formulas.HIGHEST_ORDER:
            # What the next order would have made of it; there is none above the highest.
            np.subtract(d, D[k + 1], out=D[k + 2])
        D[k + 1] = d
        for j in range(k, -1, -1):
            D[j] += D[j + 1]
        self._y = None
        # Differences of order k + 1 are those of one grid after so many equal steps, and only then tell of other orders.
        self._next = self._choose(error) if self._equal > k else (k, 1.0)
        if self.project and self._leaf is not None:
            self._restore(D[0], self._leaf)

    def _leave_log_time(self) -> None:
        """Go on in time itself, on the polynomial through the last points."""
        k, log = self._order, self._clock
        assert isinstance(log, LogClock)
        self._D[: k + 1], self._h = formulas.in_time(self._D[: k + 1], self._h, log.pace(self._at))
        self._clock, self._family, self._at, self._end = PLAIN_TIME, formulas.PLAIN, self.t, self._stop
        self._shortest *= log.unit
        self._corrector = Corrector(self._coordinates, self.work)
        self._equal, self._next = 0, (k, 1.0)

    def _restore(self, z: Flat, leaf: FeatureMatrix) -> None:
        """Put z back on the leaf, now and then. It is D_0 alone: the history is translated, and its differences stay smooth."""
        if self._coordinates.n < DEAR_FROM:
            if self.steps % STEPS_BETWEEN_PROJECTIONS == 0:
                projection.restore(self._coordinates, z, leaf)
            return
        self._waiting -= 1
        if not self._waiting:
            drift = projection.restore(self._coordinates, z, leaf, DRIFT_SHARE * self.rtol) / self.rtol
            soon = MOST_DRIFT / drift if drift > MOST_DRIFT else 1.0
            self._waiting = max(1, int(STEPS_BETWEEN_LOOKS * soon))

    def _choose(self, error: float) -> tuple[int, float]:
        """Order and growth of the next step, from the errors that the neighbouring orders would have made."""
        k, best, growth = self._order, self._order, _growth(error, self._order)
        for other, difference in ((k - 1, k), (k + 1, k + 2)):
            if 1 <= other <= formulas.HIGHEST_ORDER:
                candidate = _growth(self._family.errs[other] * self._norm(self._D[difference]), other)
                if candidate > growth:
                    best, growth = other, candidate
        # A change of step or order asks for new differences and a new matrix: not for a few per cent.
        growth, kept = min(LARGEST_GROWTH, SAFETY * growth), (SAFETY, WORTHWHILE_GROWTH)
        if self._family.further:
            growth, kept = min(growth, clock.LONGEST / self._h), EVEN_KEPT
        return (k, 1.0) if kept[0] <= growth < kept[1] else (best, growth)

    def _fail(self) -> None:
        self.status = "failed"
        if np.all(np.isfinite(self._D[:2])):
            step = self._h * self._clock.pace(self._at)
            self.message = (
                f"the step fell to {step:.2g} at t = {self.t:.6g}, too small to go on; "
                "loosen rtol or choose another engine"
            )
        else:
            self.message = (
                f"the field is not finite at t = {self.t:.6g}; give a finite initial state of smaller scale"
            )


@dataclass(frozen=True, eq=False)
class Polynomial(Shared):
    """The polynomial through the last points of a `StructuredBDF`, from a time to a packed state.

    Attributes:
        coordinates: what turns its values into packed states.
        D: backward differences of orders 0 to k at t, in steps of h.
        t: the last point.
        h: the last step, as its clock reads.
        covers: over so many of the last steps it holds to the tolerance: it goes through their points, but for the first.
        clock: in what the steps are even.
    """

    coordinates: Coordinates
    D: formulas.Differences
    t: float
    h: float
    covers: int
    clock: Clock = PLAIN_TIME

    def __call__(self, time: float) -> Vector:
        """The packed state at a time."""
        state: Vector = self.several(np.array([time]))[0]
        return state

    def several(self, times: Times) -> Float64[np.ndarray, "T D"]:
        """The packed states at several times, in one product."""
        shares = formulas.interpolation(
            len(self.D) - 1, (self.clock.reads(times) - self.clock.read(self.t)) / self.h
        )
        return self.coordinates.leave(shares @ self.D)


def _growth(error: float, order: int) -> float:
    return float(max(error, 1e-10) ** (-1 / (order + 1)))


def _check(
    system: ThinSystem,
    t0: float,
    y0: Vector,
    t_end: float,
    rtol: float,
    atol: float | Vector,
    first_step: float | None,
) -> None:
    checks.shape("y0", y0.shape, (system.size,), "", "pack it")
    if not (math.isfinite(t_end) and t_end > t0):
        raise InputError("t_end", t_end, f"must be finite and after t0 = {t0}", "give a later time")
    if not rtol >= SMALLEST_RTOL:
        raise InputError("rtol", rtol, f"must be at least {SMALLEST_RTOL} in float64", "loosen it")
    if not np.all(np.asarray(atol) > 0):
        raise InputError("atol", atol, "must be positive", "give a tiny positive number for pure rtol")
    if first_step is not None:
        checks.positive("first_step", first_step, "leave it out to choose one")
