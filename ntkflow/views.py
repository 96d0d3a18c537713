"""How things show themselves: short reprs, tables for terminals and notebooks, and the data sets of other packages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from html import escape
from importlib import import_module
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkflow._types import Floats
from ntkflow.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame
    from xarray import Dataset

# Arrays, dictionaries and tuples longer than this are told by their size.
FEW = 4
# Coordinates of data sets: dimension, values, attributes.
Coordinates = Mapping[str, tuple[str, object, Mapping[str, str]]]
# What a value may take of a line.
LONG = 90


def called(kind: object, **facts: object) -> str:
    """`State(C=4, n=12)`: the name of the object's class and what is worth knowing about it."""
    return f"{type(kind).__name__}({', '.join(f'{name}={brief(value)}' for name, value in facts.items())})"


def short(self: Any) -> str:
    """A dataclass with large arrays told by their shapes; to be put into its class as `__repr__`."""
    return called(self, **{f.name: getattr(self, f.name) for f in fields(self) if f.repr})


def changed(self: Any) -> str:
    """A dataclass of settings by those that are not what they are when nothing is said."""
    facts = []
    for f in fields(self):
        usual = f.default if f.default_factory is MISSING else f.default_factory()
        value = getattr(self, f.name)
        if f.repr and value != usual:
            facts.append(f"{f.name}={str(value) if isinstance(value, PurePath) else value!r}")
    return f"{type(self).__name__}({', '.join(facts)})"


def brief(value: object) -> str:
    """One value in a few words, whatever its size."""
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.size <= FEW:
            return f"[{', '.join(brief(entry) for entry in value)}]"
        return f"<{' x '.join(map(str, value.shape))}>" if value.ndim else brief(value[()])
    if value is None:
        return "-"
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        some = ", ".join(f"{key}: {brief(entry)}" for key, entry in list(value.items())[:FEW])
        return f"{{{some}}}" if len(value) <= FEW and len(some) <= LONG else f"<{len(value)} entries>"
    if isinstance(value, tuple | list):
        some = ", ".join(map(brief, value[:FEW]))
        return f"[{some}]" if len(value) <= FEW and len(some) <= LONG else f"<{len(value)} items>"
    if isinstance(value, FunctionType):
        return f"<{value.__name__.strip('<>')}>"
    text = str(value) if isinstance(value, str) else repr(value)
    if len(text) <= LONG and "\n" not in text:
        return text
    return f"<{type(value).__name__}>" if is_dataclass(value) else f"{text[:LONG]}..."


def text_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns under their heads, the first to the left and numbers to the right."""
    cells = [list(heads), *([brief(value) for value in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def html_table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The same as a table for notebooks."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(brief(value))}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def needed(package: str, caller: str, extra: str | None = None) -> ModuleType:
    """A package that is no dependency.

    Args:
        package: its name.
        caller: what needs it.
        extra: of ntkflow, that brings it; by default of the same name.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        remedy = f"install it: pip install 'ntkflow[{extra or package}]'"
        raise InputError(caller, package, "is not installed", remedy) from None


def dataset(
    dims: Sequence[str],
    coords: Coordinates,
    series: Mapping[str, Floats],
    meanings: Mapping[str, str],
    attrs: Mapping[str, object],
) -> "Dataset":
    """An xarray.Dataset of series that all have the dimensions `dims`, each with its meaning.

    Raises:
        InputError: xarray is not installed.
    """
    xarray = needed("xarray", "to_xarray")
    described = {
        name: (tuple(dims), values, {"description": meanings.get(name, "")})
        for name, values in series.items()
    }
    found: Dataset = xarray.Dataset(described, dict(coords), dict(attrs))
    return found


def dataframe(columns: Mapping[str, object], index: str | None = None) -> "DataFrame":
    """A pandas.DataFrame, with one of the columns for index where it is named.

    Raises:
        InputError: pandas is not installed.
    """
    frame: DataFrame = needed("pandas", "to_pandas").DataFrame(dict(columns))
    return frame if index is None else frame.set_index(index)
