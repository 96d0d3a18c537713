"""An integration in intervals: steps end exactly at every knot of a moving kernel, and begin anew there.

The field is continuous at a knot but its slope is not, so an interpolant or an error estimate across one means
nothing, and a step may pass a narrow peak unseen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ntkflow._types import Floats, Times, Vector
from ntkflow.dynamics.packed import Flow, rms
from ntkflow.integrate.engines import choose, midpoint
from ntkflow.integrate.engines.base import Interpolant, Stepper, interpolant

# Local errors add up along a run; with this factor the drift of E has stayed below the rtol asked for.
# The structured engine, which restores E every few steps, needs less of it.
TOLERANCE_SAFETY, STRUCTURED_SAFETY = 1 / 30, 1 / 20
# Measured against the tolerance asked for, its errors are half as large at 1e-6 as at 1e-8: there it is given twice the share.
STRICT, LOOSE, LOOSER = 1e-8, 1e-6, 2.0
# It starts anew, at order one, at every knot, and while the kernel moves it has no E to restore: beyond so many intervals its
# local errors would add up to more.
FEW_INTERVALS = 50
SMALLEST_RTOL = 1e-14
# Share of the natural size below which a block counts as zero for the absolute tolerance of others.
NEGLIGIBLE = 1e-6


@dataclass(frozen=True, eq=False)
class Interval:
    """A stretch of time without knots inside, and the engine that integrates it.

    Attributes:
        begin: where it begins, in the time of the run.
        end: where it ends.
        flow: the flow on it, in a clock of its own that starts at 0: so many digits has time in any interval.
        choice: the engine and why it was chosen, at the state in which the interval began.
        rtol: tolerance given to the engine.
    """

    begin: float
    end: float
    flow: Flow
    choice: choose.Choice
    rtol: float

    @property
    def width(self) -> float:
        """Its length."""
        return self.end - self.begin

    def time(self, local: float) -> float:
        """Time of the run at a time of the interval's own clock; its end only where the interval ends."""
        if local >= self.width:
            return self.end
        return min(self.begin + local, math.nextafter(self.end, self.begin))

    def times(self, local: Times) -> Times:
        """`time` of many."""
        inside = np.minimum(self.begin + local, math.nextafter(self.end, self.begin))
        result: Floats = np.where(local >= self.width, self.end, inside)
        return result

    def locals(self, t: Times) -> Times:
        """`local` of many."""
        result: Floats = np.minimum(np.maximum(t - self.begin, 0.0), self.width)
        return result

    def local(self, t: float) -> float:
        """Time of the interval's own clock at a time of the run."""
        return min(max(t - self.begin, 0.0), self.width)


@dataclass(frozen=True, eq=False)
class Step:
    """An accepted step; it lies in one interval, on which the field is smooth.

    Attributes:
        interval: the interval.
        span: the step's first and last time in the interval's own clock.
        inside: the engine's interpolant over the step, from a time of that clock to a packed state. It costs
            some engines further evaluations of the field, so it is made when first asked for.
    """

    interval: Interval
    span: tuple[float, float]
    stepper: Stepper

    @property
    def t_old(self) -> float:
        """Where the step began, in the time of the run."""
        return self.interval.time(self.span[0])

    @property
    def t(self) -> float:
        """Where it ended, in the time of the run."""
        return self.interval.time(self.span[1])

    @property
    def inside(self) -> Interpolant:
        """The engine's interpolant, in the interval's own clock; valid until the next step."""
        return interpolant(self.stepper)


