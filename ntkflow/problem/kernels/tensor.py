"""The features' kernel with nothing assumed: one entry for every pair of features and of samples."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from ntkflow import views
from ntkflow._types import FeatureMatrix, Features, Floats, Json
from ntkflow.checks import numbers
from ntkflow.errors import InputError
from ntkflow.problem.kernels import checks
from ntkflow.problem.kernels.base import Gradient, Kernel
from ntkflow.problem.sizes import Sizes

Flat = Float64[Floats, "nN nN"]


@dataclass(frozen=True, eq=False)
class TensorKernel(Kernel):
    """dH_is/dt = -sum_jr Theta[i, s, j, r] (W^T R)_jr (eq. 13 for the features' kernel).

    Args:
        Theta: kernel of feature i on sample s with feature j on sample r, shape (n, N, n, N), or the same
            as an nN x nN matrix with the sample as the faster index. Kept as the matrix.

    Raises:
        InputError: Theta is not symmetric under exchange of the pairs, not finite, or of another shape.
    """

    Theta: Flat

    rung: ClassVar[str] = "tensor"

    def __post_init__(self) -> None:
        Theta = numbers("Theta", self.Theta, remedy="measure the kernel again")
        if Theta.ndim == 4:
            n, N = Theta.shape[:2]
            if Theta.shape != (n, N, n, N):
                raise InputError(
                    "Theta", f"array of shape {Theta.shape}", "must have shape (n, N, n, N)", "move its axes"
                )
            Theta = Theta.reshape(n * N, n * N)
        object.__setattr__(self, "Theta", checks.symmetric("Theta", Theta))

    def check(self, sizes: Sizes) -> None:
        """Refuse a tensor of another size, and one that is singular or indefinite."""
        D = sizes.n * sizes.N
        checks.shape("Theta", self.Theta.shape, (D, D), "one row per feature and sample")
        checks.positive("Theta", self._spectrum[0], "Theta")

    @cached_property
    def _spectrum(self) -> tuple[Float64[Floats, " nN"], Flat]:
        values, vectors = np.linalg.eigh(self.Theta)
        return values, vectors

    def __repr__(self) -> str:
        return views.called(self, nN=len(self.Theta))

    def as_dict(self) -> Json:
        """The rung, the number of rows nN and the range of eigenvalues."""
        values = self._spectrum[0]
        return {
            "rung": self.rung,
            "rows": len(self.Theta),
            "eigenvalue_min": float(values[0]),
            "eigenvalue_max": float(values[-1]),
        }

    def apply(self, G: Gradient, sizes: Sizes) -> Gradient:
        """Theta applied to G, O(n^2 N^2)."""
        del sizes
        return (self.Theta @ G.reshape(-1)).reshape(G.shape)

    def solve(self, H: Features, sizes: Sizes) -> Features:
        """Theta^{-1} applied to H."""
        del sizes
        values, vectors = self._spectrum
        return (vectors @ ((vectors.T @ H.ravel()) / values)).reshape(H.shape)

    def feature_matrices(self, sizes: Sizes) -> tuple[FeatureMatrix, ...]:
        """Theta[:, s, :, r] for every pair of samples s <= r."""
        # Those of r < s are their transposes, with which whatever commutes with these commutes as well.
        n, N = sizes.n, sizes.N
        blocks = self.Theta.reshape(n, N, n, N)
        return tuple(blocks[:, s, :, r] for s in range(N) for r in range(s, N))
