"""Classes of samples as indices, from indices or one-hot rows of any framework."""

from typing import Any

import numpy as np

from ntkflow import checks
from ntkflow._types import Labels
from ntkflow.errors import InputError
from ntkflow_validation.kernels.networks.host import on_host


def class_indices(y: Any, N: int) -> Labels:
    """Index of each sample's class, (N,).

    Args:
        y: indices (N,), or one-hot rows (N, C) of truth values or numbers.
        N: samples.

    Raises:
        InputError: it is neither, or of another number of samples.
    """
    if y is None:
        raise InputError(
            "y",
            None,
            "a measurement is of classes",
            "give the class of each sample; kernels without are nf.gram's",
        )
    # Masked arrays and lists are looked at by the check itself.
    values = on_host(y) if hasattr(y, "detach") or hasattr(y, "devices") else y
    if _axes(values) != 2:
        return checks.class_indices("y", values, N, "one per sample of X")
    truths = str(getattr(values, "dtype", "")) == "bool" and not isinstance(values, np.ma.MaskedArray)
    rows = np.asarray(values, dtype=np.int64) if truths else checks.numbers("y", values, 2)
    if len(rows) != N:
        raise InputError(
            "y", f"array of shape {rows.shape}", f"must have {N} rows, one per sample of X", "check both"
        )
    if rows.shape[1] < 2 or not (np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all()):
        raise InputError(
            "y",
            f"array of shape {rows.shape}",
            "must be class indices (N,), or one-hot rows (N, C): one 1 and else 0",
            "give y.ravel() where it is a column of indices, y.argmax(1) where labels are smoothed",
        )
    return np.asarray(rows.argmax(axis=1), dtype=np.int64)


def _axes(values: Any) -> int:
    try:
        return np.ndim(values)
    except ValueError:  # rows of several lengths
        return -1
