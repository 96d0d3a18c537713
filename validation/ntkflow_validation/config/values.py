"""What the settings of a run are made of: whole numbers, numbers, truth values, each checked by name."""

from collections.abc import Mapping

from ntkflow import checks
from ntkflow.errors import InputError


def whole_numbers(settings: object, section: str, least: Mapping[str, int]) -> None:
    """Whole numbers of a section, each at least so large; they become Python's own, as files have no others.

    Raises:
        InputError: one is something else, or smaller.
    """
    for name, smallest in least.items():
        found = checks.whole(f"{section}{name}", getattr(settings, name), smallest)
        object.__setattr__(settings, name, found)


def number(name: str, value: object, low: float, high: float = float("inf")) -> None:
    """Raise InputError unless `value` is a number in [low, high)."""
    if not isinstance(value, int | float) or not low <= checks.real(name, value) < high:
        raise InputError(name, value, f"must be a number in [{low:g}, {high:g})", "give such a number")


def truth(name: str, value: object) -> None:
    """Raise InputError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise InputError(name, value, "must be true or false", "give one of these")
