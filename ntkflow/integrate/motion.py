"""The law of E's motion, integrated with a run: over every accepted step, on the engine's own interpolant.

Where decay or a moving kernel pulls on it, E obeys (theory 11.1, 11.2)
    m dE/dt = -2 lw W^T W + 2 lh H K^{-1} H^T + H K^{-1} K' K^{-1} H^T.
The integral of the right-hand side is as good as the run: a quadrature over its saved points would be as bad as they are
far apart.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats, Vector
from ntkflow.dynamics.packed import Flow
from ntkflow.integrate.engines.base import Interpolant, Shared
from ntkflow.integrate.engines.chain import Interval, Step
from ntkflow.integrate.law_check import LawCheck
from ntkflow.integrate.moving_terms import Packed, Terms
from ntkflow.metrics.quantities import conserved_by
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State

# What of E has a law of its own: its entries, or the numbers that kernels on features leave.
Numbers = Float64[np.ndarray, " k"]
# Gauss-Legendre nodes of a panel, and the largest factor by which an eigenvalue of the kernel may change along it: the
# pole of 1/d then leaves some 1e-12 of a term. The engines of high order take long steps.
LONG_STEPS = ("DOP853", "diffrax")
LONG, SHORT = (5, 1.3), (3, 1.05)
# Over steps that share one interpolant, of 4 to 6 of them: (2 lambda h)^8 of such nodes is less than what (lambda h)^6 leaves
# of the steps themselves.
SHARED, MANY = (4, 1.15), 3
# So many steps, or so many bytes of states, are evaluated together, and E is compared with its law then.
TOGETHER, BYTES = 12, 2**22
# An exact law may be off by so many rtol, by so many rounding errors of E, and by so much at any rate.
SLACK, ROUNDINGS, LEAST = 10.0, 1e3, 1e-11
TIMES_ROUNDED = 4.0


def moves(problem: Problem) -> bool:
    """Whether E moves along the problem's flow: decay of W or H, or a kernel that moves."""
    return problem.decay.moves_E or problem.kernel.moves


@dataclass
class Stretch:
    """Accepted steps in a row on one interpolant.

    Attributes:
        begin: where they begin, in the interval's own clock.
        end: where they end there.
        inside: the interpolant.
        steps: how many there are.
    """

    begin: float
    end: float
    inside: Interpolant
    steps: int = 1

    def extend(self, step: Step) -> bool:
        """Take the next step in, if its interpolant is as good over all of them."""
        if not isinstance(self.inside, Shared):
            return False
        inside = step.inside
        if not (isinstance(inside, Shared) and inside.covers > self.steps):
            return False
        self.end, self.inside, self.steps = step.span[1], inside, self.steps + 1
        return True


