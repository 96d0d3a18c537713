"""The geometric mean of two matrices, which gives the class means at collapse (theory 5.2)."""

import numpy as np

from ntkflow._types import ClassMatrix, Floats
from ntkflow.errors import InputError
from ntkflow.problem.kernels import checks

# Relative size below which an eigenvalue counts as negative only by rounding, and two subspaces as touching.
SAME = 1e-10
# Eigenvalues below this fraction of the largest, in units of machine epsilon times the dimension, are rounding. The mean
# has their square roots: whatever is cut off, or left in by mistake, is an error of the root of this.
RANK = 4.0


def geometric_mean(A: ClassMatrix, B: ClassMatrix) -> ClassMatrix:
    """A # B = A^{1/2} (A^{-1/2} B A^{-1/2})^{1/2} A^{1/2}, the X >= 0 with X A^{-1} X = B.

    Singular arguments are allowed: A # B is then the limit of (A + s I) # (B + s I) as s falls to 0, the
    geometric mean of the Schur complements of A and B on the intersection of their ranges.

    Args:
        A: symmetric positive semidefinite.
        B: the same.
    """
    A, B = checks.symmetric("A", A), checks.symmetric("B", B)
    for name, M in (("A", A), ("B", B)):
        values = np.linalg.eigvalsh(M)
        if values[0] < -SAME * max(abs(values[-1]), np.finfo(float).tiny):
            raise InputError(
                name, f"smallest eigenvalue {values[0]:.3g}", "must be positive semidefinite", "project it"
            )
    V = _common_range(A, B)
    if V.shape[1] == 0:
        return np.zeros_like(A)
    if V.shape[1] < A.shape[0]:
        a, b = (np.linalg.inv(V.T @ np.linalg.pinv(M, rcond=_rank(M), hermitian=True) @ V) for M in (A, B))
        return V @ geometric_mean((a + a.T) / 2, (b + b.T) / 2) @ V.T
    # The better conditioned factor is the one to divide by.
    first, second = sorted((A, B), key=np.linalg.cond)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values)) @ vectors.T
    others, basis = np.linalg.eigh(second)
    # F F^T is the second: singular values of F^T A^{-1/2} are the roots asked for, without a square that would lose digits.
    F = basis * np.sqrt(np.maximum(others, 0.0))
    _, s, Vt = np.linalg.svd(F.T @ ((vectors / np.sqrt(values)) @ vectors.T))
    mean = root @ (Vt.T * s) @ Vt @ root
    result: Floats = (mean + mean.T) / 2
    return result


def _rank(M: ClassMatrix) -> float:
    return RANK * len(M) * float(np.finfo(np.float64).eps)


def _common_range(A: ClassMatrix, B: ClassMatrix) -> Floats:
    """Orthonormal basis of range(A) & range(B): the directions that neither kernel touches."""
    # From the kernels, not from the ranges: what neither touches is orthogonal to all of both.
    kernels = []
    for M in (A, B):
        values, vectors = np.linalg.eigh(M)
        kernels.append(vectors[:, values <= _rank(M) * max(values[-1], np.finfo(float).tiny)])
    both = np.hstack(kernels)
    if both.shape[1] == 0:
        return np.eye(A.shape[0])
    U, s, _ = np.linalg.svd(both)
    return U[:, int(np.sum(s > SAME)) :]
