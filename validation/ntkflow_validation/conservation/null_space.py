"""Null spaces of small systems, their sparse bases, and which vectors are new beside others."""

import numpy as np

from ntkflow_validation.conservation.equations import Equations

# Coefficients of laws are small fractions: a flattened axis or a shared tensor makes halves, thirds, quarters.
DENOMINATOR, ROUNDED = 12, 0.04
# Part of a vector that must be new.
NEW = 1e-7


def null_space(system: Equations, tolerance: float) -> np.ndarray:
    """Columns that span all coefficients with a relative defect below the tolerance, (unknowns, dimension)."""
    # In units in which a singular value is a relative defect.
    _, s, V = np.linalg.svd(system.A / system.scale, full_matrices=True)
    s = np.concatenate([s, np.zeros(len(V) - len(s))])
    found: np.ndarray = V[s < tolerance].T / system.scale[:, None]
    return found


def echelon(N: np.ndarray) -> np.ndarray:
    """Rows that span the columns of N, each alone with a one at a place of its own (complete pivoting)."""
    rows = N.T.copy()
    free = np.ones(rows.shape[1], bool)
    for step in range(len(rows)):
        sizes = np.abs(rows[step:]) * free
        best, pivot = divmod(int(sizes.argmax()), sizes.shape[1])
        rows[[step, step + best]] = rows[[step + best, step]]
        rows[step] /= rows[step, pivot]
        factors = rows[:, pivot].copy()
        factors[step] = 0.0
        rows -= np.outer(factors, rows[step])
        free[pivot] = False
    return rows


def laws_in(system: Equations, tolerance: float) -> list[tuple[np.ndarray, float]]:
    """A sparse basis of the null space, coefficients made fractions where these hold as well, each with its defect."""
    return [rounded(row, system, tolerance) for row in echelon(null_space(system, tolerance))]


def rounded(d: np.ndarray, system: Equations, tolerance: float) -> tuple[np.ndarray, float]:
    """Coefficients made fractions where these hold as well, with their defect."""
    fractions = np.round(d * DENOMINATOR) / DENOMINATOR
    if fractions.any() and np.abs(fractions - d).max() < ROUNDED and system.defect(fractions) < tolerance:
        d = fractions
    return d, system.defect(d)


class Span:
    """A growing space of vectors.

    Args:
        size: length of a vector.
    """

    def __init__(self, size: int) -> None:
        self._basis = np.zeros((16, size))
        self.dimension = 0

    def add(self, vector: np.ndarray) -> bool:
        """Take a vector in; whether it was new."""
        rest = vector / np.linalg.norm(vector)
        known = self._basis[: self.dimension]
        # Twice is enough for orthogonality to rounding.
        for _ in range(2):
            rest = rest - known.T @ (known @ rest)
        length = np.linalg.norm(rest)
        if length < NEW:
            return False
        if self.dimension == len(self._basis):
            self._basis = np.concatenate([self._basis, np.zeros_like(self._basis)])
        self._basis[self.dimension] = rest / length
        self.dimension += 1
        return True
