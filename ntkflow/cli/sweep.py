"""`ntkflow sweep`: parse, run the cells that are missing, tabulate, draw."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from ntkflow import config as configuration
from ntkflow import store
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.sweep import dask_cluster, local_processes, parse_axis, run_sweep, spec_from_tables
from ntkflow.sweep.axis import FORMS
from ntkflow.sweep.fields import SIMULATE
from ntkflow.sweep.runner import SweepProgress
from ntkflow.sweep.spec import SweepSpec, View
from ntkflow.sweep.studies import mark_of, study_named, title_of, with_changes
from ntkflow.sweep.table import Table

GRID, FIGURE, RUNNING, OUTPUT = ("Grid", "Figure", "Running", "Output")


def sweep(
    over: list[str] = typer.Option(
        None,
        "--over",
        help=f"An axis: {FORMS}; may be given more than once. FIELD is any option of simulate in its config.toml; "
        "FIELD1,FIELD2=... move together.",
        rich_help_panel=GRID,
    ),
    seeds: int = typer.Option(
        None, help="Run every cell with this many seeds; figures show quantiles.", rich_help_panel=GRID
    ),
    set_: list[str] = typer.Option(
        None, "--set", help="FIELD=VALUE for all cells; may be given more than once.", rich_help_panel=GRID
    ),
    config: Path = typer.Option(
        None, help="A config.toml of simulate, or a sweep.toml to replay.", rich_help_panel=GRID
    ),
    study: str = typer.Option(
        None,
        help="A shipped sweep: negative-eigenvalues, equal-bias or weight-decay.",
        rich_help_panel=GRID,
    ),
    x: str = typer.Option(
        None,
        "--x",
        help="Quantity on the x axis: a field, or a dotted path into summary.json. Default: the first axis.",
        rich_help_panel=FIGURE,
    ),
    y: list[str] = typer.Option(
        None,
        "--y",
        help="Quantity to draw, one pane each; may be given more than once. Default: nc.NC1.final.",
        rich_help_panel=FIGURE,
    ),
    by: str = typer.Option(None, help="Field or quantity that tells colours apart.", rich_help_panel=FIGURE),
    theory: list[str] = typer.Option(
        None,
        help="Quantity drawn as a dashed line over the pane of the same place, as theory.nc1_floor.",
        rich_help_panel=FIGURE,
    ),
    log_x: bool = typer.Option(None, "--log-x", help="Log scale on the x axis.", rich_help_panel=FIGURE),
    log_y: bool = typer.Option(
        None,
        "--log-y",
        help="Log scale of the quantities, but for cosines and shares.",
        rich_help_panel=FIGURE,
    ),
    figures: bool = typer.Option(True, help="Draw the figure.", rich_help_panel=FIGURE),
    workers: int = typer.Option(None, help="Local processes. Default: one a core.", rich_help_panel=RUNNING),
    scheduler: str = typer.Option(
        None, help="Address of a dask scheduler whose workers run the cells.", rich_help_panel=RUNNING
    ),
    out: Path = typer.Option(
        None,
        help="Sweep directory. Default: runs/sweep- and the study's name or a hash.",
        rich_help_panel=OUTPUT,
    ),
    overwrite: bool = typer.Option(
        False,
        "--overwrite",
        help="Replace another sweep in the directory; finished cells that both share are kept.",
        rich_help_panel=OUTPUT,
    ),
    json: bool = typer.Option(
        False,
        "--json",
        help="Print counts and the table's main columns alone, as JSON.",
        rich_help_panel=OUTPUT,
    ),
    quiet: bool = typer.Option(
        False, "--quiet", "-q", help="Print nothing but errors.", rich_help_panel=OUTPUT
    ),
) -> None:
    """Run the simulation over a grid of configurations and draw any quantity of its summaries.

    Every finished cell is kept under a hash of its configuration: the same command again runs only what is
    missing or failed. Writes sweep.toml, cells/, table.csv, table.npz and figures/sweep.png. Exit code 1 when a
    cell failed.
    """
    view = {"x": x, "y": y, "by": by, "theory": theory, "log_x": log_x, "log_y": log_y}
    spec = _spec(config, study, over or [], set_ or [], seeds, view)
    directory = out if out is not None else default_directory(spec)
    with ExitStack() as stack:
        if workers is not None and scheduler is not None:
            raise InputError("--workers", workers, "has no meaning beside --scheduler", "drop one of the two")
        executor = None
        if scheduler is not None:
            executor = stack.enter_context(dask_cluster(scheduler))
        elif workers is not None:
            executor = stack.enter_context(local_processes(workers))
        progress = stack.enter_context(sweep_progress(silent=json or quiet))
        try:
            table = run_sweep(spec, directory, executor, progress, overwrite)
        except KeyboardInterrupt:
            print("ntkflow: interrupted; the same command again goes on from here", file=sys.stderr)
            raise typer.Exit(130) from None
    drawn = _draw(spec, table, directory) if figures and len(table.failed) < len(table) else None
    _report(spec, table, directory, drawn, json, quiet)
    if table.failed:
        raise typer.Exit(1)


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
                raise InputError(name, value, "has no meaning beside --study", "drop one of the two")
        chosen = study_named(study)
        spec = with_changes(chosen, chosen.spec.base.updated(SIMULATE.read_settings(changes)), seeds)
        return replace(spec, view=replace(spec.view, **given))
    tables = {} if config is None else store.read_toml(config)
    folder = Path() if config is None else config.parent
    if "sweep" in tables:
        spec = spec_from_tables(tables, folder)
        spec = replace(
            spec,
            base=spec.base.updated(SIMULATE.read_settings(changes)),
            axes=axes or spec.axes,
            seeds=spec.seeds if seeds is None else seeds,
        )
        return replace(spec, view=replace(spec.view, **given))
    base = configuration.from_tables(tables, folder).updated(SIMULATE.read_settings(changes))
    return SweepSpec(base, axes, seeds or 0, View(**given))


def _draw(spec: SweepSpec, table: Table, directory: Path) -> Path | None:
    """Draw figures/sweep.png; None when the sweep has too many axes for a figure."""
    from ntkflow import figures
    from ntkflow.sweep.figure import sweep_figure

    figure = sweep_figure(spec, table, title_of(spec), mark_of(spec))
    if figure is None:
        return None
    final = directory / "figures" / "sweep.png"
    final.parent.mkdir(exist_ok=True)
    temporary = final.with_name(f".sweep-{os.getpid()}.png")
    figures.save(figure, temporary)
    temporary.replace(final)
    return final


def _report(
    spec: SweepSpec, table: Table, directory: Path, drawn: Path | None, json: bool, quiet: bool
) -> None:
    failed = table.failed
    shown = [*table.swept, "status", *dict.fromkeys((*filter(None, [spec.view.x]), *spec.view.y))]
    if json:
        print(
            store.dump_json(
                {
                    "directory": directory,
                    "cells": len(table),
                    "done": len(table) - len(failed),
                    "failed": len(failed),
                    "errors": sorted(set(failed)),
                    "figure": drawn,
                    "rows": [{name: row.get(name) for name in shown} for row in table.rows()],
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


@contextmanager
def sweep_progress(silent: bool) -> Iterator[SweepProgress | None]:
    """A progress bar over cells, on terminals only; it vanishes when the sweep is done."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("", total=None, note="")

        def show(done: int, total: int, failed: int) -> None:
            note = f"{failed} failed" if failed else ""
            bar.update(task, total=total, completed=done + failed, note=note)

        yield show
