"""The tidy table of a sweep: one row per cell, the swept fields, and every number of its summary."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ntkflow import views
from ntkflow._types import Column, Document, Floats, Json
from ntkflow.errors import InputError
from ntkflow.runs import files
from ntkflow.runs.atomic import is_remains
from ntkflow.runs.border.reading import misfit, reading
from ntkflow.sweep.cache import SPEC_FILE, Cache
from ntkflow.sweep.cell import Cell, cells
from ntkflow.sweep.spec import SweepSpec, spec_from_tables
from ntkflow.sweep.theory import theory_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Columns about the cell itself, before the numbers.
FACTS = ("key", "status", "error")
# What a notebook shows of a table.
HTML_ROWS, HTML_NUMBERS = 20, 6
# What a table is written to.
FILES = frozenset({"table.csv", "table.npz"})
DONE, FAILED, MISSING = "done", "failed", "missing"
# What to do about a damaged cell.
AGAIN = "remove it: the same command runs the cell again"


@dataclass(frozen=True, eq=False)
class Table:
    """One row per cell, in grid order.

    Attributes:
        swept: names of the swept fields.
        columns: one array per column; numbers are float64 with NaN where a cell has no value.
    """

    swept: tuple[str, ...]
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.columns["key"])

    @property
    def failed(self) -> list[str]:
        """Messages of the failed cells."""
        return [str(text) for text in self.columns["error"][self.columns["status"] == FAILED]]

    @property
    def numbers(self) -> list[str]:
        """Names of the columns that hold summary numbers."""
        return [name for name in self.columns if name not in (*self.swept, *FACTS)]

    def column(self, quantity: str, argument: str = "quantity") -> Column:
        """A column by name: a swept field, a dotted path into the summary, or any field of the configuration.

        Raises:
            InputError: no such number in any cell; the closest names are given.
        """
        if quantity in self.columns:
            return self.columns[quantity]
        found = [n for n in self.numbers if n.startswith("config.") and n.endswith(f".{quantity}")]
        if found:
            return self.columns[found[0]]
        near = get_close_matches(quantity, self.numbers, n=3, cutoff=0.4)
        remedy = f"did you mean {', '.join(near)}?" if near else "see the columns of table.csv"
        raise InputError(argument, repr(quantity), "is not a number in the summaries of this sweep", remedy)

    def rows(self) -> Iterator[Json]:
        """Every row as a plain dict."""
        for i in range(len(self)):
            yield {name: values[i].item() for name, values in self.columns.items()}

    def to_xarray(self) -> Any:
        """An xarray Dataset along `cell`, swept fields as coordinates (`set_index` and `unstack` give a grid).

        Raises:
            InputError: xarray is not installed.
        """
        xarray = views.needed("xarray", "to_xarray")
        arrays = {name: ("cell", values) for name, values in self.columns.items()}
        coordinates = {name: arrays.pop(name) for name in self.swept}
        return xarray.Dataset(arrays, coordinates, {"swept": list(self.swept)})

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row for every cell; needs the extra `ntkflow[pandas]`."""
        return views.dataframe(self.columns)

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write a directory of table.csv and table.npz, from which `nf.load` gives this table back.

        Args:
            path: the directory.
            overwrite: replace a table that lies there alone; the directory of a sweep, and whatever else, is never replaced.

        Raises:
            InputError: something else lies there.
        """
        place = Path(path)
        there = (
            {entry.name for entry in place.iterdir() if not is_remains(entry)} if place.is_dir() else set()
        )
        if overwrite and there and there <= FILES:
            self.write(place)
        else:
            with files.staged_directory(place, overwrite, FILES) as staged:
                self.write(staged)
        return place

    def figure(
        self,
        panes: Sequence[str] | str | None = None,
        *,
        size: float | tuple[float, float] | None = None,
        x: str | None = None,
        by: str | None = None,
        theory: Sequence[str] = (),
        log_x: bool = False,
        log_y: bool = False,
        title: str = "",
    ) -> "Figure":
        """The picture that `ntkflow sweep` draws of this table; `figure.savefig(path)` writes it.

        Args:
            panes: quantities, one pane each; by default NC1 at the end.
            size: width in inches, or width and height; None: as wide as the panes and the legend need.
            x: quantity or swept field on the x axis; None: the first swept one.
            by: field or quantity that tells colours apart.
            theory: columns drawn as the theory's line, one for each pane.
            log_x: log scale on the x axis; values that grow by a constant factor have one anyway.
            log_y: log scale of the quantities.
            title: one line above the panes.

        Raises:
            InputError: an unknown quantity or size, or more swept fields than one picture shows.
        """
        import ntkflow

        view = {"x": x, "by": by, "theory": tuple(theory), "log_x": log_x, "log_y": log_y}
        quantities = (panes,) if isinstance(panes, str) else tuple(panes or ntkflow.sweep.View().y)
        return ntkflow.sweep.table_figure(self, title, size, y=quantities, **view)

    def __repr__(self) -> str:
        return (
            f"Table({len(self)} cells over {', '.join(self.swept) or 'nothing'}; {len(self.numbers)} numbers each, "
            f"{len(self.failed)} failed)"
        )

    def _repr_html_(self) -> str:
        shown = [*self.swept, "status", *self.numbers[:HTML_NUMBERS]]
        rows = [[self.columns[name][i].item() for name in shown] for i in range(min(len(self), HTML_ROWS))]
        return views.html_table(repr(self), shown, rows)

    @classmethod
    def read(cls, directory: Path | str) -> "Table":
        """The table of a sweep's directory; of a sweep of simulations that has not ended, as far as it has come.

        Raises:
            InputError: there is none, or it is damaged.
        """
        path = Path(directory) / "table.npz"
        specification = path.with_name(SPEC_FILE)
        if not path.exists() and specification.is_file():
            spec = spec_from_tables(files.read_toml(specification), path.parent)
            return build_table(spec, cells(spec), Cache(path.parent))
        columns, header = files.read_arrays(path, "sweep")
        wrong = misfit(header, {"swept": [str]}) or _uneven(header["swept"], columns)
        if wrong:
            raise InputError("sweep", path, f"is no table of a sweep, {wrong}", "run the sweep again")
        return cls(tuple(header["swept"]), columns)

    def write(self, directory: Path) -> None:
        """Write table.csv and table.npz, the same content; NaN is an empty field in the csv."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows():
            writer.writerow("" if isinstance(v, float) and isnan(v) else v for v in row.values())
        with files.atomic(directory / "table.csv", "w") as handle:
            handle.write(text.getvalue())
        header = {"swept": list(self.swept), "rows": len(self)}
        files.write_arrays(directory / "table.npz", self.columns, header)


