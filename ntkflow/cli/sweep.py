"""`ntkflow sweep`: parse, run the cells that are missing, tabulate, draw."""

import sys
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import typer

from ntkflow import checks
from ntkflow._types import Json
from ntkflow.cli import sweep_options as options
from ntkflow.cli.ends import GOES_ON, resumable
from ntkflow.cli.printed.output import attempted, bar
from ntkflow.errors import StoppedError
from ntkflow.runs import config as configuration
from ntkflow.runs import files
from ntkflow.runs.border.costs import ROW, refuse_many
from ntkflow.runs.config import SCHEMA
from ntkflow.sweep import dask_cluster, local_processes, parse_axis, run_sweep, spec_from_tables
from ntkflow.sweep.spec import SweepSpec, View
from ntkflow.sweep.studies import mark_of, study_named, title_of, with_changes
from ntkflow.sweep.table import MISSING, Table
from ntkflow.views import needed


@resumable
def sweep(
    over: options.Over = None,
    seeds: options.Seeds = None,
    set_: options.Set = None,
    config: options.Config = None,
    study: options.Study = None,
    x: options.X = None,
    y: options.Y = None,
    by: options.By = None,
    theory: options.Theory = None,
    log_x: options.LogX = None,
    log_y: options.LogY = None,
    vertical: options.Vertical = None,
    figures: options.Figures = True,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    column: options.Column = None,
    parquet: options.Parquet = False,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    yes: options.Yes = False,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Run the simulation over a grid of configurations and draw any quantity of its summaries.

    Every finished cell is kept under a hash of its configuration: the same command again runs only what is
    missing or failed. Cells work at rtol 1e-6 unless told otherwise. Writes sweep.toml, cells/, table.csv, table.npz
    and figures/sweep.png, which is drawn again every few seconds while the cells end. Exit code 1 when a cell failed.
    """
    view = {"x": x, "y": y, "by": by, "theory": theory, "log_x": log_x, "log_y": log_y}
    view |= {"vertical": vertical, "columns": column}
    if parquet:
        needed("pyarrow", "--parquet", "parquet")
    spec = _spec(config, study, over or [], set_ or [], seeds, view)
    refuse_many("over", spec.count, "cells", ROW, yes)
    directory = out if out is not None else default_directory(spec)

    def look(table: Table) -> None:
        draw = sweep_figure_of(spec, table)
        # Whatever is in the way of a picture must not be of a sweep; the one at the end tells.
        with suppress(Exception):
            _ = draw and draw(directory)

    with _executor(workers, scheduler) as executor, bar(json or quiet) as progress:
        try:
            table = run_sweep(
                spec, directory, executor, progress, overwrite, parquet, look if figures else None
            )
        except KeyboardInterrupt:
            raise StoppedError(GOES_ON) from None
    drawn = None
    if figures and len(table.failed) < len(table):
        # The picture is decided here, since options that name no quantity are bad input; it is drawn with less right.
        figure = sweep_figure_of(spec, table)
        again = "the same command again draws it from the cells there are"
        drawn = figure and attempted(lambda: figure(directory), again)
    _report(spec, table, directory, drawn, json, quiet)
    if table.failed:
        raise typer.Exit(1)


def _executor(workers: int | None, scheduler: str | None) -> AbstractContextManager[Executor | None]:
    """Where cells run; None where nothing is said of it."""
    if workers is not None and scheduler is not None:
        raise checks.beside("--workers", workers, "--scheduler")
    if scheduler is not None:
        return dask_cluster(scheduler)
    return nullcontext() if workers is None else local_processes(workers)


def default_directory(spec: SweepSpec) -> Path:
    """A name that the same command gets again, so that it resumes."""
    name = spec.view.study
    if name is not None and spec.identity() == study_named(name).spec.identity():
        return Path("runs") / f"sweep-{name}"
    return Path("runs") / f"sweep-{spec.identity()[:10]}"


def _spec(
    config: Path | None,
    study: str | None,
    over: list[str],
    changes: list[str],
    seeds: int | None,
    view: Json,
) -> SweepSpec:
    """The specification: what the study or file holds, overridden by the options given."""
    axes = tuple(parse_axis(text) for text in over)
    given: Any = {n: tuple(v) if isinstance(v, list) else v for n, v in view.items() if v not in (None, [])}
    if study is not None:
        for name, value in (("--over", over), ("--config", config)):
            if value:
                raise checks.beside(name, value, "--study")
        chosen = study_named(study)
        spec = with_changes(chosen, chosen.spec.base.updated(SCHEMA.read_settings(changes)), seeds)
        return replace(spec, view=replace(spec.view, **given))
    tables = {} if config is None else files.read_toml(config)
    folder = Path() if config is None else config.parent
    if "sweep" in tables:
        spec = spec_from_tables(tables, folder)
        spec = replace(
            spec,
            base=spec.base.updated(SCHEMA.read_settings(changes)),
            axes=axes or spec.axes,
            seeds=spec.seeds if seeds is None else seeds,
        )
        return replace(spec, view=replace(spec.view, **given))
    base = configuration.from_tables(tables, folder).updated(SCHEMA.read_settings(changes))
    return SweepSpec(base, axes, seeds or 0, View(**given))


def sweep_figure_of(spec: SweepSpec, table: Table) -> Callable[[Path], Path] | None:
    """What draws figures/sweep.png into a directory; None when the sweep has too many axes for a figure.

    Raises:
        InputError: --x, --y, --by or --theory name what has no numbers.
    """
    from ntkflow.sweep.plan import plan

    if plan(spec, table) is None:
        return None

    def draw(directory: Path) -> Path:
        from ntkflow.runs.pictures import figures
        from ntkflow.sweep.figure import sweep_figure

        ended = int(np.sum(table.columns["status"] != MISSING))
        so_far = "" if ended == len(table) else f" ({ended} of {len(table)} cells so far)"
        figure = sweep_figure(spec, table, title_of(spec) + so_far, mark_of(spec))
        assert figure is not None
        final = directory / "figures" / "sweep.png"
        final.parent.mkdir(exist_ok=True)
        with files.atomic(final) as handle:
            figures.save(figure, handle, "png")
        return final

    return draw


def _report(
    spec: SweepSpec, table: Table, directory: Path, drawn: Path | None, json: bool, quiet: bool
) -> None:
    failed = table.failed
    shown = [*table.swept, "status", *dict.fromkeys((*filter(None, [spec.view.x]), *spec.view.y))]
    if json:
        # A sweep none of whose cells has ended has no quantities.
        there = len(failed) < len(table)
        values = [
            table.column(name).tolist() if there or name in table.columns else len(table) * [None]
            for name in shown
        ]
        print(
            files.dump_json(
                {
                    "directory": directory,
                    "cells": len(table),
                    "done": len(table) - len(failed),
                    "failed": len(failed),
                    "errors": sorted(set(failed)),
                    "figure": drawn,
                    "rows": [dict(zip(shown, row, strict=True)) for row in zip(*values, strict=True)],
                }
            )
        )
    elif not quiet:
        if spec.view.study is not None:
            print(study_named(spec.view.study).lesson)
        print(f"{len(table) - len(failed)} of {len(table)} cells done; table and cells in {directory}")
        if drawn is not None:
            print(f"Figure: {drawn}")
        elif len(failed) < len(table):
            print("No figure: it shows at most two axes; name two quantities with --x and --y for a scatter")
    if failed and not json:
        print(
            f"ntkflow: {len(failed)} of {len(table)} cells failed, the first with: {failed[0]}\n"
            "The same command again tries them once more.",
            file=sys.stderr,
        )
