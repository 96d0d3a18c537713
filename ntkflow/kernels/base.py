"""What every rung of the kernel ladder can do."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float64

from ntkflow._types import ClassMatrix, Json, PerClass
from ntkflow.sizes import Sizes

# numpy or jax arrays: the vector fields are written once for both.
Gradient = Float64[Any, "n N"]


@dataclass(frozen=True)
class ThinCoefficients:
    """Constants of the class-decomposed system that a block structured kernel leads to (eq. 25).

    With R1 = W H1 + b 1^T - I and M = diag(m_c):
    dH1/dt = -W^T R1 class_kernel, and a within-class deviation of class c obeys
    dh/dt = -within[c] W^T W h.

    Attributes:
        class_kernel: C x C, diag(mu_s^c) + M B (theory L1); mu_class I + kappa_n m 11^T for equal blocks.
        within: mu_single of each class, shape (C,).
    """

    class_kernel: ClassMatrix
    within: PerClass


class Kernel(ABC):
    """A constant feature kernel: dH/dt = -apply(W^T R), the only thing the dynamics ask of it."""

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

    def thin(self, sizes: Sizes) -> ThinCoefficients | None:
        """Coefficients of the class-decomposed system, or None where the kernel has no such form."""
        del sizes
        return None
