"""`ntkflow validate`: train real networks, measure their kernels, compare with the theory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ntkflow.errors import InputError

if TYPE_CHECKING:
    from validation.config import RunConfig
    from validation.pipeline import Progress, Window
    from validation.rundir import RunDirectory

app = typer.Typer(
    name="validate",
    help="Train real networks, measure their kernels, compare with the theory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OUT = typer.Option(Path("validate-run"), "--out", help="Run directory.")
PRESET = typer.Option("digits", "--preset", help="digits, flow, control or tiny.")
CONFIG = typer.Option(None, "--config", help="TOML file of a configuration, such as a run's config.toml.")
SEED = typer.Option(None, "--seed", help="Replaces the configuration's seed.")
OVERWRITE = typer.Option(False, "--overwrite", help="Replace an existing run directory.")
RESUME = typer.Option(False, "--resume", help="Go on with an interrupted run of the same configuration.")
FROM = typer.Option(None, "--from-snapshot", help="Step whose snapshot the drawn prediction starts from.")
JSON = typer.Option(False, "--json", help="Print the summary as JSON and nothing else.")
QUIET = typer.Option(False, "--quiet", help="Print nothing.")


@app.command()
def train(
    preset: str = PRESET,
    config: Path | None = CONFIG,
    out: Path = OUT,
    seed: int | None = SEED,
    overwrite: bool = OVERWRITE,
    resume: bool = RESUME,
    json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Train a network and write snapshots."""
    from validation.pipeline import train_run

    run = _create(preset, config, out, seed, overwrite, resume)
    with _progress(json or quiet) as progress:
        train_run(run, progress)
    _finish(run, [], json, quiet)


@app.command()
def kernels(
    out: Path = OUT, from_snapshot: int | None = FROM, json: bool = JSON, quiet: bool = QUIET
) -> None:
    """Measure the features' NTK at snapshots of a trained run; those already measured are kept."""
    from validation.pipeline import measure_run
    from validation.rundir import RunDirectory

    run = RunDirectory.open(out)
    with _progress(json or quiet) as progress:
        measure_run(run, from_snapshot, progress)
    _finish(run, [], json, quiet)


@app.command()
def compare(
    out: Path = OUT, from_snapshot: int | None = FROM, json: bool = JSON, quiet: bool = QUIET
) -> None:
    """Predict from every measured snapshot, compare with the run, draw the figure."""
    from validation.pipeline import compare_run
    from validation.rundir import RunDirectory

    run = RunDirectory.open(out)
    with _progress(json or quiet) as progress:
        windows = compare_run(run, from_snapshot, progress)
    _finish(run, windows, json, quiet)


@app.command()
def run(
    preset: str = PRESET,
    config: Path | None = CONFIG,
    out: Path = OUT,
    seed: int | None = SEED,
    from_snapshot: int | None = FROM,
    overwrite: bool = OVERWRITE,
    resume: bool = RESUME,
    json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Train, measure, predict and compare in one go."""
    from validation.pipeline import compare_run, measure_run, train_run

    directory = _create(preset, config, out, seed, overwrite, resume)
    with _progress(json or quiet) as progress:
        train_run(directory, progress)
        measure_run(directory, from_snapshot, progress)
        windows = compare_run(directory, from_snapshot, progress)
    _finish(directory, windows, json, quiet)


def _create(
    preset: str, config: Path | None, out: Path, seed: int | None, overwrite: bool, resume: bool
) -> "RunDirectory":
    from validation.rundir import RunDirectory

    if overwrite and resume:
        raise InputError("overwrite", True, "contradicts --resume", "give one of them")
    return RunDirectory.create(out, _configuration(preset, config).with_seed(seed), overwrite, resume)


def _configuration(preset: str, config: Path | None) -> "RunConfig":
    from validation.config import RunConfig
    from validation.presets import preset as named

    return named(preset) if config is None else RunConfig.from_toml(config)


@contextmanager
def _progress(hidden: bool) -> Iterator["Progress"]:
    """A rich progress bar on standard error, one line per stage."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    tasks: dict[str, Any] = {}
    columns = (TextColumn("{task.description:<18}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=hidden)

    def update(what: str, done: int, total: int) -> None:
        if not tasks:
            # Not before there is something to show: a stopped empty bar leaves a blank line.
            bar.start()
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done)

    try:
        yield update
    finally:
        if tasks:
            bar.stop()


def _finish(run: "RunDirectory", windows: list["Window"], json: bool, quiet: bool) -> None:
    from ntkflow.store import dump_json
    from validation.report import draw, summary

    figure = draw(run, windows)
    document = summary(run)
    run.write_summary(document)
    if json:
        print(dump_json(document))
    elif not quiet:
        _print(run, document, figure)


def _print(run: "RunDirectory", document: dict[str, Any], figure: str | None) -> None:
    last = document["training"]["last"]
    print(f"{run.path}: step {last['step']}, flow time {last['time']:.4g}, loss {last['loss']:.4g}, ", end="")
    print(f"accuracy {last['accuracy_train']:.3f} / {last['accuracy_test']:.3f} (train / test)")
    names = ("kappa_d", "kappa_c", "kappa_n", "mu_single", "alignment", "residual")
    for k in document["kernels"]:
        print(f"  kernel at step {k['step']:>7}: " + ", ".join(f"{name} {k[name]:.4g}" for name in names))
    if document["windows"]:
        print("skill of the prediction to the end of the run (1 perfect, 0 = no better than no change):")
    for w in document["windows"]:
        scores = w["refused"] or "  ".join(f"{name} {value:.3f}" for name, value in w["skill"].items())
        print(f"  from step {w['step']:>7}: {scores}")
    for line in document["deviations"]:
        print(f"  not in the theory: {line}")
    if figure:
        print(f"figure: {figure}")
