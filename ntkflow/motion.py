"""The law of E's motion, integrated with a run: over every accepted step, on the engine's own interpolant.

Where decay or a moving kernel pulls on it, E obeys (theory 11.1, 11.2)
    m dE/dt = -2 lw W^T W + 2 lh H K^{-1} H^T + H K^{-1} K' K^{-1} H^T.
The integral of the right-hand side is as good as the run: a quadrature over its saved points would be as bad as they are
far apart.
"""

import math
from dataclasses import dataclass

import numpy as np

from ntkflow._types import Vector
from ntkflow.conserved import conserved
from ntkflow.engines.base import Interpolant
from ntkflow.kernels import ScheduledKernel
from ntkflow.moving_terms import Terms
from ntkflow.problem import Problem
from ntkflow.systems import Flow

# Gauss-Legendre nodes of one panel, along which no eigenvalue of the kernel changes by more than GROWTH. With eight
# nodes the pole of 1/d leaves 1e-12 of a term, and the squares of interpolants of degree seven are exact.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
GROWTH = 2.0


@dataclass(frozen=True)
class LawCheck:
    """How a run kept the law by which E moves.

    Attributes:
        error: largest gap between E and the law, relative to E's terms.
        motion: largest |E(t) - E(0)|, relative to E's terms: what there was to explain.
        tolerance: the error that integration and rounding may leave; more is a fault.
        neglected: what the leading order of a law of steps leaves out, relative to E's terms; None where there is none.
    """

    error: float
    motion: float
    tolerance: float
    neglected: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the law, which is exact, does not hold."""
        return not self.error <= self.tolerance


def moves(problem: Problem) -> bool:
    """Whether E moves along the problem's flow: decay of W or H, or a kernel that moves."""
    return problem.decay.moves_E or isinstance(problem.kernel, ScheduledKernel)


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
        kernel, sizes = problem.kernel, problem.sizes
        on_features = bool(kernel.feature_matrices(sizes))
        self._project = conserved(kernel, sizes).symmetries.project if on_features else np.ravel
        self._terms = self._between(0.0, 0.0)
        weights, features = self._look(0.0, flow.start())
        self._first = weights - features
        self._integral = np.zeros_like(self._first)
        self._gap = self._moved = 0.0
        self._scale = _size(weights, features)

    def step(self, begin: float, end: float, span: tuple[float, float], inside: Interpolant, y: Vector) -> None:
        """One accepted step, in an interval without knots inside.

        Args:
            begin: where the interval begins.
            end: where it ends.
            span: first and last time of the step, in a clock that starts at `begin`.
            inside: the interpolant in that clock.
            y: the packed state after the step.
        """
        if (begin, end) != self._interval:
            self._terms = self._between(begin, end)
        width = end - begin
        s, t = span[0] / width, span[1] / width
        self.t = begin + span[1]
        if not self._exponential:
            for a, b in self._terms.panels(s, t, GROWTH):
                self._integral += width * (b - a) / 2 * self._panel(a, b, width, inside)
        self._compare(*self._look(t, y))

    @property
    def check(self) -> LawCheck:
        """How the law was kept so far."""
        scale = self._scale if self._scale > 0 else 1.0
        return LawCheck(self._gap / scale, self._moved / scale, tolerance(self.problem, self.rtol))

    @property
    def _exponential(self) -> bool:
        """Whether E(t) = exp(-2 l t) E(0): nothing needs to be integrated."""
        decay = self.problem.decay
        return decay.W == decay.H and not isinstance(self.problem.kernel, ScheduledKernel)

    def _between(self, begin: float, end: float) -> Terms:
        self._interval = begin, end
        kernel, sizes = self.problem.kernel, self.problem.sizes
        return Terms(self.flow, sizes, kernel.at(begin), kernel.at(end))

    def _panel(self, a: float, b: float, width: float, inside: Interpolant) -> Vector:
        """Twice the mean of the right-hand side from a to b."""
        lw, lh, _ = self.problem.decay.rates
        s = a + (b - a) * (1 + NODES) / 2
        y = np.stack([inside(x * width) for x in s])
        total = self._terms.features(y, s, 2 * lh * WEIGHTS, WEIGHTS / width)
        if lw:
            total = total - 2 * lw * self._terms.weights(y, WEIGHTS)
        return self._project(total)

    def _look(self, s: float, y: Vector) -> tuple[Vector, Vector]:
        """The two terms of E."""
        one, state = np.ones(1), y[None]
        weights = self._terms.weights(state, one)
        features = self._terms.features(state, np.array([s]), one)
        return self._project(weights), self._project(features)

    def _compare(self, weights: Vector, features: Vector) -> None:
        now = weights - features
        law = self._first + self._integral
        if self._exponential:
            law = math.exp(-2 * self.problem.decay.W * self.t) * self._first
        self._gap = max(self._gap, float(np.linalg.norm(now - law)))
        self._moved = max(self._moved, float(np.linalg.norm(now - self._first)))
        self._scale = max(self._scale, _size(weights, features))


def _size(weights: Vector, features: Vector) -> float:
    return float(np.linalg.norm(weights) + np.linalg.norm(features))


def tolerance(problem: Problem, rtol: float) -> float:
    """The error of an exact law that an integration at `rtol` may leave."""
    del problem
    return max(10 * rtol, 1e-11)
