"""Reference solutions in extended precision: Taylor series of the raw flow, whose field is a polynomial.

With H = sum_k H_k s^k around a time, and W, b, R alike, eqs. (16) and (19) become recurrences,

    R_k = sum_i W_i H_{k-i} + b_k 1^T - [k = 0] Y,
    (k+1) H_{k+1} = -(sum_i W_i^T R_{k-i}) K,   (k+1) W_{k+1} = -sum_i R_i H_{k-i}^T,   (k+1) b_{k+1} = -R_k 1

(not in the paper). Nothing is shared with the engines: another method, the N x N kernel, another precision. Explicit,
so the cost grows with the stiffness; meant to judge other results, not to replace them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkflow import checks
from ntkflow._types import Times
from ntkflow.errors import InputError
from ntkflow.problem import Problem

# Arrays of any floating-point type.
Array = Any
ORDER = 24
SAFETY = 0.8
# Targets are 1: what is smaller than this is resolved to this share of rounding only.
SMALL = 1e-3
EXTENDED = np.longdouble
RUNGS = ("block", "class-block", "sample")


@dataclass(frozen=True, eq=False)
class Extended:
    """A state (H, W, b) in the precision of the integration.

    Attributes:
        H: features, n x N.
        W: weights, C x n.
        b: biases, (C,).
    """

    H: Array
    W: Array
    b: Array


def integrate(
    problem: Problem, times: Sequence[float] | Times, order: int = ORDER, dtype: Any = EXTENDED
) -> list[Extended]:
    """States at `times`, as exact as the floating-point type allows.

    Args:
        problem: squared error, no decay, a constant kernel between samples.
        times: increasing, positive, in units of the sum loss (4).
        order: of the series; results of two orders agree to the error of both.
        dtype: floating-point type; numpy's long double has 64 bits of mantissa on x86.

    Raises:
        InputError: another kind of problem, or times that do not increase from 0.
    """
    if not problem.plain or problem.kernel.rung not in RUNGS:
        what = f"{problem.kernel.rung} kernel, {problem.loss.name} loss, decay {problem.decay.rates}"
        raise InputError("problem", what, "must be the plain flow of a kernel between samples", "simplify it")
    grid = checks.times("times", times)
    if not grid[0] > 0:
        raise InputError("times", grid[:4], "must be positive and increase", "sort them and drop repeats")
    # Column s of K is the kernel's action on the unit vector of sample s.
    K = problem.kernel.apply(np.eye(problem.sizes.N), problem.sizes).astype(dtype)
    Y = np.repeat(np.eye(problem.sizes.C, dtype=dtype), problem.sizes.counts, axis=1)
    start = problem.state
    H, W, b = (np.asarray(part, dtype=dtype) for part in (start.H, start.W, start.b))
    out, t = [], dtype(0)
    for stop in grid.astype(dtype):
        while t < stop:
            series = _series(H, W, b, K, Y, order)
            h = min(_step(series), stop - t)
            H, W, b = (_value(part, h) for part in series)
            t = stop if h == stop - t else t + h
        out.append(Extended(H, W, b))
    return out


def _series(H: Array, W: Array, b: Array, K: Array, Y: Array, order: int) -> tuple[Array, Array, Array]:
    """Taylor coefficients of H, W and b, stacked."""
    Hs, Ws, bs, Rs = (np.zeros((order + 1, *x.shape), x.dtype) for x in (H, W, b, Y))
    Hs[0], Ws[0], bs[0] = H, W, b
    for k in range(order):
        past, back = slice(0, k + 1), slice(k, None, -1)
        Rs[k] = _convolved(Ws[past], Hs[back]) + bs[k][:, None]
        if k == 0:
            Rs[0] -= Y
        Hs[k + 1] = _product(_convolved(Ws[past].transpose(0, 2, 1), Rs[back]), K) / -(k + 1)
        Ws[k + 1] = _convolved(Rs[past], Hs[back].transpose(0, 2, 1)) / -(k + 1)
        bs[k + 1] = Rs[k].sum(axis=1) / -(k + 1)
    return Hs, Ws, bs


def _convolved(left: Array, right: Array) -> Array:
    """Sum of left[i] right[i] over i, as one product."""
    wide = left.transpose(1, 0, 2).reshape(left.shape[1], -1)
    return _product(wide, right.reshape(-1, right.shape[2]))


def _product(left: Array, right: Array) -> Array:
    # There is no BLAS beyond double precision, and einsum is several times faster than matmul.
    return np.einsum("ij,jk->ik", left, right)


def _step(series: tuple[Array, ...]) -> Array:
    """A step whose last two terms are below rounding, for each of H, W and b beside its own size or `SMALL`."""
    steps = []
    for part in series:
        size = max(_norm(part[0]), part.dtype.type(SMALL))
        for k in (len(part) - 1, len(part) - 2):
            if (term := _norm(part[k])) > 0:
                steps.append(SAFETY * (np.finfo(part.dtype).eps * size / term) ** (part.dtype.type(1) / k))
    return min(steps) if steps else np.inf


def _value(coefficients: Array, h: Array) -> Array:
    total = coefficients[-1]
    for term in coefficients[-2::-1]:
        total = total * h + term
    return total


def _norm(x: Array) -> Array:
    return np.sqrt(np.sum(x * x))