def _uneven(swept: Sequence[str], columns: Mapping[str, Floats]) -> str | None:
    """What keeps columns from being those of one table; None where nothing does."""
    for name in (*FACTS, *swept):
        if name not in columns:
            return f"it lacks {name}"
    rows = columns["key"].shape
    for name, values in columns.items():
        if values.ndim != 1 or values.shape != rows:
            return f"{name} is of shape {values.shape} beside {rows}"
        if values.dtype.kind not in ("U" if name in FACTS else "Uiufb"):
            return f"{name} is {values.dtype}"
    return None


def build_table(spec: SweepSpec, grid: Sequence[Cell], cache: Cache) -> Table:
    """The table of all cells of a sweep of simulations, from their files."""
    swept = tuple(name for axis in spec.all_axes for name in axis.fields)
    return tabulate(swept, grid, cache, cell_numbers)


@runtime_checkable
class Point(Protocol):
    """One cell as the table sees it: its swept fields and its address."""

    @property
    def point(self) -> Document:
        """Swept fields and their values."""

    @property
    def key(self) -> str:
        """Its address."""


def tabulate(
    swept: tuple[str, ...],
    grid: Sequence[Point],
    cache: Cache,
    entries: Callable[[Json], Mapping[str, float | str]],
) -> Table:
    """The table of all cells, from their files.

    Args:
        swept: names of the swept fields, the first columns.
        grid: the cells, one row each.
        cache: where their files are.
        entries: a finished cell's numbers and texts, by column.
    """
    columns: dict[str, Column] = {}
    for name in swept:
        values = [cell.point[name] for cell in grid]
        columns[name] = np.array([v if isinstance(v, int | float) else str(v) for v in values])
    facts: list[tuple[str, str, str]] = []
    rows: list[Mapping[str, float | str]] = []
    for cell in grid:
        content = cache.read(cell.key)
        if content is None:
            failure = cache.read_failed(cell.key)
            message = "" if failure is None else str(failure["error"]["message"])
            facts.append((cell.key, MISSING if failure is None else FAILED, message))
            rows.append({})
        else:
            facts.append((cell.key, DONE, ""))
            # A file that parses may still lack a number: whoever made it by hand is told which.
            with reading("sweep", cache.path(cell.key), "a cell", AGAIN):
                rows.append(entries(content))
    for name, column in zip(FACTS, zip(*facts, strict=True), strict=True):
        columns[name] = np.array(column, dtype=str)
    # First seen first, so that related numbers stay side by side.
    for name in dict.fromkeys(name for row in rows for name in row):
        # The summary has a t_end of its own, the time reached, beside a swept end time.
        text = any(isinstance(row.get(name), str) for row in rows)
        nothing = "" if text else np.nan
        filled = [nothing if row.get(name) is None else row[name] for row in rows]
        column_name = f"summary.{name}" if name in swept else name
        columns[column_name] = np.array(filled, dtype=str if text else float)
    return Table(swept, columns)


def cell_numbers(content: Json) -> dict[str, float]:
    """All numbers of a cell under dotted names: those of summary.json, series.*, final.* and theory.*."""
    numbers = dict(_flat("", content["summary"]))
    numbers |= dict(_flat("", content["ends"]))
    return {**numbers, **theory_values(numbers)}


def _flat(prefix: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            if isinstance(item, list):
                return  # matrices stay in the cells
            # Entries that have a name are found by it, whatever their place in the list.
            name = item.get("quantity", item.get("name", i)) if isinstance(item, Mapping) else i
            yield from _flat(f"{prefix}.{name}", item)
    elif isinstance(value, bool | int | float):
        yield prefix, float(value)
