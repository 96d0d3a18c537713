"""What the rows of some samples come to: their sum, and their squares about zero and about their mean."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from ntkflow_validation.kernels.budget import COLUMNS


class Moments(NamedTuple):
    """What the rows of some samples come to along each direction.

    Attributes:
        total: their sum, (k, P).
        own: sum of |row|^2 in float64, (k,).
        moved: sum of |row - mean|^2 in float64, measured on these deviations, (k,).
    """

    total: Float[np.ndarray, "k P"]
    own: Float64[np.ndarray, " k"]
    moved: Float64[np.ndarray, " k"]


def moments_of(rows: Float[np.ndarray, "B k P"]) -> Moments:
    """Moments of rows, in parts that stay in the cache."""
    total, (own, moved) = np.empty(rows.shape[1:], np.float32), np.zeros((2, rows.shape[1]))
    for q in range(rows.shape[1]):
        for s in range(0, rows.shape[2], COLUMNS):
            block = rows[:, q, s : s + COLUMNS]
            part = block.sum(axis=0)
            total[q, s : s + COLUMNS] = part
            own[q] += sum(float(row @ row) for row in block)
            moved[q] += sum(float(row @ row) for row in block - part / len(block))
    return Moments(total, own, moved)
