"""Linear classifiers as arrays, or as the layers of a framework, each with its own layout."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ntkflow import checks
from ntkflow._types import Biases, Weights
from ntkflow.errors import InputError
from ntkflow.foreign.arrays import on_host, real
from ntkflow.foreign.modules import ForeignNetwork

KINDS = "(W, b), (W, None), W, a linear layer of torch, Flax NNX or Equinox, or its parameters by name"
LAYER = "give the layer that follows these features, with an output for each class"


def read(
    W: object,
    b: object = None,
    *,
    n: int | None = None,
    C: int | None = None,
    of: str = "",
    finite: bool = True,
) -> tuple[Weights, Biases | None]:
    """A classifier in float64: W (C, n) and b (C,), None where there is none.

    Args:
        W: one of `KINDS`; with b the weights alone. W is (C, n), as torch and Equinox have it; the kernel of Flax is (n, C).
        b: biases, where they are not in W.
        n: features; None for any number.
        C: classes; None for any number.
        of: whose they are, as messages say it, "head."; nothing by default.
        finite: whether other entries are refused.

    Raises:
        InputError: it is none of these, does not fit, or has entries that are no numbers.
    """
    given, biases = parts(W, of.rstrip(".") or "W") if b is None else (W, b)
    found = _doubles(f"{of}W", given, 2, finite)
    _check_weights(f"{of}W", found.shape, n, C)
    if biases is None:
        return found, None
    offsets = _doubles(f"{of}b", biases, 1, finite)
    checks.shape(
        f"{of}b", offsets.shape, found.shape[:1], ", a bias for each row of W", "give those of W, or None"
    )
    return found, offsets


def _doubles(argument: str, value: object, ndim: int, finite: bool) -> np.ndarray:
    array, _ = real(argument, value, ndim, LAYER)
    return checks.numbers(argument, array) if finite else array.astype(np.float64)


def _check_weights(argument: str, shape: tuple[int, ...], n: int | None, C: int | None) -> None:
    wanted = (shape[0] if C is None else C, shape[1] if n is None else n)
    if shape != wanted:
        known = [f"C = {C} classes"] * (C is not None) + [f"n = {n} features"] * (n is not None)
        rule = f"must be (C, n) with {' and '.join(known)}"
        turned = C in (None, shape[1]) and n in (None, shape[0])
        raise InputError(argument, f"array of shape {shape}", rule, "transpose it" if turned else LAYER)


def parts(head: object, argument: str = "head") -> tuple[object, object]:
    """W (C, n) and b or None, as the framework has them, of one of `KINDS`.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(head, Mapping):
        return _named(head, head, argument)
    if hasattr(head, "kernel") or (hasattr(head, "weight") and hasattr(head, "bias")):
        names = [name for name in ("kernel", "weight", "bias") if hasattr(head, name)]
        return _named({name: getattr(head, name) for name in names}, head, argument)
    if isinstance(head, tuple | list) and 1 <= len(head) <= 2 and _axes(head[0]) == 2:
        return head[0], (head[1] if len(head) == 2 else None)
    if _axes(head) == 2:
        return head, None
    raise _unknown(head, argument)


def _named(values: Mapping[str, object], head: object, argument: str) -> tuple[object, object]:
    bias = values.get("bias")
    # A layer of Flax without a bias may have a variable that holds none.
    bias = bias if hasattr(bias, "shape") or isinstance(bias, Sequence) else None
    if "kernel" in values and _axes(values["kernel"]) == 2:
        return on_host(values["kernel"]).T, bias
    if "weight" in values and _axes(values["weight"]) == 2:
        return values["weight"], bias
    raise _unknown(head, argument)


def _axes(value: object) -> int:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return len(shape)
    depth = 0
    while isinstance(value, Sequence) and not isinstance(value, str) and value:
        value, depth = value[0], depth + 1
    return depth


def _unknown(head: object, argument: str) -> InputError:
    shape = getattr(head, "shape", None)
    shown = type(head).__name__ if shape is None else f"array of shape {tuple(shape)}"
    return InputError(argument, shown, f"is none of {KINDS}", "give one of these")


def require_own_kernel(layer: object) -> None:
    """Refuse what H^T H + 1 is not the own kernel of: a weight made of other parameters, or one that is frozen.

    Raises:
        InputError: it is such a layer.
    """
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


def part(thing: ForeignNetwork, which: str | Callable[[ForeignNetwork], object]) -> ForeignNetwork:
    """A part of a network: by the path of an attribute or key, "model.head", or by a function of the network.

    Raises:
        InputError: it has no such part.
    """
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
                f"{type(found).__name__} has no {name!r}{_beside(found)}",
                "give the path of the last layer, or a function",
            ) from None
    return found


def _beside(thing: object) -> str:
    """What there is in the place of a misspelt part, as far as names tell."""
    children = getattr(thing, "named_children", None)
    names = [name for name, _ in children()] if callable(children) else []
    if not names:
        names = list(thing) if isinstance(thing, Mapping) else list(getattr(thing, "__dict__", ()))
    shown = [str(name) for name in names if not str(name).startswith("_")]
    return f", but {', '.join(shown[:12])}{', ...' if len(shown) > 12 else ''}" if shown else ""


def found_anew(head: object) -> "str | Callable[[ForeignNetwork], object] | None":
    """A head that is looked for at every step of a training: its path, or a function of the network; None for none.

    Raises:
        InputError: it is a layer or are arrays, which are those of one step.
    """
    if head is None or isinstance(head, str) or (callable(head) and not _is_layer(head)):
        return head
    raise InputError(
        "head",
        type(head).__name__,
        "is a layer as it is at one step, and has to be found anew at each",
        "give its path in the network, such as 'model.head', or a function, lambda net: net.head",
    )


def _is_layer(head: object) -> bool:
    return any(hasattr(head, name) for name in ("kernel", "weight"))


def named_head(head: object, network: ForeignNetwork, params: ForeignNetwork) -> object:
    """A head that is given by its path in a module or, of a Linen module or a function, in the parameters, or as a function
    of these; any other itself.
    """
    if callable(head) and not _is_layer(head):
        return head(network if params is None else params)
    if not isinstance(head, str):
        return head
    if params is None:
        return part(network, head)
    within = params.get("params") if isinstance(params, Mapping) else getattr(params, "params", None)
    # From the parameters on, or from what holds them, as a recorder is told.
    return part(params if within is None or head.partition(".")[0] == "params" else within, head)
