"""The fields of a configuration: what files, options and sweeps know of them is read from its class, and stands nowhere else."""

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TypeVar

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs.border.typed import WORDS, Kind, Value, parsed, typed
from ntkflow.words import meant

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """What a field is beside its type and default, which its class has: `name: Annotated[type, Option(...)] = default`.

    Args:
        table: where it stands in a configuration file.
        text: what it is, for `--help` and `help()`.
        fallback: what None comes to where no file says.
        words: that in words, where it is no value.
        flags: names of its option besides `--name`, or instead, when they hold a slash.
        more: what only who writes Python needs to know.
    """

    table: str
    text: str
    fallback: bool | int | float | str | None = None
    words: str = ""
    flags: tuple[str, ...] = ()
    more: str = ""

    def help(self, default: object) -> str:
        """The text, with what holds where nothing is given."""
        value = self.words or (self.fallback if default is None else default)
        return self.text if value in (None, "") else f"{self.text} (default: {_short(value)})"


def _short(value: object) -> str:
    """A default as it is typed: 1e-8, 0, balanced."""
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def options_of(section: type) -> dict[str, Option]:
    """The fields of a class that have an `Option`, in order."""
    hints = typing.get_type_hints(section, include_extras=True)
    found = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {
        name: next(entry for entry in entries if isinstance(entry, Option))
        for name, entries in found.items()
        if any(isinstance(entry, Option) for entry in entries)
    }


def documented(section: type[T]) -> type[T]:
    """The class with its fields in its docstring."""
    defaults = {field.name: field.default for field in fields(section)}  # type: ignore[arg-type]
    lines = [
        f"        {name}: {option.help(defaults[name])}{' ' if option.more else ''}{option.more}"
        for name, option in options_of(section).items()
    ]
    section.__doc__ = "\n".join([f"{section.__doc__}\n\n    Attributes:", *lines, "    "])
    return section


def flag(name: str) -> str:
    """The option of a field: `--kappa-d` of kappa_d."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class Schema:
    """Names and types of what can be set and swept.

    Attributes:
        kinds: the type of every field that a single value can set.
        lists: fields that also take several values (3,4,5).
    """

    kinds: Mapping[str, Kind]
    lists: frozenset[str] = frozenset()

    def kind_of(self, argument: str, name: str) -> Kind:
        """The type of the field `name`.

        Raises:
            InputError: no field of that name.
        """
        if name not in self.kinds:
            near = meant(name, self.kinds)
            if near:
                raise InputError(argument, repr(name), "is no field", f"did you mean {near}?")
            raise InputError(
                argument, repr(name), f"is not one of {', '.join(self.kinds)}", "choose one of these"
            )
        return self.kinds[name]

    def read_value(self, argument: str, name: str, text: str) -> Value:
        """A field's value from the text of an option.

        Raises:
            InputError: no such field, or text that is not of its type.
        """
        return parsed(argument, self.kind_of(argument, name), text, name)

    def read_setting(self, argument: str, name: str, text: str) -> Value | tuple[Value, ...]:
        """A field's value for all cells: as `read_value`, and a list where the field takes one (3,4,5).

        Raises:
            InputError: as `read_value`.
        """
        if "," in text and name in self.lists:
            return tuple(self.read_value(argument, name, word) for word in text.split(","))
        return self.read_value(argument, name, text)

    def read_settings(self, texts: Sequence[str]) -> Json:
        """Fields and values from `--set FIELD=VALUE` options.

        Raises:
            InputError: text without the sign, and as `read_setting`.
        """
        values: Json = {}
        for text in texts:
            name, sign, word = text.partition("=")
            if not sign:
                raise InputError("--set", repr(text), "is not FIELD=VALUE", "as --set FIELD=4")
            values[name.strip()] = self.read_setting(f"--set {name.strip()}", name.strip(), word)
        return values

    def typed_value(self, argument: str, name: str, value: object) -> Value:
        """A value from Python or a file, checked and given the type of its field, see `typed`.

        Raises:
            InputError: no such field, or a value of another type.
        """
        return typed(argument, self.kind_of(argument, name), value, name)

    def typed_setting(self, argument: str, name: str, value: object) -> Value | tuple[Value, ...]:
        """As `typed_value`, and a list where the field takes one.

        Raises:
            InputError: as `typed_value`.
        """
        if isinstance(value, list | tuple) and name in self.lists:
            return tuple(self.typed_value(argument, name, entry) for entry in value)
        return self.typed_value(argument, name, value)


@cache
def schema_of(*sections: tuple[str, type]) -> Schema:
    """The schema of one or several dataclasses, the names of each behind a prefix."""
    kinds: dict[str, Kind] = {}
    lists: set[str] = set()
    for prefix, section in sections:
        hints = typing.get_type_hints(section)
        for field in fields(section):
            kind = _kind(hints[field.name])
            if kind is not None:
                kinds[prefix + field.name] = kind
            hint = hints[field.name]
            if any(typing.get_origin(part) is tuple for part in (hint, *typing.get_args(hint))):
                lists.add(prefix + field.name)
    return Schema(kinds, frozenset(lists))


def _kind(hint: object) -> Kind | None:
    several = isinstance(hint, types.UnionType) or typing.get_origin(hint) is tuple
    parts = typing.get_args(hint) if several else (hint,)
    return next((part for part in parts if part in WORDS), None)
