"""Sizes taken out of arrays before anything is squared, so that 1e-150 and 1e150 are measured like 1."""

import numpy as np

from ntkflow._types import Floats


def unit(A: Floats) -> tuple[Floats, float]:
    """A / size and size, the power of two below the largest entry; 1 when all are zero or one is not finite."""
    largest = float(np.abs(A).max(initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return A, 1.0
    # Powers of two change no digit.
    size = 2.0 ** (int(np.frexp(largest)[1]) - 1)
    return A / size, size


def units(A: Floats) -> tuple[Floats, Floats]:
    """The same row by row: rows / sizes and the sizes, one a row."""
    parts = [unit(row) for row in A]
    return np.array([row for row, _ in parts]).reshape(A.shape), np.array([size for _, size in parts])


def deviation(A: Floats, axis: int | None = None, ddof: int = 0) -> Floats:
    """Standard deviation of the entries, in which no square overflows or vanishes."""
    A, size = unit(A)
    return np.asarray(size * A.std(axis=axis, ddof=ddof))


def cosine(A: Floats, B: Floats) -> float:
    """<A, B> / (|A| |B|) of two arrays, NaN when one is zero."""
    (A, _), (B, _) = unit(A), unit(B)
    norms = float(np.linalg.norm(A) * np.linalg.norm(B))
    return float(np.vdot(A, B)) / norms if norms else float("nan")
