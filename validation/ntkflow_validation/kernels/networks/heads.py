"""Linear classifiers as arrays, or as the layers of a framework, each with its own layout."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from ntkflow import checks
from ntkflow.errors import InputError
from ntkflow_validation.kernels.methods.components import Head
from ntkflow_validation.kernels.networks.host import on_host

KINDS = "(W, b), (W, None), W, a linear layer of torch, Flax NNX or Equinox, or its parameters by name"


def checked_head(head: Any, n: int, C: int | None = None) -> Head | None:
    """The classifier in float64, or None.

    Args:
        head: None, or one of `KINDS`. W is (C, n), as torch and Equinox have it; the kernel of Flax is (n, C).
        n: features.
        C: classes; None for any number of outputs.

    Raises:
        InputError: it is none of these, does not fit, or a layer whose parameters are not trained as they stand.
    """
    if head is None:
        return None
    _check_layer(head)
    weights, bias = parts(head)
    W = checks.numbers("head.W", on_host(weights), 2)
    b = None if bias is None else checks.numbers("head.b", on_host(bias))
    outputs = len(W) if C is None else C
    if W.shape != (outputs, n):
        raise InputError(
            "head",
            f"W of shape {W.shape}",
            f"must be (C, n) = ({outputs}, {n})",
            _remedy(W.shape, outputs, n),
        )
    if b is not None and b.shape != (outputs,):
        raise InputError("head", f"b of shape {b.shape}", f"must be ({outputs},), or None", "fix it")
    return Head(W, b)


def part(thing: Any, which: Any) -> Any:
    """A part of a network: by the path of an attribute or key, "model.head", or by a function of the network."""
    if callable(which):
        return which(thing)
    found = thing
    for name in str(which).split("."):
        try:
            found = found[name] if hasattr(found, "keys") else getattr(found, name)
        except (KeyError, AttributeError):
            raise InputError(
                "head",
                which,
                f"{type(found).__name__} has no {name!r}",
                "give the path of the last layer, or a function",
            ) from None
    return found


def named_head(head: Any, network: Any, params: Any) -> Any:
    """A head that is given by its path in a module or, of a Linen module or a function, in the parameters; any other itself."""
    if not isinstance(head, str):
        return head
    if params is None:
        return part(network, head)
    inner = params["params"] if isinstance(params, Mapping) and "params" in params else params
    return part(inner, head)


def _remedy(shape: tuple[int, ...], C: int, n: int) -> str:
    if shape == (n, C):
        return "transpose it"
    return "give the layer that follows these features, with an output for each class"


def parts(head: Any) -> tuple[Any, Any]:
    """W (C, n) and b or None, as the framework has them, of one of `KINDS`.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(head, Mapping):
        return _named(head, head)
    if hasattr(head, "kernel") or (hasattr(head, "weight") and hasattr(head, "bias")):
        names = [name for name in ("kernel", "weight", "bias") if hasattr(head, name)]
        return _named({name: getattr(head, name) for name in names}, head)
    if isinstance(head, (tuple, list)) and 1 <= len(head) <= 2 and _axes(head[0]) == 2:
        return head[0], (head[1] if len(head) == 2 else None)
    if _axes(head) == 2:
        return head, None
    raise _unknown(head)


def _named(values: Mapping[str, Any], head: Any) -> tuple[Any, Any]:
    bias = values.get("bias")
    # A layer of Flax without a bias may have a variable that holds none.
    bias = bias if jax.tree.leaves(bias) else None
    if "kernel" in values and _axes(values["kernel"]) == 2:
        return on_host(values["kernel"]).T, bias
    if "weight" in values and _axes(values["weight"]) == 2:
        return values["weight"], bias
    raise _unknown(head)


def _axes(value: Any) -> int:
    if hasattr(value, "shape"):
        return len(value.shape)
    depth = 0
    while isinstance(value, Sequence) and not isinstance(value, str) and value:
        value, depth = value[0], depth + 1
    return depth


def _check_layer(layer: Any) -> None:
    """Refuse what H^T H + 1 is not the own kernel of: a weight made of other parameters, or one that is frozen."""
    if hasattr(layer, "parametrizations") or hasattr(layer, "weight_g"):
        raise InputError(
            "head",
            type(layer).__name__,
            "makes its weight of other parameters, so that its own kernel is another than that of W",
            "give (W, b) as arrays to measure it as if W itself were trained",
        )
    for name in ("weight", "bias"):
        tensor = getattr(layer, name, None)
        if getattr(tensor, "requires_grad", True) is False and hasattr(tensor, "detach"):
            raise InputError(
                "head",
                f"{type(layer).__name__} with a frozen {name}",
                "has no kernel of its own, which the output NTK includes",
                "call requires_grad_(True) on it, or give (W, b) as arrays to measure it as if it were trained",
            )


def _unknown(head: Any) -> InputError:
    shape = getattr(head, "shape", None)
    shown = type(head).__name__ if shape is None else f"array of shape {tuple(shape)}"
    return InputError("head", shown, f"is none of {KINDS}", "give one of these")
