"""Second pass: what only samples beside the final means can tell."""

from dataclasses import dataclass

import numpy as np

from ntkflow._types import Floats
from ntkflow.metrics.published.geometry import Geometry
from ntkflow.metrics.published.moments import doubles, sorted_blocks
from ntkflow.scaling import unit


@dataclass(eq=False)
class Head:
    """A head in units: W = weights * size_W, b = biases * size_b."""

    weights: Floats
    size_W: float
    biases: Floats | None
    size_b: float

    @classmethod
    def of(cls, W: Floats, b: Floats | None) -> "Head":
        """From W (C, n) and b (C,)."""
        weights, size_W = unit(W)
        biases, size_b = (None, 1.0) if b is None else unit(b)
        return cls(weights, size_W, biases, size_b)

    def terms(self, size: float) -> tuple[float, Floats | float]:
        """Factor of weights @ h and bias to add, both in the unit of the larger one, for h in units of `size`."""
        if self.biases is None or not self.biases.any():
            return 1.0, 0.0
        # Exponents of two are added, since the product of the units may be no number.
        of_products = np.frexp(self.size_W)[1] + np.frexp(size)[1] - 1
        of_biases = np.frexp(self.size_b)[1]
        most = max(of_products, of_biases)
        factor = float(np.ldexp(1.0, int(of_products - most)))
        return factor, np.ldexp(self.biases, int(of_biases - most))


class Samples:
    """Sums over samples, deviations taken from the class means of a `Geometry`.

    Attributes:
        counts: samples, (C,).
        squares: sums of squared deviations, (C, n).
        along: the same along each direction that the means span, (r,).
        nearest_own: samples whose nearest class mean is their own class's.
        hits: by name, samples that the head puts into: "own" their own class; "nearest" that of the nearest mean, or
            "nearest_unbiased" without its bias.
    """

    def __init__(self, geometry: Geometry, head: Head | None) -> None:
        self.geometry, self.head = geometry, head
        # Once for all batches: places of the means within their span, and what |z - z_c|^2 has of its own in each.
        s, self._V = geometry.spanned
        self._places = geometry.M @ self._V
        self._half = 0.5 * np.sum(self._places**2, axis=1)
        self.counts = np.zeros(geometry.C)
        self.squares = np.zeros_like(geometry.M)
        self.along = np.zeros_like(s)
        self.nearest_own = 0
        self.hits = dict.fromkeys(("own", "nearest", "nearest_unbiased"), 0)

    @property
    def N(self) -> int:
        """Samples counted so far."""
        return int(self.counts.sum())

    def add(self, H: Floats, classes: Floats) -> None:
        """Count samples in: features (k, n) and classes 0 .. C-1 (k,)."""
        for rows, of in sorted_blocks(H, classes):
            D = doubles(H[rows])
            D /= self.geometry.size
            # Before anything is subtracted: the head sees the features as they came.
            if self.head is not None:
                products = D @ self.head.weights.T
            # In two steps: features and origin are alike in size, and only their difference is as small as the means.
            D -= self.geometry.origin
            D -= self.geometry.relative[of]
            Z = D @ self._V
            present, starts, lengths = np.unique(of, return_index=True, return_counts=True)
            self.counts[present] += lengths
            self.squares[present] += np.add.reduceat(np.square(D, out=D), starts, axis=0)
            self.along += np.sum(Z**2, axis=0)
            # Within the span of the means alone: what is orthogonal to it is as far from one mean as from any other.
            # argmin |z - z_c|^2 = argmax (z . z_c - |z_c|^2 / 2)
            Z += self._places[of]
            scores = Z @ self._places.T
            scores -= self._half
            nearest = scores.argmax(axis=1)
            self.nearest_own += int(np.sum(nearest == of))
            if self.head is None:
                continue
            self.hits["nearest_unbiased"] += int(np.sum(products.argmax(axis=1) == nearest))
            factor, biases = self.head.terms(self.geometry.size)
            predicted = (products * factor + biases).argmax(axis=1)
            self.hits["nearest"] += int(np.sum(predicted == nearest))
            self.hits["own"] += int(np.sum(predicted == of))
