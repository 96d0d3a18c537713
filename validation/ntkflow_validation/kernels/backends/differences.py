"""Kernels, and what samples deviate by from their class, of products of gradients less the first of their class.

The gradient of the first sample of each class stays as it is, and all others are taken less it. Of the products of these
follow, in double precision, both the kernel and, without differences of large numbers, the deviations.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float64

from ntkflow_validation.kernels.budget import COLUMNS


def less_first(block: Float[np.ndarray, "N w"], ends: np.ndarray) -> None:
    """Take the first sample's row from those of its class, in place; `ends` says where each class ends, if there are any."""
    # Class by class, which stays in the cache.
    for a, b in pairwise((0, *ends)):
        block[a + 1 : b] -= block[a]


def add_products(Z: Float64[np.ndarray, "N N"], rows: Float[np.ndarray, "N w"], ends: np.ndarray) -> None:
    """Add the products of these columns of gradients, less the first of their class, which are written over."""
    for first in range(0, rows.shape[1], COLUMNS):
        block = rows[:, first : first + COLUMNS]
        less_first(block, ends)
        # A product with the same array takes half the time.
        Z += block @ block.T


def from_differences(
    Z: Float64[np.ndarray, "k N N"], counts: np.ndarray
) -> tuple[Float64[np.ndarray, "k N N"], Float64[np.ndarray, "k N"]]:
    """Products of gradients (k, N, N), and their squared deviations from the means of their classes, (k, N).

    Args:
        Z: products of the gradients, sorted by class, each but the first of its class less that.
        counts: samples of each class.
    """
    firsts = np.cumsum(counts) - counts
    owner = np.repeat(firsts, counts)
    rest = np.setdiff1d(np.arange(len(owner)), firsts)
    E = Z.copy()
    E[:, firsts] = 0
    E[:, :, firsts] = 0
    means = np.add.reduceat(E, firsts, axis=2) / counts
    own = np.repeat(np.arange(len(counts)), counts)
    between = np.add.reduceat(means, firsts, axis=1) / counts[:, None]
    rows = np.arange(len(owner))
    deviations = E[:, rows, rows] - 2 * means[:, rows, own] + between[:, own, own]
    K = Z.copy()
    K[:, rest] += K[:, owner[rest]]
    K[:, :, rest] += K[:, :, owner[rest]]
    return K, np.maximum(deviations, 0)
