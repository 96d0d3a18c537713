"""Features, heads and labels as frameworks give them, as arrays of the theory: H with samples in columns, W (C, n), b (C,)."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ntkflow import checks
from ntkflow.errors import InputError

HEADS = "(W, b), W, a linear layer of torch, Flax NNX or Equinox, or its parameters by name"


def on_host(value: Any) -> np.ndarray:
    """A numpy array of what is a torch tensor, a jax array, a variable of Flax NNX, or anything that numpy takes."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        # numpy has no bfloat16, and the dynamics are float64 anyway.
        value = value.detach().cpu()
        return np.asarray(value.double() if value.is_floating_point() else value)
    return np.asarray(_raw(value))


def _raw(value: Any) -> Any:
    """What a variable of Flax NNX holds, perhaps None; anything else itself."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(value, nnx.Variable):
        return value
    # Releases of Flax differ in the name.
    return value.get_raw_value() if hasattr(value, "get_raw_value") else value.raw_value


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
        InputError: it is none of `HEADS`, or has not C rows.
    """
    weights, bias = (W, b) if b is not None else _parts(W)
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


def _parts(head: Any) -> tuple[Any, Any]:
    if isinstance(head, Mapping):
        return _named(dict(head))
    if hasattr(head, "kernel") or (hasattr(head, "weight") and hasattr(head, "bias")):
        return _named({name: getattr(head, name, None) for name in ("kernel", "weight", "bias")})
    if isinstance(head, tuple | list) and len(head) == 2 and len(getattr(head[0], "shape", ())) == 2:
        return head[0], head[1]
    if len(getattr(head, "shape", ())) == 2:
        return head, None
    raise InputError("head", type(head).__name__, f"is none of {HEADS}", "give one of these")


def _named(values: dict[str, Any]) -> tuple[Any, Any]:
    bias = values.get("bias")
    # A layer of Flax without a bias has a variable that holds None.
    bias = _raw(bias)
    if values.get("kernel") is not None:
        return on_host(values["kernel"]).T, bias
    if values.get("weight") is not None:
        return values["weight"], bias
    raise InputError("head", sorted(values), f"is none of {HEADS}", "give one of these")


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
