"""The one converter of what is typed: whole numbers of 64 bits, numbers and paths that a system can hold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ntkflow.errors import MOST, InputError, shown

# Bytes of one name in a path, on every file system in use.
LONGEST = 255


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


def _checked(process: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
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
