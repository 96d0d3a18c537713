"""The application `ntkflow validate`, and the commands that train, compare, or do everything in one go."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ntkflow.errors import InputError
from validation.cli import options
from validation.cli.export import export
from validation.cli.finish import finish
from validation.cli.frontier import frontier
from validation.cli.kernels import kernels
from validation.cli.paper import figure, reproduce
from validation.cli.progress import progress
from validation.cli.report import calibrate, default_run, report
from validation.cli.seeds import seeds
from validation.cli.sweep import show, sweep, table

if TYPE_CHECKING:
    from validation.pipeline import Outcome

# Exit code of a training that diverged; 0, 1, 2 and 130 mean what they mean everywhere in ntkflow.
EXIT_DIVERGED = 3

app = typer.Typer(
    name="validate",
    help="Train real networks, measure their kernels, compare with the theory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def train(
    preset: options.Preset = "digits",
    config: options.Config = None,
    out: options.Out = options.RUN_OUT,
    seed: options.Seed = None,
    per_class: options.PerClass = None,
    set_: options.Set = None,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a network and write snapshots; an interrupted run of the same configuration goes on."""
    from validation.pipeline import train_run

    wanted = options.configuration(preset, config, seed, per_class, set_ or ())
    run = options.create(wanted, out, data_dir, download, overwrite, resume)
    with run.locked():
        with progress(json or quiet) as bar:
            outcome = train_run(run, bar, bar.observed)
        finish(run, json, quiet)
    _exit(outcome)


for command in (kernels, export, calibrate, report, frontier, seeds, sweep, table, show, figure, reproduce):
    app.command()(command)


@app.command()
def compare(
    out: options.Out = options.RUN_OUT,
    from_snapshot: options.FromSnapshot = None,
    rungs: options.Rungs = "auto",
    data_dir: options.DataDir = None,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Predict from measured snapshots with every rung of the kernel ladder, compare, attribute the error."""
    from validation.pipeline import compare_run
    from validation.rundir import RunDirectory

    run = RunDirectory.open(out)
    options.find_data(run.config, data_dir)
    with run.locked():
        with progress(json or quiet) as bar:
            compare_run(run, from_snapshot, bar, options.rung_names(rungs), bar.say)
        finish(run, json, quiet)


@app.command()
def run(
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", help="One run of this preset; without it and --config two networks that differ."
        ),
    ] = None,
    config: options.Config = None,
    out: options.Out = options.RUN_OUT,
    seed: options.Seed = None,
    per_class: options.PerClass = None,
    set_: options.Set = None,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    from_snapshot: options.FromSnapshot = None,
    rungs: options.Rungs = "auto",
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Train, measure, predict and compare in one go; an interrupted run goes on.

    With neither --preset nor --config: an MLP that the theory describes and a small ResNet that it does not, on one
    page, in some minutes.
    """
    from validation.pipeline import Result, compare_run, measure_run, train_run

    if preset is None and config is None:
        if download or from_snapshot is not None or rungs != "auto" or set_:
            raise InputError(
                "run", "without --preset", "takes no settings of a single run", "give --preset or --config"
            )
        default_run(out, seed, per_class, data_dir, overwrite, json, quiet)
        return
    wanted = options.configuration(preset or "digits", config, seed, per_class, set_ or ())
    directory = options.create(wanted, out, data_dir, download, overwrite, resume)
    with directory.locked():
        with progress(json or quiet) as bar:
            outcome = train_run(directory, bar, bar.observed)
            if outcome.result is Result.COMPLETE:
                measure_run(directory, from_snapshot, bar)
                compare_run(directory, from_snapshot, bar, options.rung_names(rungs), bar.say)
        finish(directory, json, quiet)
    _exit(outcome)


def _exit(outcome: "Outcome") -> None:
    if outcome.message:
        print(outcome.message + "; the snapshots before it are kept", file=sys.stderr)
        raise SystemExit(EXIT_DIVERGED)
