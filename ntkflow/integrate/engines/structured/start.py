"""The history with which an integration begins at a high order: the Taylor series of the solution, continued backwards.

The field is a polynomial, so that the coefficients follow one from the other. In s = ln(1 + t/unit), with z = sum z_k s^k
and f(z) = sum f_k s^k, (k + 1) z_{k+1} = unit sum_j f_j / (k - j)!. Differences of the series at 0, -h, -2h, ... are what
an integration that came from there would bring, and an order is had without the many small steps that climbing to it takes.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats
from ntkflow.integrate.engines.structured.coordinates import Coordinates, Flat

# Terms of the series after the first, and what it may be off by at the earliest point that is made of it, in tolerances.
TERMS, ERROR = 8, 0.1

Coefficients = Float64[np.ndarray, "k F"]


def series(coordinates: Coordinates, z: Flat, unit: float, count: int = TERMS) -> Coefficients:
    """Taylor coefficients 0 to `count` of the solution in s, for a kernel at rest.

    Args:
        coordinates: the system's constants.
        z: flat vector at s = 0.
        unit: of the time that s is the logarithm of.
        count: the last order.
    """
    n, (lw, lh, lb) = coordinates.n, coordinates.decay
    found = np.zeros((count + 1, z.size))
    slopes = np.zeros((count, z.size))
    found[0] = z
    pairs = [coordinates.blocks(row) for row in found]
    residuals: list[Floats] = []
    for k in range(count):
        (B, A), (dB, dA) = pairs[k], coordinates.blocks(slopes[k])
        P = sum((pairs[i][1] @ pairs[k - i][0] for i in range(1, k + 1)), pairs[0][1] @ B)
        residuals.append(coordinates.T - P if k == 0 else -P)
        for i, R in enumerate(residuals):
            B_i, A_i = pairs[k - i]
            dA += R @ B_i.T
            dB[:n] += A_i[:, :n].T @ (R * coordinates.d)
        if any(coordinates.decay):
            dB[:n] -= lh * B[:n]
            dA[:, :n] -= lw * A[:, :n]
            dA[:, n] -= lb * A[:, n]
        shares = np.array([unit / math.factorial(k - j) / (k + 1) for j in range(k + 1)])
        np.matmul(shares, slopes[: k + 1], out=found[k + 1])
    return found


def longest(
    coefficients: Coefficients, k: int, constant: float, safety: float, norm: Callable[[Flat], float]
) -> float:
    """The longest step with which order k may begin; 0 where none is.

    Args:
        coefficients: the series, as far as it goes.
        k: the order.
        constant: its error constant.
        safety: share of the step by the formula's error, of k + 1 backward differences.
        norm: size of a difference of states, 1 being the tolerance.
    """
    last = len(coefficients) - 1
    error = constant * math.factorial(k + 1) * norm(coefficients[k + 1])
    # The earliest point is k + 1 steps back, where the series leaves out most.
    rest = norm(coefficients[last]) * (k + 1) ** last
    if not (0 < error < math.inf and 0 < rest < math.inf):
        return 0.0
    return float(min(safety * error ** (-1 / (k + 1)), (ERROR / rest) ** (1 / last)))


def differences(coefficients: Coefficients, h: float, rows: int) -> Float64[np.ndarray, "r F"]:
    """Backward differences of orders 0 to `rows` - 1 of the series at 0, on a grid of step h."""
    powers = h ** np.arange(len(coefficients))
    result: Floats = (_of_powers(len(coefficients))[:rows] * powers) @ coefficients
    return result


@cache
def _of_powers(count: int) -> Float64[Floats, "k k"]:
    """Entry (j, m): the j-th backward difference of s^m at 0 on the grid of step 1."""
    entries = [
        [sum((-1) ** i * math.comb(j, i) * (-i) ** m for i in range(j + 1)) for m in range(count)]
        for j in range(count)
    ]
    return np.array(entries, dtype=np.float64)
