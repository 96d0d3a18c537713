"""What the head's own weights and bias add to the kernel of every output: H^T H + 1, and its block sums."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Features, SampleKernel
from ntkflow.problem.sizes import one_hot
from ntkflow_validation.kernels.statistics import BlockSums


@dataclass(frozen=True, eq=False)
class HeadKernel:
    """H^T H, plus one with a bias; the N x N matrix is only made where it is asked for.

    Attributes:
        H: features, (n, N).
        bias: whether the head has one.
    """

    H: Features
    bias: bool

    @property
    def full(self) -> SampleKernel:
        """All entries, (N, N)."""
        return self.H.T @ self.H + float(self.bias)

    def between(self, U: Float64[np.ndarray, "k N"]) -> Float64[np.ndarray, "k k"]:
        """U (H^T H + 1) U^T for some sample vectors, with nothing of size N x N."""
        seen, total = U @ self.H.T, U.sum(axis=1)
        return seen @ seen.T + float(self.bias) * np.outer(total, total)

    def sums(self, labels: np.ndarray) -> BlockSums:
        """Its block sums over the classes of `labels` (N,), as of one direction."""
        counts, one = np.bincount(labels), float(self.bias)
        Y = one_hot(labels, len(counts)).T
        H1 = self.H @ Y / counts
        deviations = ((self.H - H1[:, labels]) ** 2).sum(axis=0) @ Y
        within = np.where(counts > 1, deviations / np.maximum(counts - 1, 1), np.nan)
        diagonal = (self.H**2).sum(axis=0) @ Y / counts + one
        return BlockSums(counts.astype(float), diagonal[None], within[None], (H1.T @ H1 + one)[None])
