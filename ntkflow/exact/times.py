"""The time that a closed form is asked for."""

from ntkflow.checks import real
from ntkflow.errors import InputError


def elapsed(t: float) -> float:
    """Flow time since the start, checked: forms that hold forwards may not exist backwards.

    Raises:
        InputError: it is negative, no number or not finite.
    """
    t = real("t", t, "give a time >= 0")
    if t < 0:
        raise InputError("t", t, "must not be negative", "give a time >= 0")
    return t
