"""One axis of a sweep: fields of the configuration that move together through a list of values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ntkflow._types import Document, Json
from ntkflow.errors import InputError
from ntkflow.runs.border.reading import Shape, misfit
from ntkflow.runs.border.schema import Schema
from ntkflow.runs.border.typed import Value
from ntkflow.runs.config import SCHEMA

# A field is set to a multiple of another one, whatever sets that.
RATIO = "/"
FORMS = "FIELD=START:STOP:COUNT, FIELD=START:STOP:COUNT:log or FIELD=v1,v2,v3"
# Far above any axis that is meant; a slip of the finger must not fill the memory with values.
MOST_VALUES = 100_000
# An axis in a sweep.toml.
AXIS: Shape = {"fields": [str], "values": [(bool, int, float, str)], "log?": bool}


@dataclass(frozen=True)
class Axis:
    """Fields that take the same value in every cell, and the values they run through.

    Attributes:
        fields: names of fields of the configuration; more than one moves together, as decay_w,decay_h. A ratio of two, as
            kappa_c/kappa_d, sets the first to a multiple of the second.
        values: at least one, none twice.
        log: whether figures draw this axis on a log scale.
        schema: the fields there are; by default those of a simulation.

    Raises:
        InputError: an unknown field, a field named twice, no value, a value twice or of the wrong type,
            or a log axis with a value that is not a positive number.
    """

    fields: tuple[str, ...]
    values: tuple[Value, ...]
    log: bool = False
    schema: Schema = field(default=SCHEMA, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.fields:
            raise InputError("over", "no field", "needs at least one", FORMS)
        argument = f"over {self.name}"
        for name in self.fields:
            if RATIO in name:
                self._check_ratio(argument, name)
        values = tuple(self.schema.typed_value(argument, self.sets[0], v) for v in self.values)
        for name in self.fields[1:]:
            if tuple(self.schema.typed_value(argument, name, v) for v in values) != values:
                raise InputError(argument, name, "is not of the type of the others", "give it its own --over")
        if len(set(self.fields)) < len(self.fields):
            raise InputError(argument, self.fields, "must name each field once", "drop the repeated name")
        if not values:
            raise InputError(argument, "no value", "needs at least one", FORMS)
        if len(set(values)) < len(values):
            twice = next(v for v in values if values.count(v) > 1)
            raise InputError(argument, twice, "stands twice", "drop one of them")
        if self.log and not all(isinstance(v, int | float) and v > 0 for v in values):
            raise InputError(argument, "log", "needs positive numbers", "drop :log or the values")
        object.__setattr__(self, "values", values)

    def _check_ratio(self, argument: str, name: str) -> None:
        parts = name.split(RATIO)
        if self.schema is not SCHEMA or len(self.fields) > 1 or len(set(parts)) != 2 or len(parts) != 2:
            rule = "is no ratio of two fields of a simulation on an axis of its own"
            raise InputError(argument, name, rule, "write it as kappa_c/kappa_d=0.1:0.9:9")
        for part in parts:
            if self.schema.kind_of(argument, part) is not float:
                raise InputError(argument, part, "is not a real number", "take ratios of numbers, as kappas")

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the fields that the axis sets; of a ratio the first of its two."""
        return tuple(name.partition(RATIO)[0] for name in self.fields)

    @property
    def name(self) -> str:
        """The first field: the name of the axis in tables and figures."""
        return self.fields[0]

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers, so that they have a place on a scale."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    def as_dict(self) -> Json:
        """Plain values for sweep.toml."""
        values = [v if isinstance(v, int | float) else str(v) for v in self.values]
        return {"fields": list(self.fields), "values": values, "log": self.log}

    @classmethod
    def from_dict(cls, entry: Document, schema: Schema = SCHEMA) -> "Axis":
        """Inverse of `as_dict`, of a table that is as `AXIS` says."""
        return cls(tuple(entry["fields"]), tuple(entry["values"]), entry.get("log", False), schema)


def sweep_table(tables: Document, shape: Mapping[str, Shape]) -> Json:
    """[sweep] of the tables of a sweep.toml; empty where there is none.

    Raises:
        InputError: it is no table, has a key that `shape` has not, or is not as `shape` says.
    """
    content = tables.get("sweep", {})
    wrong = misfit(content, shape, "sweep")
    if wrong:
        raise InputError("config", "[sweep]", wrong, "fix the file")
    known = [name.rstrip("?") for name in shape]
    for name in content:
        if name not in known:
            raise InputError("config", f"sweep.{name}", f"is not one of {', '.join(known)}", "drop it")
    return dict(content)


def parse_axis(text: str, schema: Schema = SCHEMA, argument: str | None = None) -> Axis:
    """The axis of one `--over` option: see `FORMS`.

    Several fields may stand before the sign, separated by commas. Ranges of whole-number fields are rounded,
    and numbers that become equal are kept once.

    Args:
        text: FIELD=VALUES.
        schema: the fields there are.
        argument: the option that errors name; None means --over.

    Raises:
        InputError: text that is not of these forms, and whatever `Axis` refuses.
    """
    names, sign, right = text.partition("=")
    argument = argument or (f"--over {names}" if sign else "--over")
    if not sign or not names.strip() or not right.strip():
        raise InputError(argument, repr(text), "is not an axis", f"write {FORMS}")
    targets = tuple(name.strip() for name in names.split(","))
    first = targets[0].partition(RATIO)[0]
    numbers = schema.kind_of(argument, first) in (int, float)
    if numbers and ":" in right:
        return _range(argument, targets, right, schema)
    values = tuple(schema.read_value(argument, first, word) for word in right.split(","))
    return Axis(targets, values, schema=schema)


def _range(argument: str, targets: tuple[str, ...], text: str, schema: Schema) -> Axis:
    words = text.split(":")
    log = len(words) == 4 and words[3].strip() == "log"
    if len(words) != 3 and not log:
        raise InputError(
            argument, repr(text), "is not a range", "write START:STOP:COUNT or START:STOP:COUNT:log"
        )
    start, stop = (_number(argument, word) for word in words[:2])
    if not words[2].strip().isdigit() or not 1 <= int(words[2]) <= MOST_VALUES:
        rule = f"the count must be 1 .. {MOST_VALUES}"
        raise InputError(argument, repr(words[2]), rule, "write START:STOP:COUNT")
    count = int(words[2])
    if log and min(start, stop) <= 0:
        raise InputError(
            argument, repr(text), "a log range needs positive ends", "drop :log or move the ends"
        )
    points = np.geomspace(start, stop, count) if log else np.linspace(start, stop, count)
    if schema.kind_of(argument, targets[0].partition(RATIO)[0]) is int:
        # Rounded after the spacing, so that a log range of whole numbers is one; small ones coincide then.
        return Axis(targets, tuple(dict.fromkeys(int(v) for v in np.rint(points))), log, schema)
    return Axis(targets, tuple(float(v) for v in points), log, schema)


def _number(argument: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(argument, repr(word), "must be a finite number", "write START:STOP:COUNT")
    return value
