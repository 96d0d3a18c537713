"""What the settings of a run are made of: values of the type of their field, in their range, each checked by name."""

from collections.abc import Mapping

from ntkflow import checks
from ntkflow.errors import InputError
from ntkflow.runs.border.schema import schema_of
from ntkflow.runs.border.typed import typed


def typed_fields(settings: object, section: str) -> None:
    """Single values of a section are of the type of their field, by the rule of files and options; lists are left.

    Raises:
        InputError: one is of another.
    """
    schema = schema_of(("", type(settings)))
    for name, kind in schema.kinds.items():
        if name not in schema.lists:
            object.__setattr__(settings, name, typed(f"{section}{name}", kind, getattr(settings, name)))


def whole_numbers(settings: object, section: str, least: Mapping[str, int]) -> None:
    """Whole numbers of a section, each at least so large; they become Python's own, as files have no others.

    Raises:
        InputError: one is something else, or smaller.
    """
    for name, smallest in least.items():
        found = checks.whole(f"{section}{name}", getattr(settings, name), smallest)
        object.__setattr__(settings, name, found)


def number(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raise InputError unless `value` is in [low, high)."""
    if not low <= value < high:
        raise InputError(name, value, f"must be a number in [{low:g}, {high:g})", "give such a number")
