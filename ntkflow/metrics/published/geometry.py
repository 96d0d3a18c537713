"""The class means about their centre, and the directions that they span."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ntkflow._types import Floats
from ntkflow.metrics.published.moments import Moments

CENTRES = ("classes", "samples")
# Rounding errors of a mean, in spacings of the features' own type.
ROUNDING = 4.0
EPS = float(np.finfo(np.float64).eps)


class UndefinedError(Exception):
    """A measure that says nothing here; the message is the reason."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Class means in units of `size`, counted from `origin`.

    Attributes:
        moments: the first pass, classes in order.
        centre: "classes": the mean of the class means; "samples": the mean of all samples.
    """

    moments: Moments
    centre: str = "classes"

    @property
    def C(self) -> int:
        """Classes."""
        return len(self.moments.counts)

    @property
    def size(self) -> float:
        """Unit of all lengths."""
        return self.moments.size or 1.0

    @cached_property
    def origin(self) -> Floats:
        """A sample, from which means are counted so that a common offset costs no digits, (n,)."""
        result: Floats = self.moments.origins[0]
        return result

    @cached_property
    def relative(self) -> Floats:
        """Class means minus the origin, (C, n)."""
        return (self.moments.origins - self.origin) + self.moments.means

    @cached_property
    def of_samples(self) -> Floats:
        """Mean of all samples minus the origin, (n,)."""
        counts = self.moments.counts
        result: Floats = counts @ self.relative / counts.sum()
        return result

    @cached_property
    def M(self) -> Floats:
        """Class means minus the centre, (C, n)."""
        centre = self.of_samples if self.centre == "samples" else self.relative.mean(axis=0)
        return self.relative - centre

    @cached_property
    def means(self) -> Floats:
        """Class means, (C, n)."""
        return self.origin + self.relative

    @cached_property
    def floor(self) -> float:
        """What is shorter than this is rounding."""
        return ROUNDING * self.moments.eps * float(np.linalg.norm(self.means, axis=1).max())

    @cached_property
    def norms(self) -> Floats:
        """Lengths of the centred means, (C,)."""
        result: Floats = np.linalg.norm(self.M, axis=1)
        return result

    @cached_property
    def spanned(self) -> tuple[Floats, Floats]:
        """Singular values of M above rounding, (r,), largest first, and their directions, (n, r).

        r is at most C - 1 about the mean of the class means.
        """
        _, s, Vt = np.linalg.svd(self.M, full_matrices=False)
        # Two roundings: that of the decomposition, and that of means which were cut off at the features' own precision.
        rounding = EPS * max(self.M.shape) * s[0]
        known = ROUNDING * self.moments.eps * np.linalg.norm(self.means)
        rank = int(np.sum(s > max(rounding, known)))
        return s[:rank], np.ascontiguousarray(Vt[:rank].T)

    def some_mean(self) -> None:
        """Raises UndefinedError when all class means are the same."""
        if self.norms.max() <= self.floor:
            raise UndefinedError("all class means are the same")

    def unit_means(self) -> Floats:
        """Centred means of length 1, (C, n).

        Raises:
            UndefinedError: one of them is the centre.
        """
        self.some_mean()
        zero = np.flatnonzero(self.norms <= self.floor)
        if len(zero):
            raise UndefinedError(f"the mean of class {zero[0]} is the centre, and has no direction")
        return self.M / self.norms[:, None]


def squared_distances(A: Floats) -> Floats:
    """|a_i - a_j|^2 of all pairs i < j of rows, as a flat array in the order of `np.triu_indices`.

    From the Gram matrix, and by differences for the pairs that are so close that it would lose digits.
    """
    gram = A @ A.T
    squares = np.diag(gram)
    i, j = np.triu_indices(len(A), 1)
    sums = squares[i] + squares[j]
    found = sums - 2 * gram[i, j]
    # There the difference has lost two of its sixteen digits, and beyond it loses fewer.
    close = np.flatnonzero(found < 1e-2 * sums)
    step = max(1, (1 << 21) // A.shape[1])
    for k in range(0, len(close), step):
        some = close[k : k + step]
        found[some] = np.sum((A[i[some]] - A[j[some]]) ** 2, axis=1)
    return found
