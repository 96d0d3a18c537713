"""One kernel between samples times one matrix between features."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ntkflow import views
from ntkflow._types import FeatureMatrix, Features, Json, Vector
from ntkflow.errors import InputError
from ntkflow.problem.kernels import checks
from ntkflow.problem.kernels.base import Gradient, Kernel
from ntkflow.problem.kernels.sample import SampleKernel
from ntkflow.problem.sizes import Sizes


@dataclass(frozen=True, eq=False)
class KroneckerKernel(Kernel):
    """Theta^h = A (x) K: dH/dt = -A W^T R K (not in the paper; its D.1 has such a structure per block).

    Args:
        K: kernel between samples, any rung that acts on samples only (`BlockKernel`,
            `ClassBlockKernel`, `SampleKernel`); an N x N matrix is taken as a `SampleKernel`.
        A: matrix between features, (n, n), symmetric positive definite.

    Raises:
        InputError: K or A is not symmetric or not finite, or K acts on features itself.
    """

    K: Kernel
    A: FeatureMatrix

    rung: ClassVar[str] = "kronecker"

    def __post_init__(self) -> None:
        if not isinstance(self.K, Kernel):
            object.__setattr__(self, "K", SampleKernel(self.K))
        if not self.K.on_samples:
            raise InputError(
                "K",
                f"{self.K.rung} kernel",
                "must act on samples only and be constant",
                "give a block, class-block or sample kernel, or a matrix",
            )
        object.__setattr__(self, "A", checks.symmetric("A", self.A))

    @cached_property
    def _spectrum(self) -> tuple[Vector, FeatureMatrix]:
        values, vectors = np.linalg.eigh(self.A)
        return values, vectors

    def check(self, sizes: Sizes) -> None:
        """Refuse factors of other sizes, and singular or indefinite ones."""
        checks.shape("A", self.A.shape, (sizes.n, sizes.n), "one row per feature")
        checks.positive("A", self._spectrum[0], "A")
        self.K.check(sizes)

    def __repr__(self) -> str:
        return views.called(self, K=self.K, n=len(self.A))

    def as_dict(self) -> Json:
        """The rung, the kernel between samples, and the range of eigenvalues of A."""
        values = self._spectrum[0]
        return {
            "rung": self.rung,
            "K": self.K.as_dict(),
            "features": len(self.A),
            "A_eigenvalue_min": float(values[0]),
            "A_eigenvalue_max": float(values[-1]),
        }

    def apply(self, G: Gradient, sizes: Sizes) -> Gradient:
        """A G K."""
        return self.A @ self.K.apply(G, sizes)

    def solve(self, H: Features, sizes: Sizes) -> Features:
        """A^{-1} H K^{-1}."""
        # The inverse of a Kronecker product is that of its factors: nothing of size n N is formed.
        values, vectors = self._spectrum
        return (vectors / values) @ (vectors.T @ self.K.solve(H, sizes))

    def feature_matrices(self, sizes: Sizes) -> tuple[FeatureMatrix, ...]:
        """A."""
        del sizes
        return (self.A,)
