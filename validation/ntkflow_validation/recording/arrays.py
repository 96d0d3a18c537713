"""Features, heads and labels as frameworks give them, as arrays of the theory: H with samples in columns, W (C, n), b (C,)."""

from typing import Any

import numpy as np

from ntkflow import checks
from ntkflow.errors import InputError
from ntkflow_validation.kernels.networks.heads import parts
from ntkflow_validation.kernels.networks.host import on_host


def doubles(argument: str, value: Any, ndim: int) -> np.ndarray:
    """Float64 of so many axes, whether or not it is finite.

    Raises:
        InputError: it is no such array.
    """
    try:
        found = np.asarray(on_host(value), dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(argument, type(value).__name__, "is no array of numbers", "give one") from None
    if found.ndim != ndim:
        raise InputError(
            argument,
            f"array of shape {found.shape}",
            f"must have {ndim} axes",
            "give it as the network has it",
        )
    return found


def columns(H: Any, N: int, rows: bool | None) -> np.ndarray:
    """H with samples in columns, (n, N), from whichever way it was given.

    Args:
        H: features, (N, n) as frameworks have them or (n, N) as the paper has them.
        N: samples.
        rows: True where samples are rows, False where they are columns; None lets the shape say it.

    Raises:
        InputError: neither axis has length N; or both have, and `rows` does not say which is meant.
    """
    found = doubles("H", H, 2)
    shape = found.shape
    if rows is None and shape[0] == shape[1] == N:
        raise InputError(
            "H",
            f"array of shape {shape}",
            f"has {N} samples along both axes: which one holds them cannot be told",
            "say rows=True for samples in rows, as frameworks give them, or rows=False",
        )
    in_rows = shape[0] == N if rows is None else rows
    if shape[0 if in_rows else 1] != N:
        raise InputError(
            "H",
            f"array of shape {shape}",
            f"must be (N, n) with N = {N} samples as in y"
            if in_rows
            else f"must be (n, N) with N = {N} samples as in y",
            "give the features of exactly these samples, in their order",
        )
    return found.T if in_rows else found


def head_of(W: Any, b: Any, C: int) -> tuple[np.ndarray, np.ndarray | None]:
    """W (C, n) and b (C,), None where there is none, from arrays or a layer.

    Raises:
        InputError: it is no head (`ntkflow_validation.kernels.networks.heads`), or has not C rows.
    """
    weights, bias = (W, b) if b is not None else parts(W)
    found = doubles("W", weights, 2)
    if len(found) != C:
        remedy = (
            "transpose it"
            if found.shape[1] == C
            else "give the last layer, with an output for each class of y"
        )
        raise InputError("W", f"array of shape {found.shape}", f"must be (C, n) with C = {C} classes", remedy)
    if bias is None:
        return found, None
    biases = doubles("b", bias, 1)
    checks.shape("b", biases.shape, (C,), ", one bias per class", "give the last layer's")
    return found, biases


def labels_of(y: Any, classes: int | None) -> tuple[np.ndarray, int]:
    """Class of each sample, from classes or from one-hot rows, and how many classes there are.

    Raises:
        InputError: they are neither, or a class has no sample.
    """
    given = on_host(y)
    if given.ndim == 2 and given.shape[1] > 1:
        if not (np.isin(given, (0, 1)).all() and (given.sum(axis=1) == 1).all()):
            raise InputError(
                "y", f"array of shape {given.shape}", "rows must be one-hot", "give the classes, (N,)"
            )
        given = given.argmax(axis=1)
    labels = checks.class_indices("y", given.reshape(-1), given.size, "one per recorded sample")
    if len(labels) == 0 or labels.min() < 0:
        raise InputError("y", "empty or negative labels", "must be 0 .. C-1", "renumber the classes")
    C = int(labels.max()) + 1 if classes is None else classes
    counts = np.bincount(labels, minlength=C)
    if len(counts) > C or not counts.all() or C < 2:
        raise InputError(
            "y",
            f"counts {counts.tolist()[:10]}",
            f"must have a sample of each of {C} classes, at least 2, and none of others",
            "renumber the classes, or give the clock the number that there is",
        )
    return labels, C
