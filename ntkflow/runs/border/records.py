"""JSON documents as frozen dataclasses: one reader, `record`, and one writer, `document`, for all of them.

The class of a document is its format: its fields in order are the keys in order, their types are what is read, and a
field with a default is a key that may be missing. Whatever else is in the document is passed over. Four things that an
annotation cannot say stand in the metadata of a field:

    field(metadata=key("from"))             the key, where it is no name in Python
    field(default=None, metadata=SPARSE)    a key that is left out where there is no value, instead of being null
    field(metadata=EMPTY)                   an object without keys where there is no value
    field(metadata=INLINE)                  keys of the document itself: of a mapping all that are no other field's, of a
                                            dataclass its own, and none of them where it is None:
                                            then what it requires is missing
"""

import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from ntkflow._types import Json
from ntkflow.runs.border.reading import reading, refuse_deep

T = TypeVar("T")
# An annotation, which is whatever typing makes of it.
Hint = Any
# From a value of a document and the place where it stands to what a field holds.
Reader = Callable[[object, str], object]
NOTHING = type(None)
# What JSON calls a number is read as it stands, so that it is written as it stood.
LEAVES: Mapping[object, frozenset[type]] = {
    str: frozenset({str}),
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({int, float}),
    NOTHING: frozenset({NOTHING}),
}


SPARSE = {"sparse": True}
EMPTY = {"empty": True}
INLINE = {"inline": True}


def key(name: str) -> dict[str, str]:
    """Metadata of a field whose key in the document is another word."""
    return {"key": name}


@dataclass(frozen=True)
class _Entry:
    """A field as the document has it."""

    name: str
    key: str
    hint: Hint
    required: bool
    sparse: bool
    empty: bool
    inline: bool


@cache
def _entries(kind: type) -> tuple[_Entry, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(
        _Entry(
            f.name,
            f.metadata.get("key", f.name),
            hints[f.name],
            f.default is MISSING and f.default_factory is MISSING,
            "sparse" in f.metadata,
            "empty" in f.metadata,
            "inline" in f.metadata,
        )
        for f in fields(kind)
    )


@cache
def numeric_entries(kind: type) -> tuple[tuple[str, str, bool], ...]:
    """(key, name, inline) of those fields of a record whose value may hold numbers."""
    words = (str, str | None)
    return tuple((e.key, e.name, e.inline) for e in _entries(kind) if e.hint not in words)


_AS_IT_IS = frozenset({float, int, str, bool, type(None)})


def document(found: object) -> Json:
    """The plain values of a record, as JSON has them."""
    values: Json = {}
    kind: Hint = type(found)
    for entry in _entries(kind):
        value = getattr(found, entry.name)
        if entry.inline:
            values |= _plain({} if value is None else value)
        elif value is not None or not entry.sparse:
            values[entry.key] = _plain({} if value is None and entry.empty else value)
    return values


def _plain(value: object) -> Any:
    # What is most of it first: asking whether something is a mapping costs ten times as much.
    if type(value) in _AS_IT_IS:
        return value
    if is_dataclass(value):
        return document(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def read_record(path: Path, argument: str, form: str, kind: type[T], remedy: str) -> T:
    """A JSON document as a record.

    Args:
        path: the file.
        argument: what it was given as.
        form: what it should be, as "a comparison".
        kind: the class.
        remedy: what to do.

    Raises:
        InputError: the file is missing, no JSON, or of another shape.
    """
    with reading(argument, path, form, remedy):
        return record(kind, refuse_deep(json.loads(path.read_text(encoding="utf-8"))))


def record(kind: type[T], value: object, where: str = "") -> T:
    """A record from plain values.

    Raises:
        ValueError: what of them is not as the class says, in words.
    """
    hint: Hint = kind
    return cast(T, _reader(hint)(value, where))


@cache
def _reader(hint: Hint) -> Reader:
    """The reader of what an annotation describes; made once, since documents hold many numbers."""
    if is_dataclass(hint):
        return lambda value, where: _record(cast(type, hint), value, where)
    if hint in (object, Any):
        return lambda value, _: value
    allowed = _leaves(hint)
    if allowed is not None:
        return lambda value, where: value if type(value) in allowed else _refuse(value, where)
    origin: Hint = typing.get_origin(hint)
    inner = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        (other,) = (part for part in inner if part is not NOTHING)
        return lambda value, where: None if value is None else _reader(other)(value, where)
    if origin is tuple:
        return _list_reader(inner)
    if origin in (Mapping, dict):
        return lambda value, where: {
            name: _reader(inner[1])(entry, _at(where, name)) for name, entry in _table(value, where).items()
        }
    raise TypeError(f"no document holds {hint}")


def _leaves(hint: Hint) -> frozenset[type] | None:
    """Types of values that are read as they are; None of what has parts."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if not set(parts) <= set(LEAVES):
        return None
    return frozenset(kind for part in parts for kind in LEAVES[part])


def _list_reader(inner: tuple[Hint, ...]) -> Reader:
    many = inner[1:] == (...,)
    allowed = _leaves(inner[0]) if many else None

    def read(value: object, where: str) -> object:
        if not isinstance(value, list):
            raise ValueError(f"{where} is no list")
        # Series are long and right: all at once first.
        if allowed is not None and {type(entry) for entry in value} <= allowed:
            return tuple(value)
        if not many and len(value) != len(inner):
            raise ValueError(f"{where} has {len(value)} entries, not {len(inner)}")
        kinds = inner[:1] * len(value) if many else inner
        return tuple(
            _reader(kind)(entry, f"{where}[{i}]")
            for i, (kind, entry) in enumerate(zip(kinds, value, strict=True))
        )

    return read


def _record(kind: type, value: object, where: str) -> object:
    table, entries = _table(value, where), _entries(kind)
    found: Json = {}
    for entry in entries:
        if entry.inline:
            found[entry.name] = _inlined(entry, entries, table, where)
        elif entry.empty and table.get(entry.key) == {}:
            found[entry.name] = None
        elif entry.key in table:
            found[entry.name] = _reader(entry.hint)(table[entry.key], _at(where, entry.key))
        elif entry.required:
            raise ValueError(f"lacks {_at(where, entry.key)}")
    return kind(**found)


def _inlined(entry: _Entry, entries: tuple[_Entry, ...], table: Mapping[str, object], where: str) -> object:
    named = {other.key for other in entries if not other.inline}
    rest = {name: value for name, value in table.items() if name not in named}
    parts = typing.get_args(entry.hint) if isinstance(entry.hint, types.UnionType) else ()
    # What may be missing may be a neighbour's too, and does not tell that the part is there.
    keys = {own.key for part in parts if part is not NOTHING for own in _entries(part) if own.required}
    return None if parts and not keys & set(rest) else _reader(entry.hint)(rest, where)


def _table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where or 'the document'} is no object")
    return value


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _refuse(value: object, where: str) -> object:
    raise ValueError(f"{where} is of another type ({type(value).__name__})")
