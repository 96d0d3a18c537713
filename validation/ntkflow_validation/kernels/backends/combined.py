"""Directions that span little: gradients of a basis are made, and those of all directions are combinations of them."""

import numpy as np

from ntkflow_validation.kernels.backends.base import Directions

# Singular values of directions, of the largest, that are rounding of single precision.
ROUNDING = 1e-7


def combined_directions(V: Directions, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """A basis (r, n) of the directions and what each of them is of it, (k, r); None where that saves nothing.

    The weights of a head and an orthonormal basis of their row space go back as one and not as two.

    Args:
        V: directions (k, n).
        most: how many the basis may have.
    """
    U, s, Vt = np.linalg.svd(np.asarray(V, np.float64), full_matrices=False)
    rank = int((s > ROUNDING * s[0]).sum())
    if not 0 < rank <= min(most, len(V) // 2 + 1) or rank == len(V):
        return None
    return Vt[:rank].astype(np.float32), (U[:, :rank] * s[:rank]).astype(np.float32)
