"""Which of a network's outputs are its features."""

from collections.abc import Callable

from jaxtyping import PyTree

from ntkflow.errors import InputError

# A position in a tuple, a key of a mapping, or a function of all that the network gives.
Output = int | str | Callable[[PyTree], PyTree] | None


def chosen(found: PyTree, output: Output) -> PyTree:
    """The features (B, n) among what a network gives.

    Args:
        found: what it gives: an array, a tuple, a mapping.
        output: which; None where there is one.

    Raises:
        InputError: there are several, and none is named, or there is none of that name; or they are complex numbers.
    """
    if callable(output):
        found = output(found)
    elif output is not None:
        if hasattr(found, "ndim"):
            rule = "the network gives a single array, whose first axis is samples"
            raise InputError("output", repr(output), rule, "leave it out")
        try:
            found = found[output]
        except (IndexError, KeyError, TypeError) as error:
            raise InputError(
                "output",
                repr(output),
                f"is not among what the network gives, {_shown(found)}",
                "name another",
            ) from error
    if hasattr(found, "shape") and hasattr(found, "dtype"):
        if "complex" in str(found.dtype):
            rule = "must be real; of a complex one the imaginary part would be lost"
            raise InputError(
                "features",
                f"array of {found.dtype}",
                rule,
                "give both parts as features, one beside the other",
            )
        return found
    raise InputError(
        "features",
        _shown(found),
        "is not one array h(x), (B, n)",
        "say which with output=, a position, a name, or a function such as lambda found: found[1]['hidden']",
    )


def _shown(found: object) -> str:
    if isinstance(found, (tuple, list)):
        return f"{type(found).__name__} of {len(found)}"
    if hasattr(found, "keys"):
        return f"{type(found).__name__} with {', '.join(map(str, found.keys()))}"
    return type(found).__name__
