"""The law of E's motion, integrated with a run: over every accepted step, on the engine's own interpolant.

Where decay or a moving kernel pulls on it, E obeys (theory 11.1, 11.2)
    m dE/dt = -2 lw W^T W + 2 lh H K^{-1} H^T + H K^{-1} K' K^{-1} H^T.
The integral of the right-hand side is as good as the run: a quadrature over its saved points would be as bad as they are
far apart.
"""

import math

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Vector
from ntkflow.dynamics.packed import Flow
from ntkflow.integrate.engines.base import Interpolant
from ntkflow.integrate.engines.chain import Interval, Step
from ntkflow.integrate.law_check import LawCheck
from ntkflow.integrate.moving_terms import Packed, Terms
from ntkflow.metrics.quantities import conserved
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State

# What of E has a law of its own: its entries, or the numbers that kernels on features leave.
Numbers = Float64[np.ndarray, " k"]
# Gauss-Legendre nodes of a panel, and the largest factor by which an eigenvalue of the kernel may change along it: the
# pole of 1/d then leaves some 1e-12 of a term. The engines of high order take long steps.
LONG_STEPS = ("DOP853", "diffrax")
LONG, SHORT = (5, 1.3), (3, 1.05)
# Steps are evaluated together, so many or so many bytes of states at once, and E is compared with its law then.
TOGETHER, BYTES = 4, 2**24
# An exact law may be off by so many rtol, by so many rounding errors of E, and by so much at any rate.
SLACK, ROUNDINGS, LEAST = 10.0, 1e3, 1e-11


def moves(problem: Problem) -> bool:
    """Whether E moves along the problem's flow: decay of W or H, or a kernel that moves."""
    return problem.decay.moves_E or problem.kernel.moves


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
        self._quantities = conserved(problem.kernel, problem.sizes)
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
        if not np.all(np.isfinite(step.stepper.y)):
            return
        if step.interval is not self._interval:
            self._enter(step.interval)
        width = step.interval.width
        s, t = step.span[0] / width, step.span[1] / width
        # Where a step fails soon after, states may be so large that their products overflow.
        with np.errstate(over="ignore", invalid="ignore"):
            if not self._exponential:
                self._add(s, t, width, step.inside)
            self._last = step.t, t, np.array(step.stepper.y)
            self._waiting += 1
            if self._waiting >= TOGETHER or sum(y.nbytes for y in self._states) > BYTES:
                self._catch_up()

    def _enter(self, interval: Interval) -> None:
        if self._interval is not None:
            self._catch_up()
        self._interval = interval
        ends = self.problem.kernel.between(interval.begin, interval.end).at_knots
        self._terms = Terms(self.flow, self.problem.sizes, ends[0], ends[-1])
        nodes, self._growth = LONG if interval.choice.engine in LONG_STEPS else SHORT
        self._rule = np.polynomial.legendre.leggauss(nodes)
        self._steepest = max(self._steepest, self._terms.growth(0.0, 1.0))

    def _add(self, s: float, t: float, width: float, inside: Interpolant) -> None:
        """Nodes, states and shares of the quadrature over one step, from s to t in units of the interval's width."""
        nodes, shares = self._rule
        for a, b in self._terms.panels(s, t, self._growth):
            at = a + (b - a) * (1 + nodes) / 2
            self._states.append(_states(inside, at * width))
            self._nodes.append(at)
            self._shares.append((b - a) / 2 * shares)

    def _catch_up(self) -> None:
        """Add what waits to the integral, and compare E with its law."""
        if self._waiting == 0 or self._interval is None:
            return
        if self._states:
            lw, lh, _ = self.problem.decay.rates
            y, at, shares = (np.concatenate(x) for x in (self._states, self._nodes, self._shares))
            width = self._interval.width
            total = self._terms.features(y, at, 2 * lh * width * shares, shares)
            if lw:
                total = total - self._terms.weights(y, 2 * lw * width * shares)
            self._integral += self._project(total)
        t, s, y = self._last
        self._compare(t, *self._look(s, y))
        self._states, self._nodes, self._shares, self._waiting = [], [], [], 0

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
        # there are known to a rounding error of the interval.
        steep = float(np.finfo(float).eps) * self._steepest
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

    def _compare(self, t: float, weights: Numbers, features: Numbers) -> None:
        now = weights - features
        law = self._first + self._integral
        if self._exponential:
            law = math.exp(-2 * self.problem.decay.W * t) * self._first
        self.t = t
        self._gap = max(self._gap, float(np.linalg.norm(now - law)))
        self._moved = max(self._moved, float(np.linalg.norm(now - self._first)))
        self._scale = max(self._scale, _size(weights, features))


def _states(inside: Interpolant, times: Numbers) -> Packed:
    """The packed states at several times."""
    if hasattr(inside, "t_max"):  # scipy's interpolants take them at once
        return np.ascontiguousarray(inside(times).T)  # type: ignore[arg-type]
    return np.stack([inside(t) for t in times])


def _size(weights: Numbers, features: Numbers) -> float:
    return float(np.linalg.norm(weights) + np.linalg.norm(features))
