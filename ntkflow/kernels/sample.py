"""Any symmetric positive definite kernel between samples, the same for every feature."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ntkflow import _types
from ntkflow._types import Features, Json, Vector
from ntkflow.kernels import checks
from ntkflow.kernels.base import Gradient, Kernel
from ntkflow.sizes import Sizes


@dataclass(frozen=True, eq=False)
class SampleKernel(Kernel):
    """dH/dt = -W^T R K with a constant N x N matrix K (Theorem 4.1 without the block assumption).

    Args:
        K: kernel between samples ordered by class, (N, N), symmetric positive definite.

    Raises:
        InputError: K is not square, not symmetric or not finite.
    """

    K: _types.SampleKernel

    rung: ClassVar[str] = "sample"

    def __post_init__(self) -> None:
        object.__setattr__(self, "K", checks.symmetric("K", self.K))

    @cached_property
    def _spectrum(self) -> tuple[Vector, _types.SampleKernel]:
        values, vectors = np.linalg.eigh(self.K)
        return values, vectors

    @property
    def eigenvalues(self) -> Vector:
        """Eigenvalues of K, increasing, (N,)."""
        return self._spectrum[0]

    def check(self, sizes: Sizes) -> None:
        """Refuse a matrix of another size, and one that is singular or indefinite."""
        checks.shape("K", self.K.shape, (sizes.N, sizes.N), "one row per sample")
        checks.positive("K", self.eigenvalues, "K")

    def as_dict(self) -> Json:
        """The rung, the number of samples and the range of eigenvalues; K itself is too large for a summary."""
        return {
            "rung": self.rung,
            "samples": len(self.K),
            "eigenvalue_min": float(self.eigenvalues[0]),
            "eigenvalue_max": float(self.eigenvalues[-1]),
        }

    def matrix(self, sizes: Sizes) -> _types.SampleKernel:
        """K."""
        del sizes
        return self.K

    def apply(self, G: Gradient, sizes: Sizes) -> Gradient:
        """G K."""
        del sizes
        return G @ self.K

    def solve(self, H: Features, sizes: Sizes) -> Features:
        """H K^{-1}."""
        del sizes
        values, vectors = self._spectrum
        return ((H @ vectors) / values) @ vectors.T
