"""Decay on L linear layers: what survives, what is lost, what is the global minimum (squared error; theory 18.8)."""

import math
from dataclasses import dataclass

import numpy as np

from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.sizes import Sizes
from ntkflow.theory.layers.limits import collapse_x


@dataclass(frozen=True)
class DecayedLayers:
    """What decay of all layers decides.

    Attributes:
        rate: lb, the geometric mean of l_1 .. l_L, l_W.
        saddle_node: lb_sn, from which on no contrast can stay fitted; sqrt(m mu_class) for L = 1.
        global_minimum: lb_1, below which collapse is the global minimum, and zero above.
        p_high: share of the labels that a surviving contrast fits, the stable root; None from lb_sn on.
        p_low: the unstable root below which a contrast dies; None from lb_sn on, 0 for L = 1.
        barrier: s_-, the size in all layers below which aligned balanced contrasts die.
        X: eigenvalue of W W^T on a surviving contrast.
    """

    rate: float
    saddle_node: float
    global_minimum: float
    p_high: float | None
    p_low: float | None
    barrier: float | None
    X: float | None

    @property
    def verdict(self) -> str:
        """collapse, metastable or dead: whether NC is the global minimum, a local one, or none at all."""
        if self.p_high is None:
            return "dead"
        return "collapse" if self.rate < self.global_minimum else "metastable"

    @property
    def sentence(self) -> str:
        """What follows, in words."""
        if self.p_high is None:
            return (
                f"no contrast stays fitted: the geometric mean of the rates, {self.rate:.4g}, is above {self.saddle_node:.4g}; "
                "all layers go to zero"
            )
        small = (
            ""
            if not self.barrier
            else f"; contrasts that start below s = {self.barrier:.4g} in all layers die, each by itself"
        )
        if self.verdict == "collapse":
            return (
                f"NC1-NC3 is the global minimum, since {self.rate:.4g} is below {self.global_minimum:.4g}: every contrast is "
                f"fitted to {self.p_high:.4g}{small}"
            )
        return (
            f"NC1-NC3 is a local minimum only, since {self.rate:.4g} is above {self.global_minimum:.4g} and below "
            f"{self.saddle_node:.4g}, and zero is the global one{small}"
        )


def thresholds(sizes: Sizes, kernel: BlockKernel, L: int) -> tuple[float, float]:
    """lb_sn = (m/x) ((L-1)/(2L))^{(L-1)/(L+1)} (L+1)/(2L) and lb_1 = (m/x) ((L-1)/L)^{(L-1)/(L+1)}/L."""
    unit = sizes.per_class / collapse_x(sizes, kernel, L)
    power = (L - 1) / (L + 1)
    return (
        float(unit * ((L - 1) / (2 * L)) ** power * (L + 1) / (2 * L)),
        float(unit * ((L - 1) / L) ** power / L),
    )


def decayed(problem: LayeredProblem) -> DecayedLayers | None:
    """What decay decides; None without scalar blocks or squared error, without decay of every layer, or with biases of layers.

    Every trajectory converges; at every critical point H2[l] = 0, g = 0, b = 1/C and W H1 = sum p_i u_i u_i^T, with p_i = 0 or a
    root of m p^{(L-1)/(L+1)} (1 - p) = lb x. NC1 always; NC3 if the nonzero p_i are equal, NC2 if all are.
    """
    kernel, sizes, L = problem.equal_blocks, problem.sizes, problem.L
    rates = problem.decay.rates(L)
    if (
        kernel is None
        or not problem.squared_error
        or min(rates) <= 0
        or problem.decay.b > 0
        or problem.state.c
    ):
        return None
    rate = float(np.exp(np.mean(np.log(rates))))
    node, least = thresholds(sizes, kernel, L)
    m, x = sizes.per_class, collapse_x(sizes, kernel, L)
    if L == 1:
        # The whole fitted branch: p falls to 0 at lb_1 without a jump.
        p = 1 - rate * x / m
        alive = p > 0
        return DecayedLayers(
            rate, least, least, p if alive else None, 0.0 if alive else None, None,
            m * p * (1 - p) / rates[-1] if alive else None,
        )  # fmt: skip
    if rate >= node:
        return DecayedLayers(rate, node, least, None, None, None, None)
    top, power = (L - 1) / (2 * L), (L - 1) / (L + 1)
    low, high = (_root(ends, power, rate * x / m) for ends in ((0.0, top), (1.0, top)))
    barrier = math.sqrt(x) * low ** (1 / (L + 1))
    return DecayedLayers(rate, node, least, high, low, barrier, m * high * (1 - high) / rates[-1])


def _root(ends: tuple[float, float], power: float, value: float) -> float:
    """p between the ends with p^power (1 - p) = value, by halving: monotone from the first end, where it is 0, to the top."""
    zero, top = ends
    for _ in range(200):
        middle = (zero + top) / 2
        if middle**power * (1 - middle) < value:
            zero = middle
        else:
            top = middle
    return (zero + top) / 2
