"""Numerical differentiation formulas of orders 1 to 5 in backward differences on an equidistant grid.

With D_j the j-th backward difference at the last point and d = y - sum_{j=0}^{k} D_j the correction of the
predicted value, formula k is

    (1 - kappa_k) gamma_k d + sum_{j=1}^{k} gamma_j D_j = h y'(y),   gamma_j = 1 + 1/2 + ... + 1/j,

with local error (kappa_k gamma_k + 1/(k+1)) d; kappa = 0 gives BDF. Orders 1 to 4 use the values of Shampine
and Reichelt, "The MATLAB ODE suite", SIAM J. Sci. Comput. 18 (1997), Table 1. They keep BDF5 because of its
small sector of stability, but the spectrum of a gradient flow is real: on the negative real axis all roots of
order 5 with kappa = -0.0415 stay below one, and its error constant is less than half of that of BDF5.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats

HIGHEST_ORDER = 5
GAMMA = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, HIGHEST_ORDER + 1))])

Differences = Float64[Floats, "k D"]


@dataclass(frozen=True, eq=False)
class Family:
    """The formulas of all orders for one choice of kappa.

    Attributes:
        kappa: kappa_k, entry k for order k as in all of these.
        further: whether the predicted value takes in D_{k+1} too, and the error the next term of its series.
    """

    kappa: Float64[Floats, " K"]
    further: bool = False

    @cached_property
    def leading(self) -> Float64[Floats, " K"]:
        """(1 - kappa_k) gamma_k, the share of d in h y'."""
        leading: Floats = (1 - self.kappa) * GAMMA
        return leading

    @cached_property
    def error(self) -> Float64[Floats, " K"]:
        """Error constants."""
        error: Floats = self.kappa * GAMMA + 1 / np.arange(1, HIGHEST_ORDER + 2)
        return error

    @cached_property
    def leads(self) -> list[float]:
        """`leading` as plain numbers."""
        numbers: list[float] = self.leading.tolist()
        return numbers

    @cached_property
    def errs(self) -> list[float]:
        """`error` as plain numbers."""
        numbers: list[float] = self.error.tolist()
        return numbers

    @cached_property
    def predict(self) -> tuple[Float64[Floats, "2 K"], ...]:
        """Rows of entry k: the predicted value, and what formula k knows of h y' there, of D_0 .. D_k, or D_{k+1} too."""
        known = [GAMMA[: k + 1] for k in range(HIGHEST_ORDER + 1)]
        if self.further:
            known = [np.append(part, leading) for part, leading in zip(known, self.leading, strict=True)]
        return tuple(np.stack([np.ones(len(part)), part]) for part in known)


PLAIN = Family(np.array([0.0, -0.1850, -1 / 9, -0.0823, -0.0415, -0.0415]))
# Steps that are even in log time keep their size for so long that one more difference predicts better.
EVEN = Family(PLAIN.kappa, further=True)
LEADING, ERROR = PLAIN.leading, PLAIN.error
PREDICT = PLAIN.predict


def _newton_basis(order: int, ratio: float) -> Float64[Floats, "k k"]:
    """Entry (i, j): the coefficient of D_i in the interpolating polynomial at -j ratio h."""
    i, j = np.arange(1, order + 1)[:, None], np.arange(1, order + 1)
    table = np.zeros((order + 1, order + 1))
    table[1:, 1:] = (i - 1 - ratio * j) / i
    table[0] = 1
    return np.cumprod(table, axis=0)


_unit_basis = cache(_newton_basis)


def change_step(D: Differences, ratio: float) -> Differences:
    """Backward differences D_0 .. D_k of the same polynomial on the grid of step ratio h."""
    order = len(D) - 1
    return (_newton_basis(order, ratio) @ _unit_basis(order, 1.0)).T @ D


def in_time(D: Differences, h: float, pace: float) -> tuple[Differences, float]:
    """Backward differences of the same polynomial in time, and their step, of those in s, the logarithm of time.

    Args:
        D: differences D_0 .. D_k in s.
        h: their step.
        pace: dt/ds at the last point, where it is the time on the logarithm.
    """
    k = len(D) - 1
    if k == 0:
        return D.copy(), h * pace
    # The earliest point is that of D: what a polynomial says before it is worth less.
    share = -math.expm1(-k * h) / k
    values = interpolation(k, np.log1p(-share * np.arange(k + 1)) / h)
    return _unit_differences(k) @ values @ D, share * pace


@cache
def _unit_differences(k: int) -> Float64[Floats, "k k"]:
    """Row j: the j-th backward difference of values at 0, -1, -2, ..."""
    rows = [[(-1) ** i * math.comb(j, i) for i in range(k + 1)] for j in range(k + 1)]
    return np.array(rows, dtype=np.float64)


def evaluate(D: Differences, shift: float) -> Float64[Floats, " D"]:
    """The polynomial through the last k + 1 points at t_last + shift h."""
    value: Floats = (interpolation(len(D) - 1, np.array([shift])) @ D)[0]
    return value


def interpolation(order: int, shifts: Float64[np.ndarray, " T"]) -> Float64[np.ndarray, "T k"]:
    """Shares of D_0 .. D_k in the polynomial's values at t_last + shift h, a row for each shift."""
    j = np.arange(order)
    factors = np.ones((len(shifts), order + 1))
    factors[:, 1:] = (shifts[:, None] + j) / (j + 1)
    return np.cumprod(factors, axis=1)
