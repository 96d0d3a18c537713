"""What the table says of a cell: every number of its summary under a dotted name, and why it ended."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from math import isfinite
from typing import Any

import numpy as np

from ntkflow._types import Json
from ntkflow.runs.border.records import numeric_entries
from ntkflow.runs.summary import Summary
from ntkflow.sweep.columns.theory import theory_values

# Asking whether a float is a float costs a tenth of asking whether it is any number, and a word is no number.
_PLAIN = frozenset({float, int, bool})
_WORDS = frozenset({str, type(None)})


def row_of(summary: Json, ends: Json) -> dict[str, float | str]:
    """Numbers of summary.json, series.*, final.* and theory.*, and in words why it ended and by which engine."""
    numbers = flat(summary) | flat(ends)
    words = {"reason": summary["stop_reason"]["key"], "solver.engine": summary["solver"]["engine"]}
    return {**words, **numbers, **theory_values(numbers)}


def row_of_record(summary: Summary, ends: Json) -> dict[str, float | str]:
    """`row_of` of a summary of which no document is made."""
    numbers: dict[str, float] = {}
    _gather_record(numbers, "", summary)
    for name, value in ends.items():
        _gather(numbers, name, value)
    words = {"reason": summary.stop_reason.key, "solver.engine": summary.solver.engine}
    return {**words, **numbers, **theory_values(numbers)}


def flat(document: Json) -> dict[str, float]:
    """The finite numbers in a document under dotted names; matrices are left out."""
    found: dict[str, float] = {}
    for name, value in document.items():
        _gather(found, str(name), value)
    return found


def _gather_record(found: dict[str, float], prefix: str, record: object) -> None:
    """What `flat` finds in the document of a record."""
    kind: Any = type(record)
    values = vars(record)
    for name, attribute, inline in numeric_entries(kind):
        value = values[attribute]
        how: Any = type(value)
        if how is float:
            if isfinite(value):
                found[prefix + name] = value
        elif how in _WORDS:
            continue
        elif not inline or how in _PLAIN:
            _gather(found, prefix + name, value)
        elif _is_record(how):
            _gather_record(found, prefix, value)
        else:
            for key, item in value.items():
                _gather(found, f"{prefix}{key}", item)


def _gather(found: dict[str, float], prefix: str, value: Any) -> None:
    how: Any = type(value)
    _way(how)(found, prefix, value)


@cache
def _way(how: Any) -> Callable[[dict[str, float], str, Any], None]:
    """By which numbers are found in a value of some type: asked once of each, since rows are many."""
    if how in _PLAIN:
        return _gather_number
    if how in _WORDS:
        return _gather_nothing
    if how is dict:
        return _gather_dict
    if _is_record(how):
        return _gather_part
    if how is list or how is tuple:
        return _gather_list
    return _gather_other


def _gather_number(found: dict[str, float], prefix: str, value: float) -> None:
    if isfinite(value):
        found[prefix] = float(value)


def _gather_nothing(found: dict[str, float], prefix: str, value: object) -> None:
    del found, prefix, value


def _gather_dict(found: dict[str, float], prefix: str, value: Json) -> None:
    for name, item in value.items():
        # Most of what there is; without another call.
        if type(item) is float:
            if isfinite(item):
                found[f"{prefix}.{name}"] = item
        elif item is not None:
            _gather(found, f"{prefix}.{name}", item)


def _gather_part(found: dict[str, float], prefix: str, value: object) -> None:
    _gather_record(found, f"{prefix}.", value)


def _gather_other(found: dict[str, float], prefix: str, value: Any) -> None:
    """Numbers of numpy, and what is only like a dictionary or a list."""
    if isinstance(value, np.number | np.bool_):
        if isfinite(value):
            found[prefix] = float(value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _gather(found, f"{prefix}.{name}", item)
    elif isinstance(value, list | tuple):
        _gather_list(found, prefix, value)


@cache
def _is_record(kind: type) -> bool:
    return is_dataclass(kind)


def _gather_list(found: dict[str, float], prefix: str, value: Sequence[object]) -> None:
    for i, item in enumerate(value):
        how: Any = type(item)
        if how in _PLAIN:
            if isfinite(item):  # type: ignore[arg-type]
                found[f"{prefix}.{i}"] = float(item)  # type: ignore[arg-type]
            continue
        # Entries that have a name are found by it, whatever their place in the list.
        name: object = i
        if _is_record(how):
            own = vars(item)
            name = own["quantity"] if "quantity" in own else own.get("name", i)
        elif isinstance(item, list | tuple):
            return
        elif isinstance(item, Mapping):
            name = item.get("quantity", item.get("name", i))
        _gather(found, f"{prefix}.{name}", item)
