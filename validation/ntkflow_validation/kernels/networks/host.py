"""Arrays of any framework as numpy's, left where they are."""

from typing import Any

import numpy as np

from ntkflow.errors import InputError

# Types of half precision, by their names in every framework.
HALF = ("float16", "bfloat16")


def on_host(value: Any) -> np.ndarray:
    """A numpy array of what is a torch tensor, a jax array, a variable of Flax NNX, or anything that numpy takes."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        # numpy has no bfloat16.
        value = value.float() if is_half(value) else value
        return np.asarray(value)
    return np.asarray(value)


def is_half(array: Any) -> bool:
    """Whether an array of any framework has floating-point numbers of half precision."""
    return str(getattr(array, "dtype", "")).rpartition(".")[2] in HALF


def single(array: Any) -> Any:
    """An array of JAX or numpy in single precision where it was in half; anything else itself."""
    return array.astype(np.float32) if is_half(array) else array


def inputs(argument: str, X: Any) -> np.ndarray:
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
