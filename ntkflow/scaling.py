"""Sizes taken out of arrays before anything is squared, so that 1e-150 and 1e150 are measured like 1."""

import math

import numpy as np

from ntkflow._types import Floats


def frobenius(A: Floats) -> float:
    """|A|_F, for small arrays three times as fast as numpy's."""
    return math.sqrt(np.vdot(A, A))


def frobenii(A: Floats) -> Floats:
    """`frobenius` of every matrix of a stack."""
    result: Floats = np.sqrt(np.einsum("tij,tij->t", A, A))
    return result


def unit(A: Floats) -> tuple[Floats, float]:
    """A / size and size, the power of two below the largest entry; 1 when all are zero or one is not finite."""
    largest = float(np.abs(A).max(initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return A, 1.0
    # Powers of two change no digit.
    size = 2.0 ** (int(np.frexp(largest)[1]) - 1)
    return A / size, size


def units(A: Floats) -> tuple[Floats, Floats]:
    """The same row by row, or matrix by matrix of a stack: rows / sizes and the sizes, one a row."""
    largest = np.abs(A).reshape(len(A), -1).max(axis=1, initial=0.0)
    usual = (largest > 0) & np.isfinite(largest)
    # Powers of two change no digit.
    sizes = np.where(usual, np.ldexp(1.0, np.frexp(np.where(usual, largest, 1.0))[1] - 1), 1.0)
    return A / sizes.reshape(-1, *(A.ndim - 1) * [1]), sizes


def deviation(A: Floats, axis: int | None = None, ddof: int = 0) -> Floats:
    """Standard deviation of the entries, in which no square overflows or vanishes."""
    A, size = unit(A)
    return np.asarray(size * A.std(axis=axis, ddof=ddof))


def cosine(A: Floats, B: Floats) -> float:
    """<A, B> / (|A| |B|) of two arrays, NaN when one is zero."""
    (A, _), (B, _) = unit(A), unit(B)
    norms = float(np.linalg.norm(A) * np.linalg.norm(B))
    return float(np.vdot(A, B)) / norms if norms else float("nan")


def cosines(A: Floats, B: Floats) -> Floats:
    """`cosine` of every two matrices of two stacks."""
    (A, _), (B, _) = units(A), units(B)
    norms = frobenii(A) * frobenii(B)
    products = np.einsum("tij,tij->t", A, B)
    result: Floats = np.divide(products, norms, out=np.full(len(A), np.nan), where=norms > 0)
    return result
