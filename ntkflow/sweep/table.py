"""The tidy table of a sweep: one row per cell, the swept fields, and every number of its summary."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from ntkflow import views
from ntkflow._types import Column, Document, Floats, Json
from ntkflow.errors import InputError
from ntkflow.runs import files
from ntkflow.runs.atomic import is_remains
from ntkflow.runs.border.reading import misfit, reading
from ntkflow.sweep.stored.cache import SPEC_FILE, Cache

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from xarray import Dataset

# Columns about the cell itself, before the numbers.
FACTS = ("key", "status", "error")
# What a notebook shows of a table.
HTML_ROWS, HTML_NUMBERS = 20, 6
# What a table is written to.
FILES = frozenset({"table.csv", "table.npz", "table.parquet"})
# Rows that a Parquet file keeps together.
ROW_GROUP = 1 << 16
# Rows of a csv that are made at a time.
PIECE = 1 << 12
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
        """A column by name: a swept field, a quantity at the end (NC1, loss), a dotted path into the summary or its
        last word, or the ratio A/B of two.

        Raises:
            InputError: no such number in any cell; the closest names are given.
        """
        found = column_named(quantity, self.columns)
        if found is not None:
            return self.columns[found]
        if "/" in quantity:
            above, _, below = quantity.rpartition("/")
            parts = self.column(above, argument), self.column(below, argument)
            if all(part.dtype.kind in "fiu" for part in parts):
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratio: Column = parts[0] / parts[1]
                    return np.where(np.isfinite(ratio), ratio, np.nan)
        raise no_column(argument, quantity, self.numbers)

    def rows(self) -> Iterator[Json]:
        """Every row as a plain dict."""
        for piece in self._pieces():
            for row in zip(*piece, strict=True):
                yield dict(zip(self.columns, row, strict=True))

    def to_xarray(self) -> "Dataset":
        """An xarray Dataset along `cell`, swept fields as coordinates (`set_index` and `unstack` give a grid).

        Raises:
            InputError: xarray is not installed.
        """
        xarray = views.needed("xarray", "to_xarray")
        arrays = {name: ("cell", values) for name, values in self.columns.items()}
        coordinates = {name: arrays.pop(name) for name in self.swept}
        found: Dataset = xarray.Dataset(arrays, coordinates, {"swept": list(self.swept)})
        return found

    def to_pandas(self) -> "DataFrame":
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
            # The door leads to what stands above.
            import ntkflow

            return ntkflow.sweep.table_so_far(path.parent)
        columns, header = files.read_arrays(path, "sweep")
        wrong = misfit(header, {"swept": [str]}) or _uneven(header["swept"], columns)
        if wrong:
            raise InputError("sweep", path, f"is no table of a sweep, {wrong}", "run the sweep again")
        return cls(tuple(header["swept"]), columns)

    def _pieces(self) -> Iterator[list[list[object]]]:
        """Some rows at a time: the plain values of every column."""
        for first in range(0, len(self), PIECE):
            yield [values[first : first + PIECE].tolist() for values in self.columns.values()]

    def write(self, directory: Path | str, parquet: bool = False) -> None:
        """Write table.csv and table.npz, and table.parquet where it is asked for, all with the same content.

        NaN is an empty field in the csv.

        Raises:
            InputError: pyarrow is not installed, and would be needed.
        """
        directory = Path(directory)
        if parquet:
            write_parquet(self.columns, directory / "table.parquet")
        header = {"swept": list(self.swept), "rows": len(self)}
        # What is compressed beside it holds nothing up.
        with ThreadPoolExecutor(1) as beside:
            archive = beside.submit(files.write_arrays, directory / "table.npz", self.columns, header)
            with files.atomic(directory / "table.csv", "w") as handle:
                writer = csv.writer(handle, lineterminator="\n")
                writer.writerow(self.columns)
                for first in range(0, len(self), PIECE):
                    writer.writerows(zip(*self._fields(slice(first, first + PIECE)), strict=True))
            archive.result()

    def _fields(self, rows: slice) -> Iterator[list[object]]:
        """What some rows have in a csv, column by column; what stands there under several names is written out once."""
        known: dict[tuple[str, bytes], list[object]] = {}
        for column in self.columns.values():
            values = column[rows]
            name = values.dtype.str, values.tobytes()
            if name not in known:
                known[name] = _fields(values)
            yield known[name]


def _fields(values: Column) -> list[object]:
    """What some rows of a column have in a csv."""
    plain: list[object] = values.tolist()
    # Most columns say the same of every cell, and writing a number out costs more than all else.
    if len(plain) > 1 and np.all(values == values[0]):
        return [str(plain[0])] * len(plain)
    return ["" if value != value else str(value) for value in plain]


def entry(value: object) -> int | float | str:
    """A swept value as it stands in a column: numbers as they are, all else as text."""
    return value if isinstance(value, int | float) else str(value)


def column_named(quantity: str, names: Iterable[str]) -> str | None:
    """The column that a name means; None where there is none.

    Itself, the value at the end (NC1 is nc.NC1.final), a field of the configuration, or the only one that ends with it.
    """
    names = list(names)
    for name in (quantity, f"nc.{quantity}.final", f"{quantity}.final"):
        if name in names:
            return name
    found = [name for name in names if name.endswith(f".{quantity}")]
    fields = [name for name in found if name.startswith("config.")]
    # The kernel says its constants once more.
    return fields[0] if fields else found[0] if len(found) == 1 else None


def no_column(argument: str, quantity: str, names: Sequence[str]) -> InputError:
    """What is said where a name means no column; the closest of those there are stand in it."""
    near = get_close_matches(quantity, names, n=3, cutoff=0.4)
    remedy = f"did you mean {', '.join(near)}?" if near else "see the columns of table.csv"
    return InputError(argument, repr(quantity), "is not a number in the summaries of this sweep", remedy)


def write_parquet(columns: Mapping[str, Column], path: Path) -> None:
    """Columns as a Parquet file, some rows at a time.

    Raises:
        InputError: pyarrow is not installed.
    """
    arrow = views.needed("pyarrow", "parquet", extra="parquet")
    parquet = views.needed("pyarrow.parquet", "parquet", extra="parquet")
    first = arrow.table({name: values[:0] for name, values in columns.items()})
    with files.atomic(path) as handle, parquet.ParquetWriter(handle, first.schema) as writer:
        for start in range(0, len(next(iter(columns.values()))), ROW_GROUP):
            some = {name: values[start : start + ROW_GROUP] for name, values in columns.items()}
            writer.write_table(arrow.table(some, schema=first.schema))


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
        columns[name] = np.array([entry(cell.point[name]) for cell in grid])
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
