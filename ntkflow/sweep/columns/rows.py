"""What the table says of a cell: every number of its summary under a dotted name, and why it ended."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np

from ntkflow._types import Json
from ntkflow.runs.border.records import numeric_entries
from ntkflow.runs.summary import Summary
from ntkflow.sweep.columns.theory import theory_values

# Asking whether a float is a float costs a tenth of asking whether it is any number.
_PLAIN = frozenset({float, int, bool})


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
    for name, attribute, inline in numeric_entries(kind):
        value = getattr(record, attribute)
        if type(value) in _PLAIN:
            if math.isfinite(value):
                found[prefix + name] = float(value)
        elif inline:
            if is_dataclass(value):
                _gather_record(found, prefix, value)
            elif value is not None:
                for key, item in value.items():
                    _gather(found, f"{prefix}{key}", item)
        elif value is not None:
            _gather(found, prefix + name, value)


def _gather(found: dict[str, float], prefix: str, value: object) -> None:
    if type(value) in _PLAIN or isinstance(value, np.number | np.bool_):
        if math.isfinite(value):  # type: ignore[arg-type]
            found[prefix] = float(value)  # type: ignore[arg-type]
    elif isinstance(value, str | None):
        return
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _gather(found, f"{prefix}.{name}", item)
    elif isinstance(value, list | tuple):
        _gather_list(found, prefix, value)
    elif is_dataclass(value):
        _gather_record(found, f"{prefix}.", value)


def _gather_list(found: dict[str, float], prefix: str, value: Sequence[object]) -> None:
    for i, item in enumerate(value):
        if isinstance(item, list | tuple):
            return
        # Entries that have a name are found by it, whatever their place in the list.
        if isinstance(item, Mapping):
            name = item.get("quantity", item.get("name", i))
        else:
            name = getattr(item, "quantity", getattr(item, "name", i)) if is_dataclass(item) else i
        _gather(found, f"{prefix}.{name}", item)
