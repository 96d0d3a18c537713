"""`ntkflow simulate`: parse, solve, print, write."""

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from ntkflow._types import Json
from ntkflow.cli import options, runs
from ntkflow.cli.printed import table
from ntkflow.cli.printed.output import attempted, bar, is_complete, place, warn
from ntkflow.errors import LawWarning
from ntkflow.runs import files, rundir
from ntkflow.runs.border.costs import MEMBER, refuse_many
from ntkflow.runs.border.records import document
from ntkflow.runs.pictures import drawing
from ntkflow.runs.simulate import run
from ntkflow.runs.summary import summarise


@options.of_simulations()
def simulate(
    given: Json,
    config: options.ConfigFile = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run directory. (default: the next free runs/simulate-NNN)", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    yes: options.Yes = False,
    figures: Annotated[bool, typer.Option(help="Draw the figure.", rich_help_panel=options.OUTPUT)] = True,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Integrate the block-kernel flow (Theorem 5.1) from a seeded or measured state; with --widths, linear layers.

    Prints what happened beside what the theory predicts and writes a run directory: config.toml,
    summary.json, trajectory.npz, states and the figure; with --ensemble, ensemble.npz instead of trajectory and states.
    """
    given["quiet"] = quiet
    if given["widths"] is not None or given["depth"] is not None or config is not None:
        layered = options.configured(config, given)
        if layered.layered:
            from ntkflow.cli import layers

            refuse_many("--ensemble", layered.ensemble, "members", MEMBER, yes)
            layers.run(layered, out, overwrite, figures, json, quiet)
            return
    with ExitStack() as stack:
        # First of all, so that its slow imports overlap with everything here.
        drawer = stack.enter_context(drawing.drawer()) if figures else None
        prepared = options.prepared(config, given)
        refuse_many("--ensemble", prepared.config.ensemble, "members", MEMBER, yes)
        if out is not None and is_complete(out, prepared, overwrite):
            show(out, json, quiet)
            return
        if prepared.config.ensemble > 1:
            from ntkflow.cli.ensemble import run_ensemble

            run_ensemble(prepared.config, prepared.kernel_arrays, out, overwrite, figures, json, quiet)
            return
        with place(out, "simulate", overwrite) as (directory, staged):
            with bar(json or quiet, _decades_done) as progress, warnings.catch_warnings():
                # The summary says it, in a line of its own.
                warnings.simplefilter("ignore", LawWarning)
                solution = run(prepared, progress)
            rundir.write_trajectory(staged, solution)
            summary = summarise(solution, prepared)
            rundir.write_run(staged, prepared, solution, summary)
        # Drawn and printed when the run is safe: a figure may fail, and whoever reads the output may have gone away.
        drawn = drawer is not None and draw(drawer, directory)
    if json or quiet:
        for sentence in summary.warnings:
            warn(sentence)
    if json:
        print(files.dump_json(document(summary)))
    elif not quiet:
        table.print_summary(summary)
        figure = f", its figure to {directory / 'figures' / 'run.png'}" if drawn else ""
        print(f"Run written to {directory}{figure}")


def show(directory: Path, json: bool, quiet: bool) -> None:
    """What the same command printed when it ran, and that it did."""
    if not quiet:
        runs.show([directory], json)
    if not (quiet or json):
        print(f"{directory} is already complete; --overwrite runs it again")


def draw(drawer: drawing.Drawer, directory: Path) -> bool:
    """Whether the figure of a saved run could be drawn; otherwise there is a warning."""
    remedy = f"`ntkflow plot {directory}` draws it"

    def drawn() -> bool:
        problem = drawer.draw(directory)
        if problem is not None:
            warn(f"no figure ({problem}); {remedy}")
        return problem is None

    return bool(attempted(drawn, remedy))


def _decades_done(fraction: float) -> float:
    """Progress that moves evenly in log time, from 1e-4 of the horizon on."""
    from math import log10

    return max(0.0, 1 + log10(max(fraction, 1e-4)) / 4)
