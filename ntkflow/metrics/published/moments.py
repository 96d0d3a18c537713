"""First pass: counts, means and squared deviations of every class, from blocks of samples that are met once.

Blocks are merged as Chan, Golub & LeVeque (1983) do: with delta the difference of a class's two means and w = k k' / (k + k'),
sums of squares add up to those of both and w delta^2. Nothing is lost to a common offset of the features: every class is
counted from its own first sample, so that equal samples have no deviation at all.
"""

import numpy as np

from ntkflow.errors import InputError
from ntkflow.scaling import unit

# Features for which the scatter matrix, n x n, is kept when samples cannot be met twice: 200 MiB.
MOST_FEATURES = 5120
# Numbers of one block of rows: 16 MiB in float64.
BLOCK = 1 << 21


class Moments:
    """What is known of classes 0, 1, ... in the order in which they were met.

    Attributes:
        size: the unit of all that follows, a power of two; None before there is a number that is not zero.
        counts: samples, (C,).
        origins: the first sample of each class, (C, n).
        means: mean minus origin, (C, n).
        squares: sums of squared deviations from the mean, (C, n).
        scatter: the sum over samples of deviation deviation^T, (n, n); None when it is not kept.
        eps: the coarsest spacing of the numbers met.
    """

    def __init__(self, n: int, scatter: bool = False) -> None:
        self.n, self.eps = n, float(np.finfo(np.float64).eps)
        self.size: float | None = None
        self.counts = np.zeros(0)
        self.origins, self.means, self.squares = (np.zeros((0, n)) for _ in range(3))
        self.scatter = np.zeros((n, n)) if scatter else None

    def add(self, H: np.ndarray, codes: np.ndarray, eps: float) -> None:
        """Count samples in.

        Args:
            H: features, (k, n), any floats.
            codes: their classes, (k,).
            eps: relative spacing of the features' own type.

        Raises:
            InputError: an entry is not finite.
        """
        self.eps = max(self.eps, eps)
        for rows, of in sorted_blocks(H, codes):
            D = doubles(H[rows])
            self._rescale(D)
            D /= self.size or 1.0
            self._merge(D, of)

    def _rescale(self, D: np.ndarray) -> None:
        """Take the larger of the old and the new unit; powers of two change no digit."""
        if not D.any():
            return
        size = unit(D)[1]
        if self.size is None:
            self.size = size
        elif size > self.size:
            factor, self.size = self.size / size, size
            for array in (self.origins, self.means):
                array *= factor
            self.squares *= factor**2
            if self.scatter is not None:
                self.scatter *= factor**2

    def _merge(self, D: np.ndarray, codes: np.ndarray) -> None:
        self._grow(int(codes[-1]) + 1)
        present, starts, lengths = np.unique(codes, return_index=True, return_counts=True)
        # Sorted by class (`sorted_blocks`), so that sums over a class are runs, and a class's first sample its origin.
        fresh = self.counts[present] == 0
        self.origins[present[fresh]] = D[starts[fresh]]
        D -= np.repeat(self.origins[present], lengths, axis=0)
        delta = np.add.reduceat(D, starts, axis=0) / lengths[:, None]
        D -= np.repeat(delta, lengths, axis=0)
        delta -= self.means[present]
        old = self.counts[present]
        weight = (old * lengths / (old + lengths))[:, None]
        if self.scatter is not None:
            self.scatter += D.T @ D
            self.scatter += (delta * weight).T @ delta
        self.squares[present] += np.add.reduceat(np.square(D, out=D), starts, axis=0) + weight * delta**2
        self.means[present] += delta * (lengths / (old + lengths))[:, None]
        self.counts[present] += lengths

    def _grow(self, C: int) -> None:
        more = C - len(self.counts)
        if more > 0:
            # Twice as many as before, so that classes that come one by one are not copied again each time.
            more = max(more, len(self.counts))
            self.counts = np.concatenate([self.counts, np.zeros(more)])
            for name in ("origins", "means", "squares"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros((more, self.n))]))

    def settle(self, order: np.ndarray) -> None:
        """Put the classes into their final order, (C,)."""
        for name in ("counts", "origins", "means", "squares"):
            setattr(self, name, getattr(self, name)[order])


def sorted_blocks(H: np.ndarray, codes: np.ndarray) -> "list[tuple[np.ndarray, np.ndarray]]":
    """Rows sorted by class, in blocks that are small in float64: their numbers, and their classes."""
    order = np.argsort(codes, kind="stable")
    step = max(1, BLOCK // H.shape[1])
    return [(order[i : i + step], codes[order[i : i + step]]) for i in range(0, len(order), step)]


def doubles(H: np.ndarray) -> np.ndarray:
    """A copy in float64.

    Raises:
        InputError: an entry is not finite.
    """
    D = np.array(H, dtype=np.float64)
    if not np.isfinite(D).all():
        bad = D.size - int(np.isfinite(D).sum())
        raise InputError("H", f"array with {bad} NaN or infinite entries", "must be finite", "clean it")
    return D
