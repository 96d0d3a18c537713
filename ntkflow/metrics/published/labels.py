"""Labels of any kind as classes 0 .. C-1: learnt batch by batch, checked against the rows of a head at the end."""

import warnings

import numpy as np

from ntkflow._types import Floats
from ntkflow.errors import InputError
from ntkflow.foreign.arrays import on_host
from ntkflow.foreign.labels import is_one_hot

SHOWN = 6
# As Python has them, once numpy has sorted them.
Label = int | float | bool | str


class LabelsWarning(UserWarning):
    """Labels that are not the rows of W, taken for them in sorted order."""


class Classes:
    """The classes met so far; a code is the place where a class was met first."""

    def __init__(self) -> None:
        self._codes: dict[Label, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def codes(self, argument: str, y: object, N: int, known: bool = False) -> Floats:
        """The codes of N labels, (N,).

        Args:
            argument: their name.
            y: labels: integers, whole floats, truth values or text, (N,) or a column of them; or one-hot rows (N, C).
            N: samples that they belong to.
            known: whether a class that was not met before is an error.

        Raises:
            InputError: not one label per sample, no labels, or a class that is not known.
        """
        names, places = np.unique(_labels(argument, y, N), return_inverse=True)
        found = names.tolist()
        strange = [name for name in found if name not in self._codes]
        if known and strange:
            rule = f"is no class of the training features ({_listed(sorted(self._codes))})"
            raise InputError(argument, f"label {strange[0]!r}", rule, "drop these samples")
        for name in strange:
            self._codes[name] = len(self._codes)
        return np.array([self._codes[name] for name in found])[places.reshape(-1)]

    def settled(self, C: int | None) -> tuple[Floats, tuple[str, ...]]:
        """The codes in the order of the classes, (C,), and what has to be said about that order.

        Args:
            C: rows of W; None without a head.

        Raises:
            InputError: fewer than two classes, labels of several kinds, or none that fit the rows of W.
        """
        try:
            names = sorted(self._codes)
        except TypeError:
            raise InputError("y", "labels of several kinds", "must be of one kind", "map them") from None
        order = np.array([self._codes[name] for name in names])
        if C is not None and len(names) != C:
            missing = [c for c in range(C) if c not in names]
            # Indices that fit, with one left out: the likely fault is a split without that class, not another labelling.
            if missing and all(isinstance(name, int) and 0 <= name < C for name in names):
                rule = f"has no sample of class {missing[0]}, for which W has a row: that class has no mean"
                remedy = "give samples of every class, or drop its row of W"
                raise InputError("y", _listed(names), rule, remedy)
            raise InputError(
                "y", _listed(names), f"are not the {C} classes of W", f"number them 0 to {C - 1}"
            )
        if len(names) < 2:
            raise InputError("y", _listed(names), "has one class", "collapse is about two or more")
        if names == list(range(len(names))):
            return order, ()
        note = f"labels {_listed(names)} are classes 0 to {len(names) - 1} in this order"
        if C is not None:
            warnings.warn(f"{note}; check that the rows of W are in it", LabelsWarning, stacklevel=5)
        return order, (note,)


def _listed(names: list[Label]) -> str:
    some = ", ".join(str(name)[:40] for name in names[:SHOWN])
    return f"{some}, ... ({len(names)} in all)" if len(names) > SHOWN else some


def _labels(argument: str, y: object, N: int) -> Floats:
    if isinstance(y, np.ma.MaskedArray):
        raise InputError(argument, "masked array", "hides labels", "drop these samples")
    try:
        array = on_host(y)
    except (TypeError, ValueError):
        raise InputError(argument, type(y).__name__, "must be labels", "one per row of H") from None
    if array.ndim == 2 and len(array) == N:
        array = _of_rows(argument, array)
    if array.shape != (N,):
        rule = f"must have shape ({N},), one label per row of H"
        raise InputError(argument, f"array of shape {array.shape}", rule, "samples are the rows of H: (N, n)")
    if array.dtype.kind == "O":
        # As pandas has text; numbers among it would be compared as text.
        if not all(isinstance(label, str) for label in array):
            raise InputError(argument, "Python objects", "must be labels", "pass integers or names")
        return array.astype(str)
    if array.dtype.kind == "f":
        return _whole(argument, array)
    if array.dtype.kind not in "iubUS":
        raise InputError(argument, f"{array.dtype} array", "must be labels", "pass integers or names")
    return array.astype(np.int64) if array.dtype.kind in "iub" else array.astype(str)


def _of_rows(argument: str, rows: Floats) -> Floats:
    """A column as it is, and where the 1 is of one-hot rows."""
    if rows.shape[1] == 1:
        return rows[:, 0]
    if rows.dtype.kind not in "iufb" or not is_one_hot(rows):
        rule = f"must have shape ({len(rows)},), one label per row of H, or one-hot rows: one 1 and else 0"
        remedy = f"give {argument}.argmax(axis=1) where labels are smoothed"
        raise InputError(argument, f"array of shape {rows.shape}", rule, remedy)
    found: Floats = rows.argmax(axis=1)
    return found


def _whole(argument: str, array: Floats) -> Floats:
    if not np.isfinite(array).all() or np.any(array != np.round(array)) or np.abs(array).max() >= 2**62:
        raise InputError(
            argument, f"{array.dtype} array", "must hold whole numbers", "pass class indices, not targets"
        )
    return array.astype(np.int64)
