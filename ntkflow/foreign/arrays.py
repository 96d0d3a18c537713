"""Arrays of any framework as numpy's; left as they are until they are needed."""

from typing import Protocol, TypeVar, cast, runtime_checkable

import numpy as np

from ntkflow import checks
from ntkflow._types import Floats
from ntkflow.errors import InputError

Leaf = TypeVar("Leaf")


@runtime_checkable
class Rows(Protocol):
    """Samples in an array or tensor of any framework, left there: what can be counted and cut along its first axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples first."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> "Rows": ...


# Types of half precision, by their names in every framework.
HALF = ("float16", "bfloat16")
# Spacing of bfloat16 at 1; numpy itself has no such type.
BFLOAT16 = 2.0**-7


def off_device(value: object) -> object:
    """A torch tensor as numpy's, without its gradient, and bfloat16 of any framework as float32; all else as it is."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        tensor = value.detach().cpu()
        # numpy has no bfloat16.
        taken: np.ndarray = (tensor.float() if _type_of(tensor) == "bfloat16" else tensor).numpy()
        return taken
    return np.asarray(value).astype(np.float32) if _type_of(value) == "bfloat16" else value


def on_host(value: object) -> np.ndarray:
    """A numpy array of what is a torch tensor, a jax array, a variable of Flax NNX, or anything that numpy takes."""
    return np.asarray(off_device(value))


def rows_of(X: object) -> Rows:
    """An array or tensor as it is; a list as numpy's."""
    return cast(Rows, X if hasattr(X, "shape") else np.asarray(X))


def is_half(array: object) -> bool:
    """Whether an array of any framework has floating-point numbers of half precision."""
    return _type_of(array) in HALF


def _type_of(array: object) -> str:
    # torch.float16, float16 and dtype('float16') are one.
    return str(getattr(array, "dtype", "")).rpartition(".")[2]


def single(array: Leaf) -> Leaf:
    """An array of JAX or numpy in single precision where it was in half; anything else itself."""
    return array.astype(np.float32) if is_half(array) else array  # type: ignore[attr-defined]


def inputs(argument: str, X: object) -> np.ndarray:
    """Samples of a network, (N, ...), of whole or floating-point numbers of single precision at least.

    Raises:
        InputError: they are no array, or have no axis of samples.
    """
    try:
        found: np.ndarray = single(on_host(X))
    except (TypeError, ValueError):
        found = np.empty(0, object)
    if found.ndim == 0 or found.dtype.kind not in "buif":
        raise InputError(
            argument,
            type(X).__name__,
            "must be one array of numbers, a sample a row",
            "give an array or tensor (N, ...); a network of several inputs takes them packed into one, and takes them apart",
        )
    if len(found) == 0:
        raise InputError(argument, f"array of shape {found.shape}", "has no samples", "give one at least")
    return found


def real(
    argument: str, value: object, ndim: int | None = 2, remedy: str = "samples are rows: (N, n)"
) -> tuple[Floats, float]:
    """Real numbers of whatever type they came in, and the relative spacing of that type; finite or not.

    Args:
        argument: its name.
        value: the array.
        ndim: axes that it must have; None for any.
        remedy: what to do where it has others.

    Raises:
        InputError: no real numbers, another number of axes, or none at all.
    """
    eps = BFLOAT16 if _type_of(value) == "bfloat16" else None
    array = checks.as_given(
        argument, off_device(value), "pass an array of numbers, as H.detach().cpu().numpy()"
    )
    # Long doubles would be rounded without a word.
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise InputError(argument, f"{array.dtype} array", "is longer than float64", "pass float64")
    if ndim is not None and array.ndim != ndim:
        raise InputError(argument, f"array of shape {array.shape}", f"must have {ndim} axes", remedy)
    if array.size == 0:
        raise InputError(argument, f"array of shape {array.shape}", "holds no numbers", "give some samples")
    if eps is None:
        eps = float(np.finfo(array.dtype if array.dtype.kind == "f" else np.float64).eps)
    return array, eps


def columns(H: object, N: int, rows: bool | None) -> Floats:
    """H with samples in columns, (n, N), float64, from whichever way it was given; finite or not.

    Args:
        H: features, (N, n) as frameworks have them or (n, N) as the paper has them.
        N: samples.
        rows: True where samples are rows, False where they are columns; None lets the shape say it.

    Raises:
        InputError: neither axis has length N; or both have, and `rows` does not say which is meant.
    """
    found = real("H", H, remedy="give it as the network has it")[0].astype(np.float64)
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
