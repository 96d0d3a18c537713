"""Classes of samples as indices, from indices or one-hot rows of any framework."""

import numpy as np

from ntkflow import checks
from ntkflow._types import Labels
from ntkflow.errors import InputError
from ntkflow.foreign.arrays import off_device


def is_one_hot(rows: np.ndarray) -> bool:
    """Whether every row has one 1 and else 0; rows of numbers or truth values, (N, C)."""
    return bool(np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all())


def class_indices(y: object, N: int | None = None) -> Labels:
    """Index of each sample's class, (N,).

    Args:
        y: indices, (N,) or a column of them, or one-hot rows (N, C) of truth values or numbers.
        N: samples; None for any number.

    Raises:
        InputError: it is neither, or of another number of samples.
    """
    # Masked arrays and lists are looked at by the checks themselves.
    values = off_device(y)
    if _axes(values) == 2 and np.shape(values)[1] == 1:  # type: ignore[call-overload]
        values = np.reshape(values, -1)  # type: ignore[call-overload]
    if _axes(values) != 2:
        found = np.size(values) if N is None and _axes(values) == 1 else N  # type: ignore[arg-type]
        return checks.class_indices("y", values, found or 0, "one per sample of X")
    truths = str(getattr(values, "dtype", "")) == "bool" and not isinstance(values, np.ma.MaskedArray)
    rows = np.asarray(values, dtype=np.int64) if truths else checks.numbers("y", values, 2)
    if N is not None and len(rows) != N:
        raise InputError(
            "y", f"array of shape {rows.shape}", f"must have {N} rows, one per sample of X", "check both"
        )
    if not is_one_hot(rows):
        raise InputError(
            "y",
            f"array of shape {rows.shape}",
            "must be class indices (N,), or one-hot rows (N, C): one 1 and else 0",
            "give y.argmax(1) where labels are smoothed",
        )
    return np.asarray(rows.argmax(axis=1), dtype=np.int64)


def _axes(values: object) -> int:
    try:
        return np.ndim(values)  # type: ignore[arg-type]
    except ValueError:  # rows of several lengths
        return -1


def counted(labels: Labels, C: int | None = None) -> np.ndarray:
    """Samples of each class 0 .. C-1, (C,).

    Args:
        labels: class of each sample.
        C: how many classes there are; None for those that occur.

    Raises:
        InputError: a class has no sample, there are fewer than two, or labels that are none of the C.
    """
    if len(labels) == 0 or labels.min() < 0:
        raise InputError("y", "empty or negative labels", "must be 0 .. C-1", "renumber the classes")
    counts = np.bincount(labels, minlength=C or 0)
    if len(counts) != (C or len(counts)) or not counts.all() or len(counts) < 2:
        rule = "must have two or more classes, none empty"
        if C is not None:
            rule = f"must have a sample of each of {C} classes, at least 2, and none of others"
        raise InputError(
            "y", f"counts {counts.tolist()[:10]}", rule, "renumber the classes, or say how many there are"
        )
    return counts
