"""Does collapse need the kernel to move? Aligned layers with the kernel frozen at the start, beside moving ones (theory 18.7)."""

import math
from dataclasses import dataclass

from ntkflow import checks
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.theory.layers.limits import collapse_x
from ntkflow.theory.limits import eigenvalues


@dataclass(frozen=True)
class Frozen:
    """What freezing the kernel at the layers' size s0 changes.

    Attributes:
        growth: of mu_class until collapse where the kernel moves, (s*/s0)^{2(L-1)}; 1 for L = 1.
        x: eigenvalue of W W^T in the end where it moves.
        x_frozen: the same where it is frozen.
        nc1: NC1 as W sees it and as frozen deviations leave it, frozen over moving: x_frozen/x.
        rate: rate within classes, moving over frozen.
    """

    growth: float
    x: float
    x_frozen: float

    @property
    def nc1(self) -> float:
        """x_frozen/x, which tends to sqrt(growth/L) for small starts."""
        return self.x_frozen / self.x

    @property
    def rate(self) -> float:
        """mu_single x^L over mu_single s0^{2(L-1)} x_frozen: sqrt(L growth) for small starts."""
        return self.growth * self.x / self.x_frozen


def frozen(sizes: Sizes, kernel: BlockKernel, L: int, s0: float) -> Frozen:
    """Balanced aligned layers of size s0, their kernel frozen there: X = x_F P, x_F = e/2 + sqrt(e^2/4 + m/(L mu_c s0^{2(L-1)})).

    e = s0^2 (1 - 1/L) is the invariant of the frozen flow, W^T W less the part of the features.

    Args:
        sizes: C, m, n.
        kernel: K0, scalar blocks of equal classes.
        L: number of layers.
        s0: singular value of every layer and of W on the contrasts.

    Raises:
        InputError: s0 or L is out of its range.
    """
    L, s0 = checks.whole("L", L, 1), checks.positive("s0", s0, "give a size > 0")
    x, mu_c = collapse_x(sizes, kernel, L), eigenvalues(sizes, kernel).mu_class
    e = s0**2 * (1 - 1 / L)
    x_frozen = e / 2 + math.sqrt(e**2 / 4 + sizes.per_class / (L * mu_c * s0 ** (2 * (L - 1))))
    return Frozen((x / s0**2) ** (L - 1), x, x_frozen)
