"""The options of `ntkflow validate sweep`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ntkflow.runs.border.costs import MANY

GRID, RUNNING, OUTPUT = "Grid", "Running", "Output"
SWEEP_OUT = Path("validate-sweep")


def _option(panel: str, text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


Preset = Annotated[str, _option(GRID, "What all trainings have in common.")]
Config = Annotated[
    Path | None, _option(GRID, "A config.toml in place of a preset, or a sweep.toml to replay.")
]
Pairs = Annotated[
    list[str] | None, _option(GRID, "MODEL/DATA, as resnet20/mnist; repeat. 'paper': its nine.", "--pair")
]
LearningRates = Annotated[
    str | None,
    _option(
        GRID,
        "START:STOP:COUNT:log, or r1,r2,r3; 'paper': 30 in [1e-4, 10^0.25], the last 20 of them for "
        "most pairs.",
    ),
]
Init = Annotated[str | None, _option(GRID, "Initialisations, as lecun-normal,uniform; 'paper': its three.")]
Seeds = Annotated[int | None, _option(GRID, "Seeds of every training.")]
Over = Annotated[list[str] | None, _option(GRID, "Another axis, as training.weight_decay=0,5e-4; repeat.")]
Set = Annotated[
    list[str] | None, _option(GRID, "FIELD=VALUE for all, as training.steps=500; repeat.", "--set")
]
Data = Annotated[
    Path | None, _option(GRID, "Samples of your own (.npz with X, y), in place of the data set.", "--data")
]
Workers = Annotated[
    int | None,
    _option(RUNNING, "Local processes. Default: one an accelerator, or one a core where there is none."),
]
Together = Annotated[
    int,
    _option(
        RUNNING,
        "Trainings that differ in rate, initialisation or seed alone are one program, K at a time: many times as fast on "
        "a GPU, slower on a CPU. Numbers are those of each alone to float32 rounding.",
        metavar="K",
    ),
]
Scheduler = Annotated[str | None, _option(RUNNING, "Address of a dask scheduler whose workers train.")]
DataDir = Annotated[Path | None, _option(RUNNING, "Folder with the data sets' files.", envvar="NTKFLOW_DATA")]
Download = Annotated[bool, _option(RUNNING, "Fetch missing data into the user's cache.", "--download")]
DryRun = Annotated[
    bool, _option(RUNNING, "Print the number of trainings and an estimate of time.", "--dry-run")
]
Out = Annotated[Path, _option(OUTPUT, "Sweep directory.")]
KeepRuns = Annotated[bool, _option(OUTPUT, "Keep the run directory of every training.", "--keep-runs")]
Overwrite = Annotated[
    bool,
    _option(
        OUTPUT,
        "Replace another sweep in the directory; trainings that both share are kept.",
        "--overwrite",
    ),
]
AsJson = Annotated[bool, _option(OUTPUT, "Print counts alone, as JSON.", "--json")]
Yes = Annotated[bool, _option(OUTPUT, f"More than {MANY} trainings are meant.", "--yes")]
Quiet = Annotated[bool, _option(OUTPUT, "Print nothing but errors.", "--quiet", "-q")]
