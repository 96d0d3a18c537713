"""Options that the commands share, so that one name means one thing everywhere, and how they become a run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ntkflow.errors import InputError
from ntkflow.runs.atomic import MARK, refuse_existing

if TYPE_CHECKING:
    from ntkflow_validation.config.config import RunConfig
    from ntkflow_validation.runs.rundir import RunDirectory
    from ntkflow_validation.training.train import Prepared

RUN_OUT = Path("validate-run")

Out = Annotated[Path, typer.Option("--out", help="Run directory.")]
Run = Annotated[
    Path | None,
    typer.Argument(
        help=f"Run directory, or a folder of runs: all in it.  [default: {RUN_OUT}]", show_default=False
    ),
]
# What commands that read a run called it before; commands that stand in documents still do.
OldOut = Annotated[Path | None, typer.Option("--out", hidden=True)]
Preset = Annotated[str, typer.Option("--preset", help="paper, paper-small, digits, flow, control or tiny.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file of a configuration, such as a run's config.toml.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Replaces the configuration's seed.")]
PerClass = Annotated[
    int | None,
    typer.Option("--per-class", help="Replaces the number of training samples of each class."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Samples of your own: an .npz with X (N, ...), y, perhaps X_test, y_test. Replaces the data set.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="FIELD=VALUE, replaces a setting, as training.learning_rate=0.1; repeat."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="NTKFLOW_DATA",
        help="Folder with the data set's files, or of folders by its name.",
    ),
]
Download = Annotated[bool, typer.Option("--download", help="Fetch missing data into the user's cache.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing run directory.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with an interrupted run of the same configuration.")
]
FromSnapshot = Annotated[
    int | None, typer.Option("--from-snapshot", help="Predict from this step to the end of the run.")
]
Rungs = Annotated[
    str,
    typer.Option(
        "--rungs",
        help="Rungs of the kernel ladder, separated by commas, run whatever they cost; auto (cheap enough) or all.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def rung_names(text: str) -> tuple[str, ...] | None:
    """The option --rungs as `compare_run` wants it."""
    return None if text == "auto" else tuple(name.strip() for name in text.split(","))


def configuration(
    preset: str,
    config: Path | None,
    seed: int | None,
    per_class: int | None,
    texts: Sequence[str],
    data: Path | None = None,
) -> "RunConfig":
    """The configuration of a preset or a file, with what the options replace."""
    from ntkflow_validation.config.config import RunConfig
    from ntkflow_validation.config.presets import preset as named
    from ntkflow_validation.sweep.settings import SETTINGS, changed
    from ntkflow_validation.training.complete import completed

    chosen = named(preset) if config is None else RunConfig.from_toml(config)
    if data is not None:
        chosen = chosen.with_data(own_data(data))
    if texts:
        chosen = changed(chosen, SETTINGS.read_settings(texts))
    return completed(chosen.with_seed(seed).with_per_class(per_class), again=True)


def own_data(path: Path) -> str:
    """The option --data as a data set's name.

    Raises:
        InputError: it is no .npz.
    """
    from ntkflow_validation.own.data import SUFFIX, is_own

    if not is_own(str(path)):
        raise InputError("--data", path, f"is no {SUFFIX} file", "save it with np.savez(path, X=X, y=y)")
    return str(path)


def tell_data(config: "RunConfig", silent: bool) -> None:
    """Say how the labels of a user's own samples become classes."""
    from ntkflow_validation.own.data import contents, said

    if config.data.is_own and not silent:
        print(said(config.data.name, contents(config.data.name)))
        if not config.data.balanced:
            batch = config.training.batch_per_class
            how = f"batches of {batch * config.data.classes} in their proportion" if batch else "full batches"
            print(f"  classes differ in size: {how}; data.per_class = M takes M of each")


def create(
    config: "RunConfig", out: Path, data_dir: Path | None, download: bool, overwrite: bool, resume: bool
) -> "tuple[RunDirectory, Prepared | None]":
    """The directory of a new run, with what it trains on, or of one of the same configuration, however far that is.

    What cannot be trained is refused before anything is made or replaced.

    Raises:
        InputError: the options contradict each other, the data are missing or the directory is taken.
    """
    from ntkflow_validation.datasets import fetch
    from ntkflow_validation.runs.rundir import RunDirectory
    from ntkflow_validation.training.train import prepare

    if overwrite and resume:
        raise InputError("overwrite", True, "contradicts --resume", "give one of them")
    if download:
        fetch(config.data.name)
    find_data(config, data_dir)
    if not (overwrite or resume):
        difference = RunDirectory.difference(out, config)
        if difference is not None:
            rule = f"exists already, and was made with another {difference}"
            raise InputError("out", out, rule, "choose another directory or pass --overwrite")
    if not (out / MARK).exists():
        refuse_existing(out, overwrite)
    prepared = prepare(config) if overwrite or not (out / MARK).exists() else None
    return RunDirectory.create(out, config, overwrite, resume=not overwrite), prepared


def runs_at(run: Path | None, out: Path | None) -> "list[RunDirectory]":
    """The runs that a command is about: the one named, all in the folder named, or those where `run` writes.

    Raises:
        InputError: two places were named, or there is no run.
    """
    from ntkflow_validation.runs.rundir import RunDirectory, run_paths

    if run is not None and out is not None:
        raise InputError("--out", out, "has no meaning beside RUN", "drop it")
    return [RunDirectory.open(path) for path in run_paths(run or out or RUN_OUT)]


def find_data(config: "RunConfig", data_dir: Path | None) -> None:
    """Missing files are said before a directory is made; the readers look where the variable says.

    Raises:
        InputError: the data set's files are nowhere.
    """
    from ntkflow_validation.config.recorded import RecordedConfig
    from ntkflow_validation.datasets import find_files

    if isinstance(config, RecordedConfig):
        return  # its data are elsewhere, and not asked for
    if data_dir is not None:
        os.environ["NTKFLOW_DATA"] = str(data_dir)
    find_files(config.data)
