"""The table of a sweep of simulations from its shards, each of which is read through once."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ntkflow._types import Column, Floats
from ntkflow.runs import files
from ntkflow.sweep.grid import Grid
from ntkflow.sweep.spec import SweepSpec, spec_from_tables
from ntkflow.sweep.stored.cache import SPEC_FILE
from ntkflow.sweep.stored.shards import Shards
from ntkflow.sweep.table import DONE, FACTS, FAILED, MISSING, Table, column_named, entry, no_column

# Bytes of a table in memory; a larger one lies in a file that the system reads as it is needed.
MOST_BYTES = 1 << 28
# Columns by which figures tell what is noise.
BESIDES = ("reason", "solver.rtol", "config.stop.stop_nc1")


def table_so_far(directory: Path | str) -> Table:
    """The table of a sweep of simulations as far as it has come.

    Raises:
        InputError: it is none.
    """
    place = Path(directory)
    spec = spec_from_tables(files.read_toml(place / SPEC_FILE), place)
    return gathered(spec, Grid(spec), Shards(place))


def gathered(spec: SweepSpec, grid: Grid, shards: Shards, asked: Sequence[str] = ()) -> Table:
    """The table of all cells of a sweep, in grid order, as far as it has come.

    Args:
        spec: of the sweep.
        grid: its cells.
        shards: where they are.
        asked: the columns wanted, by any name that `Table.column` takes; none means all there are.

    Raises:
        InputError: no cell has such a number.
    """
    shards.refresh()
    rows = {key: number for number, key in enumerate(grid.keys())}
    columns: dict[str, Column] = {}
    shape = [len(axis.values) for axis in spec.all_axes]
    for k, axis in enumerate(spec.all_axes):
        values = np.array([entry(value) for value in axis.values])
        whole = np.broadcast_to(values.reshape([-1 if i == k else 1 for i in range(len(shape))]), shape)
        for name in axis.fields:
            columns[name] = whole.reshape(-1)
    swept = tuple(columns)
    status = np.full(len(grid), MISSING)
    errors: dict[int, str] = {}
    for key, number in rows.items():
        if key in shards.done:
            status[number] = DONE
        elif (failure := shards.read_failed(key)) is not None:
            status[number], errors[number] = FAILED, failure["error"]["message"]
    said = np.full(len(grid), "", dtype=f"U{max(map(len, errors.values()), default=1)}")
    for number, message in errors.items():
        said[number] = message
    facts = {"key": np.array(list(rows)), "status": status, "error": said}
    columns |= {name: facts[name] for name in FACTS}
    return Table(swept, columns | _numbers(swept, rows, shards, asked))


def _numbers(
    swept: tuple[str, ...],
    rows: Mapping[str, int],
    shards: Shards,
    asked: Sequence[str],
) -> dict[str, Column]:
    """Columns of the cells' numbers and words; those of the longest rows first, so that related ones stay side by side."""
    # Not in the order of the shards, which is that of the processes that were fastest.
    schemas = sorted(shards.schemas(), key=lambda schema: (-len(schema.names), schema.names))
    # The summary has a t_end of its own, the time reached, beside a swept end time.
    named = {n: f"summary.{n}" if n in swept else n for s in schemas for n in s.names}
    words = dict(sorted(_words(shards).items()))
    if asked and named:
        kept = _meant(asked, [*swept, *named.values(), *words])
        named = {name: column for name, column in named.items() if column in kept}
        words = {name: length for name, length in words.items() if name in kept}
    texts = {name: np.full(len(rows), "", dtype=f"U{length}") for name, length in words.items()}
    numbers = dict(zip(named.values(), _empty(len(named), len(rows), shards.directory), strict=True))
    for schema, keys, packed in shards.rows():
        with suppress(ValueError):
            values = schema.unpacked(packed)
            here = [k for k, key in enumerate(keys) if key in rows]
            places = np.array([rows[keys[k]] for k in here], dtype=int)
            for j, name in enumerate(schema.names):
                if name in named:
                    numbers[named[name]][places] = values[here, j]
            for name in texts:
                texts[name][places] = schema.texts.get(name, "")
    return texts | numbers


def _meant(asked: Sequence[str], there: Sequence[str]) -> set[str]:
    """The columns that names and ratios of names mean, and what figures need besides.

    Raises:
        InputError: there is no such column.
    """
    kept = set(BESIDES)
    for name in asked:
        for part in [name] if name in there else name.split("/"):
            found = column_named(part, there)
            if found is None:
                raise no_column("column", part, there)
            kept.add(found)
    return kept


def _words(shards: Shards) -> dict[str, int]:
    """Letters of the longest of each kind of words."""
    found: dict[str, int] = {}
    for schema in shards.schemas():
        for name, text in schema.texts.items():
            found[name] = max(found.get(name, 1), len(text))
    return found


def _empty(count: int, cells: int, folder: Path) -> Floats:
    """So many columns of NaN; large ones lie in a file that is gone when they are."""
    if 8 * count * cells <= MOST_BYTES:
        return np.full((count, cells), np.nan)
    with tempfile.TemporaryFile(dir=folder) as file:
        found = np.memmap(file, float, "w+", shape=(count, cells))
    for column in found:
        column[:] = np.nan
    return found
