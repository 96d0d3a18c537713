"""States of the dynamics: (H, W, b) as the paper writes them, and the class-decomposed thin form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkflow import checks, views
from ntkflow._types import Biases, ClassMeans, Features, Floats, Labels, Weights, WithinFactor
from ntkflow.errors import InputError
from ntkflow.problem.sizes import Sizes


@dataclass(frozen=True, eq=False)
class State:
    """Features H (n x N, samples ordered by class), weights W (C x n), biases b (C). Float64.

    Raises:
        InputError: an array does not hold floats, is not finite, or the shapes do not fit each other.

    Warns:
        PrecisionWarning: an array is of a shorter type, as networks have them; it is widened.
    """

    H: Features
    W: Weights
    b: Biases

    def __post_init__(self) -> None:
        for name, ndim in (("H", 2), ("W", 2), ("b", 1)):
            object.__setattr__(self, name, checks.double(name, getattr(self, name), ndim))
        (n, _), (C, n_of_W) = self.H.shape, self.W.shape
        if n_of_W != n:
            raise InputError(
                "W",
                f"array of shape {self.W.shape}",
                f"must have one column per feature, n = {n} as in H",
                "check both",
            )
        checks.shape("b", self.b.shape, (C,), ", one bias per row of W", "check both")

    def check(self, sizes: Sizes) -> None:
        """Raise InputError when the shapes are not those of `sizes`."""
        for name, got, want in (
            ("H", self.H.shape, (sizes.n, sizes.N)),
            ("W", self.W.shape, (sizes.C, sizes.n)),
        ):
            checks.shape(name, got, want, "", "fix the state or the sizes")

    @classmethod
    def from_samples(
        cls, H: Features, W: Weights, b: Biases, labels: Labels
    ) -> tuple["State", Sizes, Labels]:
        """Sort samples by class; classes may be imbalanced and labels in any order.

        Args:
            H: features, one column per sample.
            W: weights, one row per class.
            b: biases.
            labels: class of each sample, 0 .. C-1.

        Returns:
            The state with sorted samples, its sizes, and `order` with H_sorted = H[:, order].

        Raises:
            InputError: a label is out of range or not whole, or a class has no sample.
        """
        # Before numpy copies them: a copy of a masked array has no mask.
        H, W, b = (
            checks.double(name, part, ndim) for name, part, ndim in (("H", H, 2), ("W", W, 2), ("b", b, 1))
        )
        labels = checked_labels(labels, C=W.shape[0], N=H.shape[1])
        order = np.argsort(labels, kind="stable")
        counts = np.bincount(labels, minlength=W.shape[0])
        state = cls(np.ascontiguousarray(H[:, order]), W, b)
        return state, Sizes(C=W.shape[0], m=tuple(int(c) for c in counts), n=H.shape[0]), order

    def save(
        self,
        path: Path | str,
        labels: Labels | None = None,
        *,
        sizes: Sizes | None = None,
        overwrite: bool = False,
        **details: Any,
    ) -> Path:
        """Write a state file, as `ntkflow simulate --state` reads it, from the labels or from the sizes.

        Args:
            path: the file.
            labels: class of each sample, (N,).
            sizes: instead of labels, for samples sorted by class.
            overwrite: replace a file that lies there.
            details: kernel, meta, arrays of a kernel: see `ntkflow.runs.files.write_state`.

        Raises:
            InputError: the file exists, or neither labels nor sizes are given.
        """
        # What writes it stands above: the door leads there.
        import ntkflow

        return ntkflow.save(self, path, overwrite=overwrite, labels=labels, sizes=sizes, **details)

    def __repr__(self) -> str:
        return views.called(self, C=len(self.W), n=len(self.H), N=self.H.shape[1])

    @property
    def logits(self) -> Floats:
        """F = W H + b 1^T, shape (C, N). Source: eq. (1)."""
        return self.W @ self.H + self.b[:, None]


def checked_labels(labels: object, C: int, N: int) -> Labels:
    """Labels as int64, or InputError naming the first one that is wrong."""
    values = checks.class_indices("labels", labels, N)
    outside = np.flatnonzero((values < 0) | (values >= C))
    if outside.size:
        raise InputError(
            f"labels[{outside[0]}]",
            int(values[outside[0]]),
            f"must lie in 0 .. {C - 1}",
            "fix the labels or add rows to W",
        )
    missing = np.flatnonzero(np.bincount(values, minlength=C) == 0)
    if missing.size:
        raise InputError(
            "labels",
            f"no sample of class {missing[0]}",
            "every class needs a sample",
            "add samples or drop the row of W",
        )
    return values


@dataclass(frozen=True, eq=False)
class ThinState:
    """Class-decomposed state: H = H1 Y + L Q^T with a constant orthonormal Q kept in the `Frame`.

    Attributes:
        H1: class means, n x C (eq. 24).
        L: within-class factor, n x r; L L^T = sum_i (h_i - mean)(h_i - mean)^T, which is m S = m H2 H2^T.
        W: weights, C x n.
        b: biases, C.
    """

    H1: ClassMeans
    L: WithinFactor
    W: Weights
    b: Biases

    def __repr__(self) -> str:
        return views.called(self, C=len(self.W), n=len(self.H1), r=self.L.shape[1])

    def pack(self) -> Floats:
        """One flat vector, in the order H1, L, W, b."""
        return np.concatenate([self.H1.ravel(), self.L.ravel(), self.W.ravel(), self.b])


def class_means(H: Features, sizes: Sizes) -> ClassMeans:
    """H1: mean feature vector of each class, n x C. Source: eq. (24)."""
    # Samples are sorted by class, so that sums over classes are sums over runs: no product with Y.
    return np.add.reduceat(H, sizes.starts, axis=1) / sizes.masses


def spread(H1: ClassMeans, sizes: Sizes) -> Features:
    """Repeat column c of H1 for every sample of class c: H1 Y."""
    return np.repeat(H1, sizes.counts, axis=1)


def deviations(H: Features, H1: ClassMeans, sizes: Sizes) -> Features:
    """What H has beyond H1 Y, the within-class part."""
    if sizes.balanced:
        # Several times faster for many samples, since H1 Y is never written out.
        return (H.reshape(len(H), sizes.C, -1) - H1[:, :, None]).reshape(H.shape)
    return H - spread(H1, sizes)
