"""What the formulas are made of; a fact that is not there raises `UndefinedError` with the reason."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ntkflow._types import Floats
from ntkflow.metrics.published.geometry import Geometry, UndefinedError, squared_distances
from ntkflow.metrics.published.samples import Head, Samples
from ntkflow.scaling import unit

ONCE = (
    "needs the samples a second time, after their means are known: give batches that can be gone through again, "
    "as a list, a loader or a function that returns an iterator"
)
EYE = "P / sqrt(C-1)"


@dataclass(frozen=True, eq=False)
class Facts:
    """One set of samples about the class means of a geometry.

    Attributes:
        geometry: training means.
        head: W and b, if any.
        counts: samples of this set by class, (C,).
        squares: sums of squared deviations from the training means, (C, n), in units of the geometry.
        along: the same along the spanned directions, (r,); None where they could not be had.
        samples: the second pass; None where there was none.
        outside: mean of features from outside the classes, (n,), in units of its own; None without.
        training: whether the means are those of these samples.
    """

    geometry: Geometry
    head: Head | None
    counts: Floats
    squares: Floats
    along: Floats | None
    samples: Samples | None
    outside: Floats | None = None
    training: bool = True

    @property
    def C(self) -> int:
        """Classes."""
        return self.geometry.C

    @property
    def N(self) -> int:
        """Samples."""
        return int(self.counts.sum())

    @cached_property
    def variances(self) -> Floats:
        """Variance of each feature in each class, (C, n).

        Raises:
            UndefinedError: a class without samples, which only test features have.
        """
        empty = np.flatnonzero(self.counts == 0)
        if len(empty):
            raise UndefinedError(f"no sample of class {empty[0]}")
        return self.squares / self.counts[:, None]

    def spread(self) -> float:
        """tr S_W.

        Raises:
            UndefinedError: no class has two samples to vary.
        """
        # Test samples deviate from training means, one of a class too.
        if self.training and self.counts.max() < 2:
            raise UndefinedError("every class has one sample, which does not vary")
        return float(self.squares.sum()) / self.N

    @cached_property
    def M(self) -> tuple[Floats, float]:
        """Centred means and their unit, M = rows * unit, in lengths of the geometry.

        Raises:
            UndefinedError: all class means are the same.
        """
        self.geometry.some_mean()
        return unit(self.geometry.M)

    @cached_property
    def gram(self) -> Floats:
        """M M^T, (C, C), in squares of M's unit."""
        return self.M[0] @ self.M[0].T

    @cached_property
    def distances(self) -> Floats:
        """Distances of all pairs of unit means, on the sphere.

        Raises:
            UndefinedError: a mean is the centre.
        """
        # Of equal unit vectors the squares may come out below zero by rounding.
        return np.sqrt(np.maximum(squared_distances(self.geometry.unit_means()), 0))

    def weights(self) -> Floats:
        """W in units of `head.size_W`.

        Raises:
            UndefinedError: no head, or a zero one.
        """
        if self.head is None:
            raise UndefinedError("needs a head: pass W")
        if not self.head.weights.any():
            raise UndefinedError("W is zero")
        return self.head.weights

    def unit_weights(self) -> Floats:
        """Rows of W of length 1.

        Raises:
            UndefinedError: no head, or a row that is zero.
        """
        W = self.weights()
        norms = np.linalg.norm(W, axis=1)
        if not norms.all():
            raise UndefinedError(f"row {np.flatnonzero(norms == 0)[0]} of W is zero, and has no direction")
        result: Floats = W / norms[:, None]
        return result

    def second_pass(self) -> Samples:
        """The second pass.

        Raises:
            UndefinedError: there was none, or the means do not differ.
        """
        self.geometry.some_mean()
        if self.samples is None:
            raise UndefinedError(ONCE)
        return self.samples


def normalised(A: Floats) -> Floats:
    """A / |A|."""
    return A / np.linalg.norm(A)


def etf_error(A: Floats) -> float:
    """|A/|A| - P/sqrt(C-1)| of a C x C matrix."""
    C = len(A)
    return float(np.linalg.norm(normalised(A) - (np.eye(C) - 1 / C) / np.sqrt(C - 1)))


def pairs(A: Floats) -> Floats:
    """Entries of a symmetric matrix above its diagonal."""
    return A[np.triu_indices(len(A), 1)]


def times(value: float, *sizes: float) -> float:
    """A value in units that are multiplied one by one, the large with the small, so that only the result can overflow."""
    small = sorted(size for size in sizes if size < 1)
    large = sorted((size for size in sizes if size >= 1), reverse=True)
    while small or large:
        grow = large and (not small or abs(value) < 1)
        value *= large.pop(0) if grow else small.pop(0)
    return value
