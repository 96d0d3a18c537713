"""The one rule for a single value, from an option, a file or Python: of its type, and one that a system can hold."""

from collections.abc import Callable
from numbers import Real
from operator import index
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ntkflow.errors import MOST, InputError, shown

P = ParamSpec("P")
R = TypeVar("R")
# Bytes of one name in a path, on every file system in use.
LONGEST = 255
Value = bool | int | float | str | Path
Kind = type[bool] | type[int] | type[float] | type[str] | type[Path]
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


def typed(argument: str, kind: Kind, value: object, of: str = "") -> Value:
    """A value as its kind: whole numbers are numbers and text is a path; nothing else is converted.

    Args:
        argument: where it was given.
        kind: the type it has to have.
        value: from Python or a file.
        of: the setting that it is for, where `argument` does not say so.

    Raises:
        InputError: a value of another type, or one that `check` refuses.
    """
    found = _converted(argument, kind, value)
    if found is None:
        raise _misfit(argument, kind, value, of)
    check(argument, found)
    return found


def parsed(argument: str, kind: Kind, text: str, of: str = "") -> Value:
    """A value from the text of an option, by the same rule.

    Raises:
        InputError: text that is not of the kind, and as `typed`.
    """
    text = text.strip()
    try:
        if text == "":
            raise ValueError
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise _misfit(argument, kind, text, of) from None
    return typed(argument, kind, value, of)


def _misfit(argument: str, kind: Kind, value: object, of: str) -> InputError:
    rule = f"must be {WORDS[kind]}{f' for {of}' if of else ''}"
    return InputError(argument, repr(value), rule, "fix the value")


def _converted(argument: str, kind: Kind, value: object) -> Value | None:
    if kind is bool or isinstance(value, bool):
        return value if kind is bool and isinstance(value, bool) else None
    if kind is int:
        try:
            return index(value)  # type: ignore[arg-type]
        except TypeError:
            return None
    if kind is float:
        # numpy, which --help does not wait for.
        from ntkflow.checks import real

        return real(argument, value) if isinstance(value, Real) else None
    if kind is Path:
        return Path(value) if isinstance(value, str | Path) else None
    return value if isinstance(value, str) else None


def bounded(command: Any) -> None:
    """Have every option and argument of a command, and of those below it, checked after the parser has converted it."""
    for parameter in command.params:
        parameter.process_value = _checked(parameter.process_value, _name(parameter))
    for inner in getattr(command, "commands", {}).values():
        bounded(inner)


def _name(parameter: Any) -> str:
    """As it is typed: the long name of an option, the argument's own otherwise."""
    name = max(parameter.opts, key=len) if parameter.param_type_name == "option" else parameter.name.upper()
    return str(name)


def _checked(process: Callable[P, R], name: str) -> Callable[P, R]:
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        found = process(*args, **kwargs)
        for value in found if isinstance(found, list | tuple) else (found,):
            check(name, value)
        return found

    return call


def check(name: str, value: object) -> None:
    """Refuse a value that no array, seed or file can have.

    Raises:
        InputError: a whole number of more than 64 bits, or a path with a name that is too long or has a NUL.
    """
    if isinstance(value, int) and abs(value) > MOST:
        raise InputError(name, shown(value), "must lie between -2^63 and 2^63", "give a smaller number")
    if isinstance(value, Path):
        long = next((part for part in value.parts if len(part.encode(errors="replace")) > LONGEST), None)
        if long is not None:
            rule = f"has {len(long)} letters, a name may have {LONGEST} bytes"
            raise InputError(name, f"{long[:20]}...", rule, "give a shorter one")
        if "\0" in str(value):
            raise InputError(name, repr(str(value)[:40]), "holds a NUL character", "drop it")