class Chain:
    """A `Stepper` over the whole run: one engine after another, each on one interval.

    An interval so short that one step of the midpoint rule is exact to rounding gets that, whatever the engine.

    Args:
        flow: the packed system.
        knots: times at which the kernel changes its slope, increasing, inside (0, t_end).
        t_end: end time.
        rtol: tolerance asked for; engines get a share of it.
        engine: name of the engine, or 'auto' to choose one for each interval.

    Attributes:
        intervals: those begun so far.
        t: current time of the run.
        status: 'running', 'finished' or 'failed'.
        last: the last accepted step; None before the first.

    Raises:
        InputError: the engine does not exist, can't integrate this form, or would take the initial state for zero.
    """

    def __init__(
        self, flow: Flow, knots: Sequence[float], t_end: float, rtol: float, engine: str = "auto"
    ) -> None:
        self.flow, self.rtol, self.engine = flow, rtol, engine
        self._spans = list(pairwise([0.0, *knots, t_end]))
        self._evaluations = 0
        self.intervals: list[Interval] = []
        self.t, self.status = 0.0, "running"
        self.last: Step | None = None
        y0 = flow.start()
        choose.check_start(flow, y0, engine)
        self._begin(y0)

    @property
    def y(self) -> Vector:
        """Packed state at t."""
        return self._stepper.y

    @property
    def nfev(self) -> int:
        """Evaluations of the field so far, over all intervals."""
        return self._evaluations + self._stepper.nfev

    @property
    def interval(self) -> Interval:
        """The interval under way."""
        return self.intervals[-1]

    def step(self) -> None:
        """Take one accepted step; sets `status` to 'finished' or 'failed' at the end."""
        if self._stepper.status == "finished":
            # At a knot: the next interval begins with the step that enters it, not with the one that ended here.
            y = np.array(self._stepper.y)
            if not np.all(np.isfinite(y)):
                self.status = "failed"
                return
            self._evaluations += self._stepper.nfev
            self._begin(y)
        stepper, interval = self._stepper, self.interval
        before = stepper.t
        if stepper.status != "failed":
            stepper.step()
        if stepper.status == "failed":
            self.status = "failed"
            return
        done = stepper.status == "finished"
        # The engine's own last time may miss the interval's end by rounding, which the next one's clock must not.
        after = interval.width if done else stepper.t
        self.t = interval.time(after)
        self.last = Step(interval, (before, after), stepper)
        if done and len(self.intervals) == len(self._spans):
            self.status = "finished"

    def dense(self) -> Interpolant:
        """The interpolant of the last step, in the time of the run."""
        if self.last is None:
            raise RuntimeError("there is no step to interpolate yet; call step first")
        inside, local = self.last.inside, self.last.interval.local
        return lambda t: inside(local(t))

    def _begin(self, y: Vector) -> None:
        begin, end = self._spans[len(self.intervals)]
        flow = self.flow.between(begin, end)
        choice = choose.choose(flow, y, end - begin, self.engine)
        rtol = self.rtol * TOLERANCE_SAFETY
        if choice.engine == choose.STRUCTURED:
            rtol = max(structured_rtol(self.rtol) / max(1.0, len(self._spans) / FEW_INTERVALS), SMALLEST_RTOL)
        self.intervals.append(Interval(begin, end, flow, choice, rtol))
        if len(self._spans) > 1 and choice.stiffness < midpoint.SHORT:
            self._stepper: Stepper = midpoint.Midpoint(flow.field, y, end - begin)
        else:
            self._stepper = choose.start(choice.engine, flow, y, end - begin, rtol, _absolute(flow, y, rtol))


def _absolute(flow: Flow, y0: Vector, rtol: float) -> Vector:
    """`block_tolerances`, one for each entry."""
    found = zip(flow.blocks(y0), block_tolerances(flow, y0, rtol), strict=True)
    return np.concatenate([np.full(block.size, tolerance) for block, tolerance in found])


def structured_rtol(rtol: float) -> float:
    """What the structured engine and the one in lockstep are asked for on one interval."""
    share = math.log(max(STRICT, min(rtol, LOOSE)) / STRICT) / math.log(LOOSE / STRICT)
    return float(rtol * STRUCTURED_SAFETY * LOOSER**share)


def block_tolerances(flow: Flow, y0: Vector, rtol: float) -> list[float]:
    """Absolute tolerance per block: a thousandth of rtol times the block's own size, above the smallest float.

    Biases as good as zero have the size 1/C that they tend to. Features or weights as good as zero have that of
    features and weights together, which drive each other; deviations within classes shrink by themselves, from
    whatever size. So a state that is tiny as a whole is followed as it grows.
    """
    features, *within, weights, b = flow.blocks(y0)
    natural, whole = 1 / len(b), rms(y0)
    whole = whole if whole > NEGLIGIBLE * natural else natural
    coupled = rms(np.concatenate([block.ravel() for block in (features, *within, weights)]))
    # Nothing but zeros, or nearly: then the biases are all there is.
    empty = coupled if 0 < coupled < NEGLIGIBLE * whole else whole

    def size(block: np.ndarray, least: float, otherwise: float) -> float:
        own = rms(block)
        return own if own > least else otherwise

    sizes = [
        size(features, NEGLIGIBLE * coupled, empty),
        *(size(block, 0.0, empty) for block in within),
        size(weights, NEGLIGIBLE * coupled, empty),
        size(b, NEGLIGIBLE * natural, whole),
    ]
    return [max(rtol * 1e-3 * own, float(np.finfo(float).tiny)) for own in sizes]
