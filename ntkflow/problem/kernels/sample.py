"""Any symmetric positive definite kernel between samples, the same for every feature."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ntkflow import _types, views
from ntkflow._types import Features, Json, Vector
from ntkflow.errors import InputError
from ntkflow.problem.kernels import checks
from ntkflow.problem.kernels.base import Gradient, Kernel
from ntkflow.problem.sizes import Sizes


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

    @classmethod
    def regularised(cls, K: _types.SampleKernel, ridge: float = 1e-10) -> "SampleKernel":
        """The nearest symmetric matrix whose eigenvalues are at least `ridge` times the largest one of K.

        For measured kernels that are singular or slightly indefinite. Directions lifted to the ridge were
        frozen or unstable before; they now move at the ridge's rate.

        Args:
            K: a square matrix, (N, N); its symmetric part is taken.
            ridge: smallest eigenvalue allowed, relative to the largest, 0 < ridge < 1.

        Raises:
            InputError: K is not square or not finite, has no positive eigenvalue, or `ridge` is out of range.
        """
        if not 0 < ridge < 1:
            raise InputError("ridge", ridge, "must lie in 0 < ridge < 1", "1e-10 only removes singularity")
        K = checks.array("K", K, 2)
        checks.shape("K", K.shape, (len(K), len(K)), "one row and column per sample")
        values, vectors = np.linalg.eigh((K + K.T) / 2)
        if values[-1] <= 0:
            raise InputError(
                "K", f"largest eigenvalue {values[-1]:.3g}", "must be positive", "check its sign"
            )
        return cls((vectors * np.maximum(values, ridge * values[-1])) @ vectors.T)

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

    def __repr__(self) -> str:
        return views.called(self, N=len(self.K))

    @property
    def on_samples(self) -> bool:
        """It is."""
        return True

    @property
    def sample_matrix(self) -> _types.SampleKernel:
        """K."""
        return self.K

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
        # By the eigenvectors that `check` has needed already: each solve is then two products.
        del sizes
        values, vectors = self._spectrum
        return ((H @ vectors) / values) @ vectors.T
