"""The exact law of Q_1 .. Q_L along a run, by quadrature over the engine's own steps (theory 18.3)."""

import math
from collections.abc import Callable

import numpy as np

from ntkflow._types import Floats, Vector
from ntkflow.dynamics.layers import LayeredFlow

NODES, SHARES = np.polynomial.legendre.leggauss(5)


class LawOfLayers:
    """Q_l(0) plus the integral of dQ_l = -2 l_{l+1} V_{l+1}^T V_{l+1} + 2 l_l V_l V_l^T + 2 l_c c_l c_l^T, step by step.

    Without decay nothing is added and Q_l stays put, for any loss; where all rates l are one, Q_l falls as e^{-2 l t}.

    Attributes:
        one: that one rate, 0 without decay; None where rates differ.
        moves: whether anything is to be added.
    """

    def __init__(self, flow: LayeredFlow) -> None:
        self.flow = flow
        self.start = flow.invariants(flow.start)
        self.expected = [Q.copy() for Q in self.start]
        decay, L = flow.problem.decay, flow.problem.L
        self.rates, self.biases = decay.rates(L), decay.c
        self.sizes = [0.0] * L
        rates = {*self.rates, *((decay.c,) if flow.problem.state.c else ())}
        self.one = rates.pop() if len(rates) == 1 else None
        self.moves = self.one != 0

    def at(self, t: float) -> None:
        """Be where the flow is at time t, if all rates are one."""
        assert self.one is not None
        self.expected = [math.exp(-2 * self.one * t) * Q for Q in self.start]

    def advance(self, begin: float, end: float, inside: Callable[[float], Vector]) -> None:
        """Add what a step from `begin` to `end` does, the states of which `inside` gives."""
        for node, share in zip(NODES, SHARES, strict=True):
            t = begin + (end - begin) * (1 + node) / 2
            for Q, slope in zip(self.expected, self._slopes(inside(t)), strict=True):
                Q += share * (end - begin) / 2 * slope

    def step(self, y: Vector, by: Vector, eta: float) -> None:
        """Add what the step y + eta `by` does: eta times the slope and eta^2 the grams of `by`, exactly (theory 18.3)."""
        for l, (above, own, biases) in enumerate(zip(*self.flow.grams(by), strict=True)):
            self.expected[l] += eta**2 * (above - own - biases)
        for Q, slope in zip(self.expected, self._slopes(y), strict=True):
            Q += eta * slope

    def gaps(self, y: Vector) -> list[float]:
        """How far each Q_l is from its law, relative to the largest that its terms have been: decay may take all to zero."""
        above, own, biases = self.flow.grams(y)
        found = []
        for l, (a, o, c, Q) in enumerate(zip(above, own, biases, self.expected, strict=True)):
            self.sizes[l] = max(
                self.sizes[l], float(np.linalg.norm(a) + np.linalg.norm(o) + np.linalg.norm(c))
            )
            gap = float(np.linalg.norm(a - o - c - Q))
            found.append(gap / self.sizes[l] if self.sizes[l] else gap)
        return found

    def _slopes(self, y: Vector) -> list[Floats]:
        above, own, biases = self.flow.grams(y)
        return [
            2 * (self.rates[l] * own[l] - self.rates[l + 1] * above[l] + self.biases * biases[l])
            for l in range(len(own))
        ]
