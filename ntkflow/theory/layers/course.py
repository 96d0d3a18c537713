"""The time course of aligned balanced layers: one contrast, one equation, its time in closed form (theory 18.6)."""

import math

import numpy as np

from ntkflow.errors import InputError
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.theory.layers.limits import collapse_x
from ntkflow.theory.limits import eigenvalues


def pace(sizes: Sizes, kernel: BlockKernel, L: int) -> float:
    """k of dp/dt = k p^{2L/(L+1)} (1 - p): (L + 1) m^{L/(L+1)} mu_class^{1/(L+1)}. Source: Saxe et al. 2013; theory 18.6."""
    return float(
        (L + 1) * sizes.per_class ** (L / (L + 1)) * eigenvalues(sizes, kernel).mu_class ** (1 / (L + 1))
    )


def time_between(sizes: Sizes, kernel: BlockKernel, L: int, s0: float, s1: float) -> float:
    """Time in which every contrast's singular value grows from s0 to s1 in all layers, 0 < s0 <= s1 < s* = sqrt(x).

    Raises:
        InputError: the sizes are not in this order.
    """
    star = math.sqrt(collapse_x(sizes, kernel, L))
    if not 0 < s0 <= s1 < star:
        raise InputError(
            "s", (s0, s1), f"must rise from above 0 to below s* = {star:.6g}", "give 0 < s0 <= s1 < s*"
        )
    return _clock(L, s0 / star, s1 / star) / pace(sizes, kernel, L)


def fit_time(sizes: Sizes, kernel: BlockKernel, L: int, s0: float, p: float = 0.5) -> float:
    """Time at which W H[L] on the contrasts has come to p, from the singular value s0 in all layers."""
    return time_between(sizes, kernel, L, s0, math.sqrt(collapse_x(sizes, kernel, L)) * p ** (1 / (L + 1)))


def _clock(L: int, v0: float, v1: float) -> float:
    """k t between v = s/s* of (L + 1) dv = k v^L (1 - v^{L+1}) dt."""
    if L in _FORMS:
        return _FORMS[L](v1) - _FORMS[L](v0)
    from scipy.integrate import quad

    # In v^{1-L} the long plateau is an interval of moderate slope.
    def slope(u: float) -> float:
        return (L + 1) / (L - 1) / (1 - math.pow(u, -(L + 1) / (L - 1)))

    return float(quad(slope, v1 ** (1 - L), v0 ** (1 - L), limit=400, epsabs=0, epsrel=1e-11)[0])


def _two(v: float) -> float:
    return (
        -3 / v
        - math.log(1 - v)
        + math.log(1 + v + v * v) / 2
        - math.sqrt(3) * math.atan((2 * v + 1) / math.sqrt(3))
    )


def _one(v: float) -> float:
    return math.log(v * v / (1 - v * v))


def _three(v: float) -> float:
    return -2 / v**2 + math.log((1 + v * v) / (1 - v * v))


# Antiderivatives of (L + 1)/(v^L (1 - v^{L+1})); from four layers on by quadrature.
_FORMS = {1: _one, 2: _two, 3: _three}


def alignment_law(s0: float, s_x: float, L: int) -> float:
    """t_align/t_fit -> 1 - (s0/s_x)^{L-1} for small starts: the kernel aligns before the loss has moved, for L >= 2.

    Args:
        s0: singular value at the start.
        s_x: the value at which the alignment passes the threshold; a constant times s0.
        L: number of layers.
    """
    return 1 - float(np.float64(s0 / s_x) ** (L - 1))
