"""The application `ntkflow validate`, and the commands that train, compare, or do everything in one go."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ntkflow.cli.ends import resumable
from ntkflow.errors import InputError
from ntkflow_validation.cli import options
from ntkflow_validation.cli.export import export
from ntkflow_validation.cli.finish import finish, print_next, tell, tell_complete, written
from ntkflow_validation.cli.frontier import frontier
from ntkflow_validation.cli.kernels import kernels
from ntkflow_validation.cli.laws import laws
from ntkflow_validation.cli.paper import figure, reproduce
from ntkflow_validation.cli.progress import progress
from ntkflow_validation.cli.report import calibrate, default_run, report
from ntkflow_validation.cli.seeds import seeds
from ntkflow_validation.cli.studies import experiment, regimes
from ntkflow_validation.cli.sweep import show, sweep, table

if TYPE_CHECKING:
    from ntkflow_validation.pipeline.pipeline import Outcome
    from ntkflow_validation.pipeline.summary import Summary
    from ntkflow_validation.runs.rundir import RunDirectory

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
@resumable
def train(
    preset: options.Preset = "digits",
    config: options.Config = None,
    out: options.Out = options.RUN_OUT,
    seed: options.Seed = None,
    per_class: options.PerClass = None,
    set_: options.Set = None,
    data: options.Data = None,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a network and write snapshots; an interrupted run of the same configuration goes on."""
    from ntkflow_validation.pipeline.pipeline import read_outcome, train_run

    wanted = options.configuration(preset, config, seed, per_class, set_ or (), data)
    options.tell_data(wanted, json or quiet)
    run, prepared = options.create(wanted, out, data_dir, download, overwrite, resume)
    ended = None if overwrite else read_outcome(run)
    if ended is not None and run.summary():
        tell_complete(run, json, quiet)
        _exit(ended)
        return
    with run.locked():
        with progress(json or quiet) as bar:
            outcome = train_run(run, bar, bar.observed, prepared)
        finish(run, json, quiet)
    _exit(outcome)


for command in (
    kernels,
    laws,
    export,
    calibrate,
    regimes,
    experiment,
    report,
    frontier,
    seeds,
    sweep,
    table,
    show,
    figure,
    reproduce,
):
    app.command()(command)


@app.command()
@resumable
def compare(
    run: options.Run = None,
    from_snapshot: options.FromSnapshot = None,
    rungs: options.Rungs = "auto",
    data_dir: options.DataDir = None,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
    out: options.OldOut = None,
) -> None:
    """Predict from measured snapshots with every rung of the kernel ladder, compare, attribute the error."""
    from ntkflow_validation.pipeline.pipeline import compare_run
    from ntkflow_validation.runs.results import Results

    summaries: dict[RunDirectory, Summary] = {}
    for found in options.runs_at(run, out):
        options.find_data(found.config, data_dir)
        with found.locked():
            kernels = found.measurements()
            with progress(json or quiet) as bar:
                comparison = compare_run(
                    found, from_snapshot, bar, options.rung_names(rungs), bar.say, kernels
                )
            summaries[found] = written(found, json or quiet, Results.of(found, kernels, comparison))
    tell(summaries, json, quiet)


@app.command()
@resumable
def run(
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="One run of this preset; without it, --config and --data two networks that differ.",
        ),
    ] = None,
    config: options.Config = None,
    out: options.Out = options.RUN_OUT,
    seed: options.Seed = None,
    per_class: options.PerClass = None,
    set_: options.Set = None,
    data: options.Data = None,
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

    With neither --preset nor --config nor --data: an MLP that the theory describes and a small ResNet that it does not, on one
    page, in some minutes.
    """
    from ntkflow_validation.pipeline.pipeline import Result, compare_run, measure_run, read_outcome, train_run
    from ntkflow_validation.runs.results import Results

    if preset is None and config is None and data is None:
        if download or from_snapshot is not None or rungs != "auto" or set_:
            raise InputError(
                "run", "without --preset", "takes no settings of a single run", "give --preset or --config"
            )
        default_run(out, seed, per_class, data_dir, overwrite, json, quiet)
        return
    wanted = options.configuration(
        "digits" if preset is None else preset, config, seed, per_class, set_ or (), data
    )
    options.tell_data(wanted, json or quiet)
    directory, prepared = options.create(wanted, out, data_dir, download, overwrite, resume)
    ended = None if overwrite or rungs != "auto" or from_snapshot is not None else read_outcome(directory)
    if ended is not None and _compared(directory, ended):
        tell_complete(directory, json, quiet)
        _end(ended, directory, json or quiet)
        return
    results = None
    with directory.locked():
        with progress(json or quiet) as bar:
            outcome = train_run(directory, bar, bar.observed, prepared)
            if outcome.result is Result.COMPLETE:
                kernels = measure_run(directory, from_snapshot, bar, prepared)
                comparison = compare_run(
                    directory, from_snapshot, bar, options.rung_names(rungs), bar.say, kernels, prepared
                )
                results = Results.of(directory, kernels, comparison)
        finish(directory, json, quiet, results)
    _end(outcome, directory, json or quiet)


def _compared(run: "RunDirectory", ended: "Outcome") -> bool:
    """Whether all that can be done with a training that ended has been done."""
    compared = run.comparison()
    done = compared is not None and bool(compared.windows or compared.refused)
    return bool(run.summary()) and (bool(ended.message) or done)


def _end(outcome: "Outcome", run: "RunDirectory", silent: bool) -> None:
    if not (silent or outcome.message):
        print_next(run.path)
    _exit(outcome)


def _exit(outcome: "Outcome") -> None:
    if outcome.message:
        print(outcome.message + "; the snapshots before it are kept", file=sys.stderr)
        raise SystemExit(EXIT_DIVERGED)
