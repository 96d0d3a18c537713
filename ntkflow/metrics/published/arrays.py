"""Features and heads as frameworks give them: numpy, jax, torch; any float; nothing converted before it is needed."""

from typing import Any

import numpy as np

from ntkflow import checks
from ntkflow._types import Floats
from ntkflow.errors import InputError

# Spacing of bfloat16 at 1; numpy itself has no such type.
BFLOAT16 = 2.0**-7
# Numbers of one block of rows: 16 MiB in float64.
BLOCK = 1 << 21


def features(argument: str, value: Any, ndim: int | None = 2) -> tuple[Floats, float]:
    """Real numbers of whatever type they came in, and the relative spacing of that type.

    Raises:
        InputError: no real numbers, another number of axes, or none at all.
    """
    value, eps = plain(value), None
    if getattr(getattr(value, "dtype", None), "name", "") == "bfloat16":
        value, eps = np.asarray(value).astype(np.float32), BFLOAT16
    array = checks.as_given(argument, value, "pass an array of numbers, as H.detach().cpu().numpy()")
    # Long doubles would be rounded without a word.
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise InputError(argument, f"{array.dtype} array", "is longer than float64", "pass float64")
    if ndim is not None and array.ndim != ndim:
        raise InputError(
            argument, f"array of shape {array.shape}", f"must have {ndim} axes", "samples are rows: (N, n)"
        )
    if array.size == 0:
        raise InputError(argument, f"array of shape {array.shape}", "holds no numbers", "give some samples")
    if eps is None:
        eps = float(np.finfo(array.dtype if array.dtype.kind == "f" else np.float64).eps)
    return array, eps


def head(W: Any, b: Any, n: int) -> tuple[np.ndarray | None, Floats | None]:
    """The weights (C, n) and biases (C,) of a head in float64; None for what there is not.

    Raises:
        InputError: not of these shapes, a bias without weights, or entries that are not finite.
    """
    if b is None:
        W, b = _layer(W)
    if W is None:
        if b is not None:
            raise InputError("b", "given without W", "belongs to a head", "give W as well, or neither")
        return None, None
    weights = checks.numbers("W", features("W", W)[0])
    C = len(weights)
    if weights.shape[1] != n:
        turned = "pass W.T" if n == C else f"W has a row per class and n = {n} columns, as H has"
        raise InputError("W", f"array of shape {weights.shape}", f"must be (C, {n})", turned)
    if b is None:
        return weights, None
    biases = checks.numbers("b", features("b", b, None)[0])
    if biases.shape != (C,):
        raise InputError("b", f"array of shape {biases.shape}", f"must be ({C},)", "one bias per row of W")
    return weights, biases


def _layer(W: Any) -> tuple[Any, Any]:
    """Weights (C, n) and biases of a linear layer of torch, Equinox or Flax NNX; of anything else itself and none."""
    bias = getattr(W, "bias", None)
    # A layer of Flax without a bias may have a variable that holds none.
    bias = None if getattr(bias, "shape", None) is None else bias
    if hasattr(W, "weight"):
        return W.weight, bias
    return (np.asarray(W.kernel).T, bias) if hasattr(W, "kernel") else (W, None)


def plain(value: Any) -> Any:
    """A torch tensor off its device and without its gradient; anything else as it is."""
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    return _Widened(value) if str(value.dtype) == "torch.bfloat16" else value.numpy()


class _Widened:
    """A torch tensor of bfloat16, which numpy takes as float32."""

    class dtype:  # noqa: N801
        name = "bfloat16"

    def __init__(self, tensor: Any) -> None:
        self._array = tensor.float().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Floats:
        return np.array(self._array, dtype=dtype, copy=copy)
