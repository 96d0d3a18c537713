"""Rows of a table by conditions on any of its columns."""

import operator
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches

import numpy as np

from ntkflow.errors import InputError
from ntkflow.sweep.table import Table

FORM = re.compile(r"\s*([\w.\-]+)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*")
SIGNS: dict[str, Callable[[np.ndarray, float | str], np.ndarray]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
# Numbers are as they are printed: four digits.
CLOSE = 5e-4


def rows_where(table: Table, conditions: Sequence[str]) -> np.ndarray:
    """Whether each row satisfies all conditions, as FIELD=VALUE, FIELD<VALUE, FIELD>=VALUE.

    FIELD is any column, or the end of its name after a dot when that is clear (init for model.init); numbers
    are equal to four digits.

    Raises:
        InputError: a condition of another form, a column that does not exist, a text compared with < or >.
    """
    chosen = np.ones(len(table), dtype=bool)
    for text in conditions:
        parts = FORM.fullmatch(text)
        if parts is None:
            raise InputError(
                "where", repr(text), "is not a condition", "as --where init=uniform or 'NC1<0.1'"
            )
        chosen &= _holds(table, *parts.groups())
    return chosen


def column_named(table: Table, name: str, argument: str = "field") -> str:
    """The column meant by a name or by the end of one.

    Raises:
        InputError: there is none; the closest are named.
    """
    if name in table.columns:
        return name
    ends = [column for column in table.columns if column.endswith(f".{name}")]
    if ends:
        # A swept field comes first, before the same field of the whole configuration.
        return ends[0]
    near = get_close_matches(name, [*table.columns, *(c.rpartition(".")[2] for c in table.columns)], n=3)
    remedy = f"did you mean {', '.join(dict.fromkeys(near))}?" if near else "see the columns of table.csv"
    raise InputError(argument, repr(name), "is not a column of the table", remedy)


def _holds(table: Table, name: str, sign: str, text: str) -> np.ndarray:
    values = table.columns[column_named(table, name, "where")]
    if values.dtype.kind not in "fiu":
        if sign not in ("=", "!="):
            raise InputError("where", name, f"is text, which {sign} does not order", "use = or !=")
        ordered: np.ndarray = SIGNS[sign](values.astype(str), text)
        return ordered
    try:
        value = float(text)
    except ValueError:
        raise InputError("where", repr(text), f"must be a number for {name}", "fix the value") from None
    if sign in ("=", "!="):
        same = np.isclose(values, value, rtol=CLOSE, atol=0)
        chosen: np.ndarray = same if sign == "=" else ~same
        return chosen
    found: np.ndarray = SIGNS[sign](values, value)
    return found
