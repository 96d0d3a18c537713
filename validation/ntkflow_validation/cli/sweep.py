"""`ntkflow validate sweep`, `table` and `show`: parse, call, print."""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ntkflow import checks
from ntkflow._types import Json
from ntkflow.cli.ends import GOES_ON, resumable
from ntkflow.cli.printed.output import warn
from ntkflow.errors import InputError, StoppedError
from ntkflow.runs.border.costs import CELL, refuse_many
from ntkflow_validation.cli import sweep_options as options
from ntkflow_validation.cli.options import find_data, own_data, tell_data

if TYPE_CHECKING:
    from ntkflow.sweep.table import Table
    from ntkflow_validation.config.config import RunConfig
    from ntkflow_validation.sweep.grid import TrainingSweep

# What `table` prints unless it is told otherwise.
COLUMNS = ("result", "NC1", "NC2", "NC3", "accuracy_train", "accuracy_test", "invariant_alignment", "seconds")


@resumable
def sweep(
    preset: options.Preset = "sweep-digits",
    config: options.Config = None,
    pair: options.Pairs = None,
    learning_rates: options.LearningRates = None,
    init: options.Init = None,
    seeds: options.Seeds = None,
    over: options.Over = None,
    set_: options.Set = None,
    data: options.Data = None,
    workers: options.Workers = None,
    together: options.Together = 1,
    scheduler: options.Scheduler = None,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    dry_run: options.DryRun = False,
    out: options.Out = options.SWEEP_OUT,
    keep_runs: options.KeepRuns = False,
    overwrite: options.Overwrite = False,
    yes: options.Yes = False,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Train over learning rates, initialisations, pairs and seeds.

    Every finished training is kept under a hash of its configuration: the same command again runs only what is
    missing or failed. Writes sweep.toml, cells/, table.csv and table.npz. Exit code 1 when a training failed; one
    that diverged is a result.
    """
    grid = _grid(preset, config, set_ or [], data, pair or [], learning_rates, init, seeds, over or [])
    if not dry_run:
        refuse_many("over", grid.count, "trainings", CELL, yes)
    if dry_run:
        _estimate(grid, workers, together, json)
        return
    if download:
        fetch_data(grid)
    tell_data(grid.base, json or quiet)
    table = run(
        grid, out, workers, scheduler, data_dir, keep_runs, overwrite, silent=json or quiet, together=together
    )
    _report(table, out, json, quiet)
    if table.failed:
        raise typer.Exit(1)


def run(
    grid: "TrainingSweep",
    out: Path,
    workers: int | None = None,
    scheduler: str | None = None,
    data_dir: Path | None = None,
    keep_runs: bool = False,
    overwrite: bool = False,
    silent: bool = False,
    together: int = 1,
) -> "Table":
    """Run a grid with a bar, locally or on a cluster.

    Raises:
        InputError: both places were named, or none of the data is there.
    """
    from ntkflow.cli.printed.output import bar
    from ntkflow.sweep import dask_cluster
    from ntkflow_validation.sweep.running import local_workers, run_sweep
    from ntkflow_validation.sweep.together import Together, require_room_for

    if workers is not None and scheduler is not None:
        raise checks.beside("--workers", workers, "--scheduler")
    # Missing files are said before anything starts.
    for config in _by_data(grid).values():
        find_data(config, data_dir)
    with ExitStack() as stack:
        where = dask_cluster(scheduler) if scheduler is not None else local_workers(workers)
        executor: Executor = stack.enter_context(where)
        if together != 1:
            pool, executor = executor, stack.enter_context(Together(executor, together))
            require_room_for([cell.run for cell in grid.cells if cell.run is not None], together, pool)
        progress = stack.enter_context(bar(silent))
        try:
            return run_sweep(grid, out, executor, progress, overwrite, keep_runs, data_dir)
        except KeyboardInterrupt:
            raise StoppedError(GOES_ON) from None


def table(
    out: Path = typer.Argument(help="Sweep directory."),
    where: list[str] = typer.Option(None, help="Only rows with FIELD=VALUE, FIELD<VALUE ...; repeat."),
    column: list[str] = typer.Option(None, help="A column to print beside the swept ones; repeat."),
    json: bool = typer.Option(
        False, "--json", help="Print rows as JSON, with all columns unless some are named."
    ),
) -> None:
    """Print the table of a sweep as far as it has come; table.csv and table.npz hold all columns."""
    from ntkflow.runs import files
    from ntkflow_validation.sweep.select import column_named, rows_where

    found = read_table(out)
    current = _brought_up_to_date(found, out)
    chosen = rows_where(found, where or [])
    names = [column_named(found, name, "column") for name in column or ()]
    rows = [row for row, keep in zip(found.rows(), chosen, strict=True) if keep]
    if json:
        wanted = [*found.swept, "status", *names] if names else list(found.columns)
        print(files.dump_json([{name: row[name] for name in wanted} for row in rows]))
        return
    shown = names or [name for name in COLUMNS if name in found.columns]
    print_rows([*found.swept, "status", *shown], rows)
    where_all = f"; all {len(found.columns)} columns in {out / 'table.csv'}" if current else ""
    print(f"{len(rows)} of {len(found)} trainings{where_all}")


def _brought_up_to_date(table: "Table", out: Path) -> bool:
    """Write the table's files where that is allowed: a sweep is read from wherever it lies."""
    try:
        table.write(out)
    except OSError as error:
        warn(f"{out / 'table.csv'} could not be brought up to date ({error.strerror})")
        return False
    return True


def show(
    path: list[Path] = typer.Argument(help="Sweep directories, run directories, folders of runs."),
    where: list[str] = typer.Option(None, help="FIELD=VALUE, FIELD<VALUE ... on any field; repeat."),
    json: bool = typer.Option(False, "--json", help="Print what was found as JSON, with all fields."),
) -> None:
    """Find trainings by any field of their configuration or any metric, and print each."""
    from ntkflow.runs import files
    from ntkflow_validation.sweep.lookup import found_table, print_run
    from ntkflow_validation.sweep.select import rows_where

    found, records = found_table(path)
    chosen = [i for i, keep in enumerate(rows_where(found, where or [])) if keep]
    rows = list(found.rows())
    if json:
        print(files.dump_json([rows[i] for i in chosen]))
    elif len(chosen) == 1:
        print_run(records[chosen[0]])
    else:
        shown = [name for name in COLUMNS if name in found.columns]
        print_rows([*found.swept, *shown, "where"], [rows[i] for i in chosen])
        print(f"{len(chosen)} of {len(rows)} trainings")


def read_table(out: Path) -> "Table":
    """The table of a sweep directory.

    Raises:
        InputError: it is none.
    """
    from ntkflow.runs import files
    from ntkflow.sweep.stored.cache import SPEC_FILE
    from ntkflow_validation.sweep.grid import sweep_from_tables
    from ntkflow_validation.sweep.running import tabulate_sweep

    if not (out / SPEC_FILE).is_file():
        raise InputError("out", out, "is not a sweep directory", "start with `ntkflow validate sweep`")
    return tabulate_sweep(sweep_from_tables(files.read_toml(out / SPEC_FILE)), out)


def print_rows(names: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Columns as wide as their content; names without the part that all share."""
    heads = [name.rpartition(".")[2] if name.startswith(("training.", "config.")) else name for name in names]
    texts = [[_short(row.get(name)) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]
    for line in (heads, *texts):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _short(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)


def _grid(
    preset: str,
    config: Path | None,
    changes: list[str],
    data: Path | None,
    pairs: list[str],
    rates: str | None,
    init: str | None,
    seeds: int | None,
    over: list[str],
) -> "TrainingSweep":
    """The grid of the file or preset, overridden by the options given."""
    from ntkflow.runs import files
    from ntkflow.sweep import parse_axis
    from ntkflow_validation.config.config import located
    from ntkflow_validation.sweep.grid import PAPER, PAPER_INITS, PAPER_PAIRS, Pair, sweep_from_tables
    from ntkflow_validation.sweep.presets import sweep_preset
    from ntkflow_validation.sweep.settings import RATE, SETTINGS, changed
    from ntkflow_validation.training.complete import completed

    grid = (
        sweep_preset(preset)
        if config is None
        else sweep_from_tables(located(files.read_toml(config), config.parent))
    )
    if data is not None and (pairs or grid.pairs):
        raise checks.beside("--data", data, "pairs, which name their data")
    base = grid.base if data is None else grid.base.with_data(own_data(data))
    given: Json = {"base": completed(changed(base, SETTINGS.read_settings(changes)), again=True)}
    if pairs:
        given["pairs"] = PAPER_PAIRS if pairs == [PAPER] else tuple(Pair.parse(text) for text in pairs)
    if rates is not None:
        axis = f"{RATE}={rates}"
        given["rates"] = PAPER if rates == PAPER else parse_axis(axis, SETTINGS, "--learning-rates").values
    if init is not None:
        given["inits"] = PAPER_INITS if init == PAPER else tuple(word.strip() for word in init.split(","))
    if seeds is not None:
        given["seeds"] = seeds
    if over:
        given["axes"] = tuple(parse_axis(text, SETTINGS) for text in over)
    return replace(grid, **given)


def _by_data(grid: "TrainingSweep") -> "dict[str, RunConfig]":
    """One training for each data set of a grid."""
    return {cell.run.data.name: cell.run for cell in grid.cells if cell.run is not None}


def fetch_data(grid: "TrainingSweep") -> None:
    """What is missing of the data sets of a grid, into the user's cache.

    Raises:
        InputError: a host cannot be reached, or a file is not what it should be.
    """
    from ntkflow_validation.datasets import fetch

    for name in _by_data(grid):
        fetch(name)


def _estimate(grid: "TrainingSweep", workers: int | None, together: int, json: bool) -> None:
    from ntkflow.runs import files
    from ntkflow_validation.sweep.estimate import estimate

    found = estimate(grid, workers, together)
    print(files.dump_json(found.to_dict()) if json else found.words())


def _report(table: "Table", out: Path, json: bool, quiet: bool) -> None:
    from collections import Counter

    from ntkflow.runs import files

    failed = table.failed
    results = Counter(table.columns["result"]) if "result" in table.columns else Counter()
    if json:
        done = {"cells": len(table), "done": len(table) - len(failed), "failed": len(failed)}
        print(
            files.dump_json(
                {"directory": out, **done, "diverged": results["diverged"], "errors": sorted(set(failed))}
            )
        )
    elif not quiet:
        diverged = f", {results['diverged']} of them diverged" if results["diverged"] else ""
        print(f"{len(table) - len(failed)} of {len(table)} trainings done{diverged}; table in {out}")
    if failed and not json:
        print(
            f"ntkflow: {len(failed)} of {len(table)} trainings failed, the first with: {failed[0]}\n"
            "The same command again tries them once more.",
            file=sys.stderr,
        )
