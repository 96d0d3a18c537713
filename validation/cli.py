"""`ntkflow validate`: train real networks, measure their kernels, compare with the theory."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ntkflow.errors import InputError
from validation import paper_cli
from validation.export_cli import export
from validation.frontier_cli import frontier
from validation.measure_cli import kernels
from validation.report_cli import calibrate, default_run, report
from validation.sweep_cli import show, sweep, table

if TYPE_CHECKING:
    from validation.config import RunConfig
    from validation.pipeline import Outcome
    from validation.rundir import RunDirectory

# Exit code of a training that diverged; 0, 1, 2 and 130 mean what they mean everywhere in ntkflow.
EXIT_DIVERGED = 3

app = typer.Typer(
    name="validate",
    help="Train real networks, measure their kernels, compare with the theory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OUT = typer.Option(Path("validate-run"), "--out", help="Run directory.")
PRESET = typer.Option("digits", "--preset", help="paper, paper-small, digits, flow, control or tiny.")
NO_PRESET = typer.Option(
    None, "--preset", help="One run of this preset; without it and --config two networks that differ."
)
CONFIG = typer.Option(None, "--config", help="TOML file of a configuration, such as a run's config.toml.")
SEED = typer.Option(None, "--seed", help="Replaces the configuration's seed.")
OVERWRITE = typer.Option(False, "--overwrite", help="Replace an existing run directory.")
RESUME = typer.Option(False, "--resume", help="Go on with an interrupted run of the same configuration.")
DATA_DIR = typer.Option(
    None,
    "--data-dir",
    envvar="NTKFLOW_DATA",
    help="Folder with the data set's files, or of folders by its name.",
)
DOWNLOAD = typer.Option(False, "--download", help="Fetch missing data into the user's cache.")
SET = typer.Option(
    None, "--set", help="FIELD=VALUE, replaces a setting, as training.learning_rate=0.1; repeat."
)
PER_CLASS = typer.Option(None, "--per-class", help="Replaces the number of training samples of each class.")
FROM = typer.Option(None, "--from-snapshot", help="Predict from this step to the end of the run.")
RUNGS = typer.Option(
    "auto", "--rungs", help="Rungs of the kernel ladder, separated by commas; auto (cheap enough) or all."
)
JSON = typer.Option(False, "--json", help="Print the summary as JSON and nothing else.")
QUIET = typer.Option(False, "--quiet", help="Print nothing.")


@app.command()
def train(
    preset: str = PRESET,
    config: Path | None = CONFIG,
    out: Path = OUT,
    seed: int | None = SEED,
    per_class: int | None = PER_CLASS,
    set_: list[str] | None = SET,
    data_dir: Path | None = DATA_DIR,
    download: bool = DOWNLOAD,
    overwrite: bool = OVERWRITE,
    resume: bool = RESUME,
    json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Train a network and write snapshots; an interrupted run of the same configuration goes on."""
    from validation.pipeline import train_run

    wanted = _configuration(preset, config, seed, per_class, set_ or ())
    run = _create(wanted, out, data_dir, download, overwrite, resume)
    with run.locked():
        with _progress(json or quiet) as progress:
            outcome = train_run(run, progress, progress.observed)
        _finish(run, json, quiet)
    _exit(outcome)


app.command()(kernels)
app.command()(export)
app.command()(calibrate)
app.command()(report)
app.command()(frontier)
app.command()(sweep)
app.command()(table)
app.command()(show)
app.command()(paper_cli.figure)
app.command()(paper_cli.reproduce)