class Motion:
    """Follows one run, step by step.

    Args:
        problem: what is solved; E moves in it.
        flow: its packed system.
        rtol: the tolerance asked for.
    """

    def __init__(self, problem: Problem, flow: Flow, rtol: float) -> None:
        self.problem, self.flow, self.rtol = problem, flow, rtol
        self.t = 0.0
        self._interval: Interval | None = None
        self._states: list[Packed] = []
        self._nodes: list[Numbers] = []
        self._shares: list[Numbers] = []
        self._waiting = 0
        self._last: Step | None = None
        self._stretch: Stretch | None = None
        self._quantities = conserved_by(problem)
        on_features = bool(problem.kernel.feature_matrices(problem.sizes))
        self._project = self._quantities.symmetries.coordinates if on_features else np.ravel
        now = problem.kernel.at(0.0)
        self._terms = Terms(flow, problem.sizes, now, now)
        weights, features = self._look(0.0, flow.start())
        self._first = weights - features
        self._integral = np.zeros_like(self._first)
        self._gap = self._moved = 0.0
        self._steepest = 1.0
        self._scale = _size(weights, features)

    def observe(self, step: Step) -> None:
        """One accepted step. It lies in one interval between knots, on which the law is smooth."""
        # Where a step fails soon after, states may be so large that their products overflow.
        with np.errstate(over="ignore", invalid="ignore"):
            if step.interval is not self._interval:
                interval = self._interval = step.interval
                ends = self.problem.kernel.between(interval.begin, interval.end).at_knots
                self._terms = Terms(self.flow, self.problem.sizes, ends[0], ends[-1])
                self._rests = self._exponential or not (self.problem.decay.moves_E or self._terms.moving)
                self._steepest = max(self._steepest, self._terms.growth(0.0, 1.0))
            if not self._rests and not (self._stretch is not None and self._stretch.extend(step)):
                self._close()
                self._stretch = Stretch(*step.span, step.inside)
            self._last, self._waiting = step, self._waiting + 1
            if self._waiting >= TOGETHER or step.span[1] == step.interval.width:
                self._catch_up()

    def _close(self) -> None:
        """Nodes, states and shares of the quadrature over the stretch under way."""
        stretch, self._stretch = self._stretch, None
        if stretch is None or self._interval is None:
            return
        width, engine = self._interval.width, self._interval.choice.engine
        count, growth = LONG if engine in LONG_STEPS else SHARED if stretch.steps > MANY else SHORT
        nodes, shares = _gauss_legendre(count)
        for a, b in self._terms.panels(stretch.begin / width, stretch.end / width, growth):
            at = a + (b - a) * (1 + nodes) / 2
            self._states.append(_states(stretch.inside, at * width))
            self._nodes.append(at)
            self._shares.append((b - a) / 2 * shares)
        if sum(y.nbytes for y in self._states) > BYTES:
            self._integrate()

    def _integrate(self) -> None:
        """Add what waits to the integral."""
        if not self._states or self._interval is None:
            return
        lw, lh, _ = self.problem.decay.rates
        y, at, shares = (np.concatenate(x) for x in (self._states, self._nodes, self._shares))
        self._states, self._nodes, self._shares = [], [], []
        width = self._interval.width
        total: Floats = np.zeros(())
        if lh or self._terms.moving:
            total = self._terms.features(y, at, 2 * lh * width * shares, shares)
        if lw:
            total = total - self._terms.weights(y, 2 * lw * width * shares)
        self._integral += self._project(total)

    def _catch_up(self) -> None:
        """Compare E with its law at the end of the last step."""
        self._close()
        self._integrate()
        step, self._last, self._waiting = self._last, None, 0
        # The stepper has gone no further, so that its state is the end of this step.
        if step is None or not np.all(np.isfinite(step.stepper.y)):
            return
        weights, features = self._look(step.span[1] / step.interval.width, np.array(step.stepper.y))
        now, self.t = weights - features, step.t
        law = self._first + self._integral
        if self._exponential:
            law = math.exp(-2 * self.problem.decay.W * self.t) * self._first
        self._gap = max(self._gap, float(np.linalg.norm(now - law)))
        self._moved = max(self._moved, float(np.linalg.norm(now - self._first)))
        self._scale = max(self._scale, _size(weights, features))

    def check(self, final: State | None) -> LawCheck:
        """How the law was kept.

        Args:
            final: the state at the end, where rounding is looked at; None where the run failed.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            self._catch_up()
        scale = self._scale if self._scale > 0 else 1.0
        rounding = 0.0 if final is None else self._quantities.rounding(final, self.t)
        # A kernel that grows or falls by a factor f within an interval spends 1/f of it near its smaller end, and times
        # there, those of the nodes and of the ends of panels, are known to some rounding errors of the interval.
        steep = TIMES_ROUNDED * float(np.finfo(float).eps) * self._steepest
        allowed = max(SLACK * self.rtol, LEAST, ROUNDINGS * rounding, steep)
        return LawCheck(self._gap / scale, self._moved / scale, allowed)

    @property
    def _exponential(self) -> bool:
        """Whether E(t) = exp(-2 l t) E(0): nothing needs to be integrated."""
        decay = self.problem.decay
        return decay.W == decay.H and not self.problem.kernel.moves

    def _look(self, s: float, y: Vector) -> tuple[Numbers, Numbers]:
        """The two terms of E."""
        one, state = np.ones(1), y[None]
        weights = self._terms.weights(state, one)
        features = self._terms.features(state, np.array([s]), one)
        return self._project(weights), self._project(features)


@cache
def _gauss_legendre(count: int) -> tuple[Numbers, Numbers]:
    return np.polynomial.legendre.leggauss(count)


def _states(inside: Interpolant, times: Numbers) -> Packed:
    """The packed states at several times."""
    if isinstance(inside, Shared):
        return inside.several(times)
    if hasattr(inside, "t_max"):  # scipy's interpolants take them at once
        return np.ascontiguousarray(inside(times).T)  # type: ignore[arg-type]
    return np.stack([inside(t) for t in times])


def _size(weights: Numbers, features: Numbers) -> float:
    return float(np.linalg.norm(weights) + np.linalg.norm(features))
