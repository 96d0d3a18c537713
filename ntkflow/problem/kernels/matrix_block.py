"""Blocks whose values are matrices between features: appendix D of the paper."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ntkflow import views
from ntkflow._types import FeatureMatrix, Features, Json
from ntkflow.errors import InputError
from ntkflow.problem.kernels import checks
from ntkflow.problem.kernels.base import Gradient, Kernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import class_means, spread


@dataclass(frozen=True, eq=False)
class MatrixBlockKernel(Kernel):
    """dH/dt = -(A_d G + A_c G Y^T Y + A_n G 11^T), G = W^T R (eq. 72, where all three terms have a minus).

    Args:
        A_d: n x n, acts on every sample on its own: kernel of a sample with itself minus within the class.
        A_c: n x n, acts on class sums: kernel within a class minus between classes.
        A_n: n x n, acts on the total sum: kernel between classes.

    Raises:
        InputError: a matrix is not symmetric or not finite, or the shapes differ.
    """

    A_d: FeatureMatrix
    A_c: FeatureMatrix
    A_n: FeatureMatrix

    rung: ClassVar[str] = "matrix-block"

    def __post_init__(self) -> None:
        for name in ("A_d", "A_c", "A_n"):
            object.__setattr__(self, name, checks.symmetric(name, getattr(self, name)))
        for name in ("A_c", "A_n"):
            checks.shape(name, getattr(self, name).shape, self.A_d.shape, "as A_d")

    @classmethod
    def from_values(
        cls, diagonal: FeatureMatrix, within: FeatureMatrix, between: FeatureMatrix
    ) -> "MatrixBlockKernel":
        """From the kernel's values, the matrix analogues of kappa_d, kappa_c, kappa_n (Definition 3.1).

        Args:
            diagonal: kernel of a sample with itself, n x n.
            within: kernel of two samples of one class, n x n.
            between: kernel of samples of different classes, n x n.
        """
        d, c, k = (
            checks.array(name, value, 2)
            for name, value in (("diagonal", diagonal), ("within", within), ("between", between))
        )
        checks.shape("within", c.shape, d.shape, "as diagonal")
        checks.shape("between", k.shape, d.shape, "as diagonal")
        return cls(d - c, c - k, k)

    def levels(self, sizes: Sizes) -> tuple[FeatureMatrix, FeatureMatrix, FeatureMatrix]:
        """The operator on deviations, class contrasts and the mean: A_d, A_d + m A_c, A_d + m A_c + N A_n."""
        B_c = self.A_d + sizes.per_class * self.A_c
        return self.A_d, B_c, B_c + sizes.N * self.A_n

    def check(self, sizes: Sizes) -> None:
        """Refuse imbalanced classes, matrices of another size, and a singular or indefinite operator."""
        checks.shape("A_d", self.A_d.shape, (sizes.n, sizes.n), "one row per feature")
        # Unequal classes would give each contrast a mixture of the matrices, and no inverse level by level.
        if not sizes.balanced:
            raise InputError(
                "m",
                list(sizes.counts),
                "must be equal for all classes under a matrix-block kernel",
                "use TensorKernel or ClassBlockKernel",
            )
        names = ("A_d", "A_d + m A_c", "A_d + m A_c + N A_n")
        for name, level in zip(names, self.levels(sizes), strict=True):
            # One sample per class leaves no deviations for A_d to act on.
            if name != "A_d" or sizes.per_class > 1:
                checks.positive(name, np.linalg.eigvalsh(level), name)

    def __repr__(self) -> str:
        return views.called(self, n=len(self.A_d))

    def as_dict(self) -> Json:
        """The rung, the number of features and the trace per feature of the three matrices."""
        n = len(self.A_d)
        traces = {
            f"tr {name} / n": float(np.trace(getattr(self, name)) / n) for name in ("A_d", "A_c", "A_n")
        }
        return {"rung": self.rung, "features": n, **traces}

    def apply(self, G: Gradient, sizes: Sizes) -> Gradient:
        """A_d G + A_c G Y^T Y + A_n G 11^T."""
        blocks = G.reshape(G.shape[0], sizes.C, sizes.per_class)
        class_sums = blocks.sum(axis=2)
        total = class_sums.sum(axis=1, keepdims=True)
        shared = self.A_c @ class_sums + self.A_n @ total
        return ((self.A_d @ G).reshape(blocks.shape) + shared[:, :, None]).reshape(G.shape)

    @cached_property
    def _inverses(self) -> dict[Sizes, tuple[FeatureMatrix, ...]]:
        return {}

    def solve(self, H: Features, sizes: Sizes) -> Features:
        """The inverse on deviations, class contrasts and the mean, one level each."""
        if sizes not in self._inverses:
            levels = self.levels(sizes)
            # With one sample per class A_d acts on nothing and may be singular.
            used = levels if sizes.per_class > 1 else (np.eye(sizes.n), *levels[1:])
            self._inverses[sizes] = tuple(np.linalg.inv(level) for level in used)
        within, contrast, mean = self._inverses[sizes]
        H1 = class_means(H, sizes)
        g = H1.mean(axis=1, keepdims=True)
        return within @ (H - spread(H1, sizes)) + spread(contrast @ (H1 - g) + mean @ g, sizes)

    def feature_matrices(self, sizes: Sizes) -> tuple[FeatureMatrix, ...]:
        """The three levels, which generate the same algebra as A_d, A_c, A_n."""
        return self.levels(sizes)[0 if sizes.per_class > 1 else 1 :]
