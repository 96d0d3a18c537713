"""Sizes of the problem: classes C, samples per class m, features n."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from ntkflow._types import Integers, Labels, PerClass, Targets
from ntkflow.checks import whole
from ntkflow.errors import InputError

# More different runs than this are shortened to the range of the values.
SHOWN = 8


def repeated(values: Iterable[object]) -> str:
    """A list as people read it, what repeats summarised: "20, 10, 2 x 5"; long ones by their range.

    >>> repeated([20, 10, 5, 5])
    '20, 10, 2 x 5'
    """
    runs = [(value, len(list(group))) for value, group in groupby(values)]
    if len(runs) > SHOWN:
        every = [value for value, count in runs for _ in range(count)]
        return f"{len(every)} values from {min(every)} to {max(every)}"  # type: ignore[type-var]
    return ", ".join(str(value) if count == 1 else f"{count} x {value}" for value, count in runs)


def one_hot(labels: Integers, C: int) -> Targets:
    """Y of samples in any order: Y[c, i] = 1 where sample i is of class c, else 0; C x N, a sample's C numbers together.

    >>> one_hot(np.array([1, 0, 1]), 2)
    array([[0., 1., 0.],
           [1., 0., 1.]])
    """
    return np.eye(C)[:, labels]


@dataclass(frozen=True)
class Sizes:
    """C classes, m samples per class, n features; samples are ordered by class.

    Args:
        C: number of classes, at least 2.
        m: samples per class; one integer, or one per class when the classes are imbalanced.
            Equal counts are folded to one integer, so that equal sizes compare equal.
        n: features, at least 1 (the paper assumes n > C; nothing here needs it).

    Raises:
        InputError: a size is not a whole number, or too small, or the number of counts is not C.

    >>> Sizes(C=3, m=4, n=5).N
    12
    >>> Sizes(C=2, m=(3, 5), n=4).balanced
    False
    """

    C: int
    m: int | tuple[int, ...]
    n: int

    def __post_init__(self) -> None:
        C = whole("C", self.C, 2, "there is nothing to classify otherwise")
        object.__setattr__(self, "C", C)
        object.__setattr__(self, "n", whole("n", self.n, 1, "features need a dimension"))
        object.__setattr__(self, "m", _per_class(C, self.m))

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Samples in each class, m_1 .. m_C."""
        return self.m if isinstance(self.m, tuple) else (self.m,) * self.C

    @cached_property
    def masses(self) -> PerClass:
        """Samples in each class as float64, shape (C,)."""
        return np.asarray(self.counts, dtype=np.float64)

    @property
    def N(self) -> int:
        """Number of samples."""
        # Not from the list of counts, which of absurd sizes is too long to be made.
        return self.C * self.m if isinstance(self.m, int) else sum(self.m)

    @property
    def balanced(self) -> bool:
        """Whether every class has the same number of samples."""
        return isinstance(self.m, int)

    @property
    def per_class(self) -> int:
        """The common m.

        Raises:
            InputError: the classes are imbalanced, so no common m exists.
        """
        if isinstance(self.m, tuple):
            raise InputError(
                "m", repeated(self.m), "must be equal for all classes in this formula", "use ClassBlockKernel"
            )
        return self.m

    @cached_property
    def labels(self) -> Labels:
        """Class of each sample, 0 .. C-1, sorted, shape (N,)."""
        return np.repeat(np.arange(self.C, dtype=np.int64), self.counts)

    @property
    def Y(self) -> Targets:
        """The targets, one-hot, C x N; in C order."""
        return np.ascontiguousarray(one_hot(self.labels, self.C))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Index of the first sample of each class."""
        return tuple(int(s) for s in np.concatenate([[0], np.cumsum(self.counts)[:-1]]))

    def as_dict(self) -> dict[str, object]:
        """Plain values for files: C, m, n, N."""
        return {
            "C": self.C,
            "m": list(self.m) if isinstance(self.m, tuple) else self.m,
            "n": self.n,
            "N": self.N,
        }


def _per_class(C: int, m: object) -> int | tuple[int, ...]:
    strange = isinstance(m, np.ndarray) and (m.dtype.kind not in "iu" or isinstance(m, np.ma.MaskedArray))
    if strange or isinstance(m, str | bytes):
        raise InputError("m", m, "must be a whole number, or one per class", "give counts")
    # An array without axes has `__iter__` as all arrays do, and raises when it is used.
    if isinstance(m, Iterable) and not (isinstance(m, np.ndarray) and m.ndim == 0):
        counts = tuple(whole("m", value, 1, "every class needs a sample") for value in m)
        if len(counts) != C:
            text = f"{len(counts)} counts ({repeated(counts)})"
            raise InputError("m", text, f"must have one count per class, C = {C}", "give C counts")
        return counts[0] if len(set(counts)) == 1 else counts
    return whole("m", m, 1, "every class needs a sample")
