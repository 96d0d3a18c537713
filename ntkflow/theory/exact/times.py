"""The time that a closed form is asked for."""

from ntkflow import checks


def elapsed(t: float) -> float:
    """Flow time since the start, checked: forms that hold forwards may not exist backwards.

    Raises:
        InputError: it is negative, no number or not finite.
    """
    return checks.not_negative("t", t, "give a time >= 0")
