"""The exact law of Q_1 .. Q_L along a run, by quadrature over the engine's own steps (theory 18.3)."""

from collections.abc import Callable

import numpy as np

from ntkflow._types import Floats, Vector
from ntkflow.dynamics.layers import LayeredFlow

NODES, SHARES = np.polynomial.legendre.leggauss(5)


class LawOfLayers:
    """Q_l(0) plus the integral of dQ_l = -2 l_{l+1} V_{l+1}^T V_{l+1} + 2 l_l V_l V_l^T + 2 l_c c_l c_l^T, step by step.

    Without decay nothing is added and Q_l stays put, for any loss.
    """

    def __init__(self, flow: LayeredFlow) -> None:
        self.flow = flow
        self.expected = flow.invariants(flow.start)
        decay, L = flow.problem.decay, flow.problem.L
        self.rates, self.biases = decay.rates(L), decay.c
        self.sizes = [0.0] * L
        self.moves = any(self.rates) or decay.c > 0

    def advance(self, begin: float, end: float, inside: Callable[[float], Vector]) -> None:
        """Add what a step from `begin` to `end` does, the states of which `inside` gives."""
        for node, share in zip(NODES, SHARES, strict=True):
            t = begin + (end - begin) * (1 + node) / 2
            for Q, slope in zip(self.expected, self._slopes(inside(t)), strict=True):
                Q += share * (end - begin) / 2 * slope

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
