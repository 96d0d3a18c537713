"""Products of large matrices on all cores: each core multiplies its own rows, with one BLAS thread.

BLAS threads of their own spin while they wait; on a machine that others use too they made a run five times
slower where this costs nothing. The sizes were measured on two cores.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from multiprocessing import parent_process

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats

# Multiply-adds in a product that are worth handing over: about 0.8 ms on one core.
WORTH_SPLITTING = 2e7
# Up to this size matrices are inverted in one piece.
SMALLEST_HALVED = 40


Stack = Float64[np.ndarray, "*several N N"]


def multiply(a: Floats, b: Floats, out: Floats | None = None) -> Floats:
    """The product a b of two matrices, by rows of a on several cores when it is large."""
    if a.shape[0] * a.shape[1] * b.shape[1] < WORTH_SPLITTING or _cores() == 1:
        return np.matmul(a, b, out=out)
    if out is None:
        out = np.empty((a.shape[0], b.shape[1]), np.result_type(a, b))
    cuts = np.linspace(0, a.shape[0], _cores() + 1).astype(int).tolist()
    rows = [slice(*pair) for pair in pairwise(cuts[1:])]
    others = [_pool().submit(np.matmul, a[part], b, out=out[part]) for part in rows]
    np.matmul(a[: cuts[1]], b, out=out[: cuts[1]])
    for other in others:
        other.result()
    return out


def multiplier(work: int) -> Callable[..., Floats]:
    """`multiply`, or numpy's own product where none has as many multiply-adds as are worth splitting."""
    return np.matmul if work < WORTH_SPLITTING else multiply


def concurrently(function: Callable[[Floats], Floats], items: Floats) -> list[Floats]:
    """Values of a function whose work is in LAPACK, on all cores."""
    return [function(item) for item in items] if _cores() == 1 else list(_pool().map(function, items))


def definite_inverse(A: Stack) -> Stack:
    """Inverses of symmetric positive definite matrices by halves, which makes products of nearly all of the work.

    LAPACK's general inverse takes twice as long for N = 65 and six times as long for N = 256.
    """
    N = A.shape[-1]
    if N <= SMALLEST_HALVED:
        inverse: Stack = np.linalg.inv(A)
        return inverse
    h = N // 2
    first = definite_inverse(A[..., :h, :h])
    across = first @ A[..., :h, h:]
    last = definite_inverse(A[..., h:, h:] - A[..., h:, :h] @ across)
    out = np.empty_like(A)
    corner, out[..., h:, h:] = across @ last, last
    np.negative(corner, out=out[..., :h, h:])
    out[..., h:, :h] = out[..., :h, h:].swapaxes(-1, -2)
    np.add(first, corner @ across.swapaxes(-1, -2), out=out[..., :h, :h])
    return out


@cache
def _cores() -> int:
    """Cores to use; one in a worker process, whose pool has given every core a worker already."""
    if parent_process() is not None:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_cores(), thread_name_prefix="ntkflow-products")
