"""The fields of a configuration as a sweep sees them: read from the class, so that new fields need no entry here."""

import types
import typing
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from ntkflow.config import SimulateConfig
from ntkflow.errors import InputError

Value = bool | int | float | str | Path
Kind = type[bool] | type[int] | type[float] | type[str] | type[Path]
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


@cache
def kinds() -> dict[str, Kind]:
    """The type of every field that a single value can set."""
    hints = typing.get_type_hints(SimulateConfig)
    found = {field.name: _kind(hints[field.name]) for field in fields(SimulateConfig)}
    return {name: kind for name, kind in found.items() if kind is not None}


def _kind(hint: Any) -> Kind | None:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((part for part in parts if part in WORDS), None)


def kind_of(argument: str, name: str) -> Kind:
    """The type of the field `name`.

    Raises:
        InputError: no field of that name.
    """
    if name not in kinds():
        near = get_close_matches(name, kinds(), n=1)
        remedy = f"did you mean {near[0]}?" if near else "choose one of these"
        raise InputError(argument, repr(name), f"is not one of {', '.join(kinds())}", remedy)
    return kinds()[name]


def read_value(argument: str, name: str, text: str) -> Value:
    """A field's value from the text of an option.

    Raises:
        InputError: no such field, or text that is not of its type.
    """
    kind, text = kind_of(argument, name), text.strip()
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if kind is bool or text == "":
            raise ValueError
        return kind(text)
    except ValueError:
        raise InputError(argument, repr(text), f"must be {WORDS[kind]} for {name}", "fix the value") from None


def read_setting(argument: str, name: str, text: str) -> Value | tuple[Value, ...]:
    """A field's value for all cells: as `read_value`, and a list where the field takes one (3,4,5).

    Raises:
        InputError: as `read_value`.
    """
    hint = typing.get_type_hints(SimulateConfig).get(name)
    if "," in text and any(typing.get_origin(part) is tuple for part in typing.get_args(hint)):
        return tuple(read_value(argument, name, word) for word in text.split(","))
    return read_value(argument, name, text)


def typed_value(argument: str, name: str, value: object) -> Value:
    """A value from Python or TOML, checked and given the type of its field (whole numbers widen to floats).

    Raises:
        InputError: no such field, or a value of another type.
    """
    kind = kind_of(argument, name)
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(argument, repr(value), f"must be {WORDS[kind]} for {name}", "fix the value")
    return value
