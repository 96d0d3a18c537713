"""What every rung of the kernel ladder can do."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Array, ClassMatrix, FeatureMatrix, Features, Json, PerClass
from ntkflow._types import SampleKernel as SampleMatrix
from ntkflow.problem.kernels.timeline import bracket
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import class_means, spread

# numpy or jax arrays: the vector fields are written once for both.
Gradient = Float64[Array, "n N"]


@dataclass(frozen=True)
class ThinCoefficients:
    """Constants of the class-decomposed system that a block structured kernel leads to (eq. 25).

    With R1 = W H1 + b 1^T - I and M = diag(m_c):
    dH1/dt = -W^T R1 class_kernel, and a within-class deviation of class c obeys
    dh/dt = -within[c] W^T W h.

    Attributes:
        class_kernel: C x C, diag(within) + M B with B_cc' the kernel between classes (theory section 10, L1);
            mu_class I + kappa_n m 11^T for equal blocks.
        within: mu_single of each class, shape (C,).
        schedule: knots (t, coefficients) of a kernel that changes in time, linear in between; the two
            fields above are then those of the first knot. Empty for a constant kernel.
    """

    class_kernel: ClassMatrix
    within: PerClass
    schedule: tuple[tuple[float, "ThinCoefficients"], ...] = ()

    def at(self, t: float) -> "ThinCoefficients":
        """The coefficients at time t; itself when constant."""
        if not self.schedule:
            return self
        left, right, share = bracket([time for time, _ in self.schedule], t)
        a, b = self.schedule[left][1], self.schedule[right][1]
        return ThinCoefficients(
            (1 - share) * a.class_kernel + share * b.class_kernel, (1 - share) * a.within + share * b.within
        )

    @property
    def groups(self) -> PerClass:
        """A number per class, equal for classes whose mu_single agree at all times; for `decompose`."""
        if not self.schedule:
            return self.within
        # At all times: classes that differ at one knot only have different factors L from there on.
        rows = np.stack([knot.within for _, knot in self.schedule], axis=1)
        return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.float64)

    def solve(self, H: Features, sizes: Sizes) -> Features:
        """H K^{-1} in O(nN): class means see class_kernel^{-1}, deviations 1/within."""
        H1 = class_means(H, sizes)
        deviations = H - spread(H1, sizes)
        # A class of one sample has no deviations, and its within may be zero.
        rates = np.where(sizes.masses > 1, self.within, 1.0)
        return spread(np.linalg.solve(self.class_kernel.T, H1.T).T, sizes) + deviations / rates[sizes.labels]


class Kernel(ABC):
    """A feature kernel: dH/dt = -apply(W^T R), and what its invariants need. Constant unless it `moves`.

    What a rung is good for is asked by its properties (`moves`, `on_samples`, `kappas`, `sample_matrix`, `thin`), so
    that one of your own has a say in it.
    """

    rung: ClassVar[str]

    @abstractmethod
    def apply(self, G: Gradient, sizes: Sizes) -> Gradient:
        """The kernel operator applied to G = W^T R, n x N to n x N; samples ordered by class."""

    @abstractmethod
    def check(self, sizes: Sizes) -> None:
        """Raise InputError when the kernel does not fit the sizes or is singular on them."""

    @abstractmethod
    def as_dict(self) -> Json:
        """Plain values for files and summaries."""

    @abstractmethod
    def solve(self, H: Features, sizes: Sizes) -> Features:
        """The inverse operator applied to H, n x N to n x N; samples ordered by class."""

    @property
    def moves(self) -> bool:
        """Whether it changes in time."""
        return False

    @property
    def on_samples(self) -> bool:
        """Whether it is constant and acts between samples only, the same for every feature: all of E is conserved."""
        return False

    @property
    def kappas(self) -> tuple[float, float, float] | None:
        """kappa_d, kappa_c, kappa_n of constant scalar blocks; None elsewhere."""
        return None

    @property
    def sample_matrix(self) -> SampleMatrix | None:
        """K of a constant kernel between samples that has no blocks, (N, N); None elsewhere."""
        return None

    def at(self, t: float) -> "Kernel":
        """The constant kernel in force at time t; itself when constant."""
        del t
        return self

    @property
    def at_knots(self) -> tuple["Kernel", ...]:
        """The constant kernels that it moves between; itself alone when constant."""
        return (self,)

    @property
    def knots(self) -> tuple[float, ...]:
        """Times of `at_knots`, at which its slope changes; none when constant."""
        return ()

    @property
    def rests(self) -> list[tuple[float, float, "Kernel"]]:
        """Stretches (begin, end, kernel) on which it stands still, in time from 0 on; all of it when constant."""
        return [(0.0, math.inf, self)]

    def slope(self, t: float, G: Gradient, sizes: Sizes, before: bool = False) -> Gradient:
        """The operator's time derivative at t, from the right or with `before` from the left, applied to G."""
        del t, sizes, before
        return 0.0 * G

    def between(self, begin: float, end: float) -> "Kernel":
        """The kernel on an interval without knots inside, in a clock that starts at `begin`; itself when constant."""
        del begin, end
        return self

    def feature_matrices(self, sizes: Sizes) -> tuple[FeatureMatrix, ...]:
        """Matrices A, n x n, through which the operator acts on features.

        A symmetric x that commutes with all of them (and their transposes) commutes with the operator,
        which is what makes tr x (W^T W - sym(solve(H) H^T)) an invariant. Empty when the operator acts on
        samples only, so that every x qualifies.
        """
        del sizes
        return ()

    def thin(self, sizes: Sizes) -> ThinCoefficients | None:
        """Coefficients of the class-decomposed system, or None where the kernel has no such form."""
        del sizes
        return None
