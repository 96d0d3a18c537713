"""Class-dependent blocks: own constants for every class and pair of classes, imbalanced classes allowed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ntkflow import views
from ntkflow._types import ClassMatrix, Features, Json, PerClass, SampleKernel
from ntkflow.errors import InputError
from ntkflow.problem.kernels import checks
from ntkflow.problem.kernels.base import Gradient, Kernel, ThinCoefficients
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes


@dataclass(frozen=True, eq=False)
class ClassBlockKernel(Kernel):
    """K = diag(mu_s^c repeated m_c times) + Y^T B Y with mu_s^c = kappa_d^c - B_cc (not in the paper).

    Args:
        kappa_d: value for a sample of class c with itself, (C,).
        B: value for two samples of classes c and c', (C, C) symmetric; the diagonal holds kappa_c^c.

    Raises:
        InputError: shapes do not fit each other, B is not symmetric, or a value is not finite.

    >>> kernel = ClassBlockKernel([1.0, 2.0], [[0.5, 0.1], [0.1, 0.8]])
    >>> kernel.mu_single
    array([0.5, 1.2])
    """

    kappa_d: PerClass
    B: ClassMatrix

    rung: ClassVar[str] = "class-block"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kappa_d", checks.array("kappa_d", self.kappa_d, 1))
        object.__setattr__(self, "B", checks.symmetric("B", self.B))
        C = len(self.kappa_d)
        checks.shape("B", self.B.shape, (C, C), "as many classes as kappa_d has entries")

    @classmethod
    def from_block(cls, kernel: BlockKernel, C: int) -> "ClassBlockKernel":
        """The same kernel as `kernel`, for C classes."""
        B = (kernel.kappa_c - kernel.kappa_n) * np.eye(C) + kernel.kappa_n
        return cls(np.full(C, kernel.kappa_d), B)

    @property
    def mu_single(self) -> PerClass:
        """Within-class eigenvalue of every class, kappa_d^c - kappa_c^c, (C,)."""
        return self.kappa_d - np.diag(self.B)

    def check(self, sizes: Sizes) -> None:
        """Refuse the wrong number of classes, and a singular or indefinite kernel."""
        checks.shape("kappa_d", self.kappa_d.shape, (sizes.C,), "one value per class")
        for c in np.flatnonzero((sizes.masses > 1) & (self.mu_single <= 0)):
            raise InputError(
                f"kappa_d[{c}]",
                float(self.kappa_d[c]),
                f"must exceed B[{c}, {c}] = {self.B[c, c]}: mu_single of this class would be "
                f"{self.mu_single[c]:.3g}, and its deviations from the class mean frozen or unstable",
                "raise kappa_d or lower the diagonal of B",
            )
        # The inverse of Y K^{-1} Y^T, which takes the place of Mc: with it and the mu_single K is positive (theory 10, L1).
        inverse_means = self.B + np.diag(self.mu_single / sizes.masses)
        checks.positive("B", np.linalg.eigvalsh(inverse_means), "B + diag(mu_single / m)")

    def __repr__(self) -> str:
        return views.called(self, C=len(self.kappa_d), kappa_d=self.kappa_d, B=self.B)

    @property
    def on_samples(self) -> bool:
        """It is."""
        return True

    def as_dict(self) -> Json:
        """kappa_d and B as lists, and the rung."""
        return {"rung": self.rung, "kappa_d": self.kappa_d.tolist(), "B": self.B.tolist()}

    def matrix(self, sizes: Sizes) -> SampleKernel:
        """The N x N kernel itself, for oracles and small problems."""
        labels = sizes.labels
        return self.B[np.ix_(labels, labels)] + np.diag(self.mu_single[labels])

    def apply(self, G: Gradient, sizes: Sizes) -> Gradient:
        """G K in O(nNC): deviations scaled per class, class sums mixed by B."""
        Y = sizes.Y
        return G * self.mu_single[sizes.labels] + ((G @ Y.T) @ self.B) @ Y

    def solve(self, H: Features, sizes: Sizes) -> Features:
        """H K^{-1} in O(nN)."""
        return self.thin(sizes).solve(H, sizes)

    def thin(self, sizes: Sizes) -> ThinCoefficients:
        """class_kernel = diag(mu_s^c) + M B, within = mu_s^c."""
        return ThinCoefficients(np.diag(self.mu_single) + sizes.masses[:, None] * self.B, self.mu_single)