@app.command()
def compare(
    out: Path = OUT,
    from_snapshot: int | None = FROM,
    rungs: str = RUNGS,
    data_dir: Path | None = DATA_DIR,
    json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Predict from measured snapshots with every rung of the kernel ladder, compare, attribute the error."""
    from validation.pipeline import compare_run
    from validation.rundir import RunDirectory

    run = RunDirectory.open(out)
    _find_data(run.config, data_dir)
    with run.locked():
        with _progress(json or quiet) as progress:
            compare_run(run, from_snapshot, progress, rung_names(rungs))
        _finish(run, json, quiet)


def rung_names(text: str) -> tuple[str, ...] | None:
    """The option --rungs as `compare_run` wants it."""
    return None if text == "auto" else tuple(name.strip() for name in text.split(","))


@app.command()
def run(
    preset: str | None = NO_PRESET,
    config: Path | None = CONFIG,
    out: Path = OUT,
    seed: int | None = SEED,
    per_class: int | None = PER_CLASS,
    set_: list[str] | None = SET,
    data_dir: Path | None = DATA_DIR,
    download: bool = DOWNLOAD,
    from_snapshot: int | None = FROM,
    rungs: str = RUNGS,
    overwrite: bool = OVERWRITE,
    resume: bool = RESUME,
    json: bool = JSON,
    quiet: bool = QUIET,
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
    wanted = _configuration(preset or "digits", config, seed, per_class, set_ or ())
    directory = _create(wanted, out, data_dir, download, overwrite, resume)
    with directory.locked():
        with _progress(json or quiet) as progress:
            outcome = train_run(directory, progress, progress.observed)
            if outcome.result is Result.COMPLETE:
                measure_run(directory, from_snapshot, progress)
                compare_run(directory, from_snapshot, progress, rung_names(rungs))
        _finish(directory, json, quiet)
    _exit(outcome)


def _exit(outcome: "Outcome") -> None:
    if outcome.message:
        print(outcome.message + "; the snapshots before it are kept", file=sys.stderr)
        raise SystemExit(EXIT_DIVERGED)


def _create(
    config: "RunConfig", out: Path, data_dir: Path | None, download: bool, overwrite: bool, resume: bool
) -> "RunDirectory":
    from validation.datasets import fetch
    from validation.rundir import RunDirectory

    if overwrite and resume:
        raise InputError("overwrite", True, "contradicts --resume", "give one of them")
    if download:
        fetch(config.data.name)
    _find_data(config, data_dir)
    goes_on = resume or (not overwrite and RunDirectory.unfinished(out, config))
    return RunDirectory.create(out, config, overwrite, goes_on)


def _find_data(config: "RunConfig", data_dir: Path | None) -> None:
    """Missing files are said before a directory is made; the readers look where the variable says."""
    from validation.datasets import find_files

    if data_dir is not None:
        os.environ["NTKFLOW_DATA"] = str(data_dir)
    find_files(config.data.name)


def _configuration(
    preset: str, config: Path | None, seed: int | None, per_class: int | None, texts: Sequence[str]
) -> "RunConfig":
    from validation.config import RunConfig
    from validation.presets import preset as named
    from validation.sweep.settings import SETTINGS, changed

    chosen = named(preset) if config is None else RunConfig.from_toml(config)
    if texts:
        chosen = changed(chosen, SETTINGS.read_settings(texts))
    return chosen.with_seed(seed).with_per_class(per_class)


class _Bar:
    """A rich progress bar on standard error, one line per stage, with the metrics seen last."""

    def __init__(self, hidden: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar, share = BarColumn(bar_width=12), TextColumn("{task.percentage:>3.0f}%")
        columns = (TextColumn("{task.description:<18}"), bar, share)
        console = Console(stderr=True)
        seen = TextColumn("{task.fields[seen]}")
        self.bar = Progress(*columns, TimeRemainingColumn(), seen, console=console, disable=hidden)
        self.tasks: dict[str, Any] = {}
        self.seen = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self.tasks:
            # Not before there is something to show: a stopped empty bar leaves a blank line.
            self.bar.start()
        if what not in self.tasks:
            self.tasks[what] = self.bar.add_task(what, total=total, seen="")
        self.bar.update(self.tasks[what], completed=done, seen=self.seen if what == "training" else "")

    def say(self, line: str) -> None:
        """A line above the bars."""
        if not self.bar.disable:
            self.bar.console.print(line, highlight=False)

    def observed(self, metrics: dict[str, Any]) -> None:
        """Show the NC metrics and the test accuracy of a snapshot beside the bar of the training."""
        collapse = " ".join(f"{metrics[name]:.2g}" for name in ("NC1", "NC2", "NC3"))
        # Short enough for a line of 80 characters.
        self.seen = f"NC1-3 {collapse}, accuracy {metrics['accuracy_test']:.2f}"

    def stop(self) -> None:
        if self.tasks:
            self.bar.stop()


@contextmanager
def _progress(hidden: bool) -> Iterator[_Bar]:
    bar = _Bar(hidden)
    try:
        yield bar
    finally:
        bar.stop()


def _finish(run: "RunDirectory", json: bool, quiet: bool) -> None:
    from ntkflow.store import dump_json
    from validation.report.write import finish

    with _progress(json or quiet) as progress:
        document = finish(run, progress)
    if json:
        print(dump_json(document))
    elif not quiet:
        _print(run, document)


def _print(run: "RunDirectory", document: dict[str, Any]) -> None:
    last = document["training"]["last"]
    if not last:
        return
    print(f"{run.path}: step {last['step']}, flow time {last['time']:.4g}, loss {last['loss']:.4g}, ", end="")
    print(f"accuracy {last['accuracy_train']:.3f} / {last['accuracy_test']:.3f} (train / test)")
    names = ("kappa_d", "kappa_c", "kappa_n", "mu_single", "alignment", "residual")
    for k in document["kernels"]:
        print(f"  kernel at step {k['step']:>7}: " + ", ".join(f"{name} {k[name]:.4g}" for name in names))
    for w in document["windows"]:
        _print_window(w)
    for line in document["deviations"]:
        print(f"  not in the theory: {line}")
    for what, name in (("figure", "figures/comparison.png"), ("report", "report.html")):
        if (run.path / name).exists():
            print(f"{what}: {run.path / name}")


def _print_window(window: dict[str, Any]) -> None:
    """Skill on centred class means of every rung, the cheapest that predicts, and what costs most."""
    loss = window["loss"]
    print(
        f"{window['name']}: steps {window['step']} to {window['last_step']}, loss {loss['first']:.4g} to "
        f"{loss['last']:.4g}; skill on centred class means (1 perfect, 0 = no better than no change):"
    )
    skills = {name: values["M"] for name, values in window["skill"].items()}
    print("  " + ", ".join(f"{name} {'-' if v is None else f'{v:.2f}'}" for name, v in skills.items()))
    print(f"  {window['sentence']}")
    print(f"  cheapest rung with skill 0.8: {window['cheapest'] or 'none'}")
