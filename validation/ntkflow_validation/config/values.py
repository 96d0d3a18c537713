"""What the settings of a run are made of: whole numbers, numbers, truth values, each checked by name."""

from ntkflow import checks
from ntkflow.errors import InputError


def whole(name: str, value: object, least: int) -> None:
    """Raise InputError unless `value` is a whole number >= `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(name, value, f"must be a whole number >= {least}", "give such a number")
    checks.whole(name, value, least)


def number(name: str, value: object, low: float, high: float = float("inf")) -> None:
    """Raise InputError unless `value` is a number in [low, high)."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not low <= checks.real(name, value) < high
    ):
        raise InputError(name, value, f"must be a number in [{low:g}, {high:g})", "give such a number")


def truth(name: str, value: object) -> None:
    """Raise InputError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise InputError(name, value, "must be true or false", "give one of these")
