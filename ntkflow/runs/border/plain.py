"""Records that several of a run's documents have in common."""

from dataclasses import dataclass
from typing import cast

from ntkflow.problem.sizes import Sizes


@dataclass(frozen=True)
class SizesRow:
    """C, m, n, N as documents have them.

    Attributes:
        C: classes.
        m: samples per class, a number or one for each class.
        n: features.
        N: samples.
    """

    C: int
    m: object
    n: int
    N: int

    @classmethod
    def of(cls, sizes: Sizes) -> "SizesRow":
        """Of a problem."""
        return cls(sizes.C, sizes.m, sizes.n, sizes.N)

    @property
    def counts(self) -> int | tuple[int, ...]:
        """m as `Sizes` takes it; what else a damaged document may hold there `Sizes` refuses."""
        return tuple(self.m) if isinstance(self.m, list) else cast(int, self.m)

    def sizes(self) -> Sizes:
        """As a problem has them."""
        return Sizes(self.C, self.counts, self.n)
