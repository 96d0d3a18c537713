"""`ntkflow validate figure` and `reproduce`: parse, call, print."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ntkflow.cli.ends import resumable
from ntkflow_validation.cli import options, sweep_options
from ntkflow_validation.cli.progress import progress

if TYPE_CHECKING:
    from ntkflow.sweep.table import Table
    from ntkflow_validation.sweep.grid import TrainingSweep


def figure(
    number: int = typer.Argument(help="Figure of the paper, 1 to 20."),
    path: list[Path] = typer.Argument(
        help="Sweeps, runs and exported trainings (NAME.json); one run for 1 and 13-20."
    ),
    out: Path = typer.Option(Path("figures"), help="Folder for figure-N.pdf and figure-N.png."),
    raw: bool = typer.Option(False, "--raw", help="Curves over epochs as measured, not smoothed."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
) -> None:
    """Draw a figure of the paper from trainings of one's own.

    2-12 choose for each initialisation the trained network that collapsed most and the one that collapsed least.
    """
    from ntkflow_validation.paper import draw_figure

    for written in draw_figure(number, path, out, raw):
        if not quiet:
            print(written)


@resumable
def reproduce(
    number: int = typer.Argument(help="Figure of the paper, 1 to 20."),
    preset: str = typer.Option("paper-small", help="paper, paper-small or digits: how much of it."),
    out: Path = typer.Option(None, help="Folder. Default: reproduction/figure-N-PRESET."),
    workers: int = typer.Option(
        None, help="Local processes. Default: one an accelerator, or one a core where there is none."
    ),
    together: sweep_options.Together = 1,
    scheduler: str = typer.Option(None, help="Address of a dask scheduler whose workers train."),
    data_dir: Path = typer.Option(None, envvar="NTKFLOW_DATA", help="Folder with the data sets' files."),
    download: options.Download = False,
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the estimate of time and stop."),
    keep_runs: bool = typer.Option(False, "--keep-runs", help="Keep the run directory of every training."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
) -> None:
    """Run what a figure of the paper needs, and draw it; an interrupted command goes on where it was.

    Says first how long it will take, from a few steps measured here.
    """
    from ntkflow_validation.cli.sweep import run as run_sweep
    from ntkflow_validation.datasets import fetch
    from ntkflow_validation.paper.registry import paper_figure
    from ntkflow_validation.paper.reproduce import base_of, estimate_figure, scale_named
    from ntkflow_validation.paper.reproduce import reproduce as run_and_draw

    wanted, scale = paper_figure(number), scale_named(preset)
    if not dry_run:
        base = base_of(wanted, scale)
        if download:
            fetch(base.data.name)
        options.find_data(base, data_dir)
    if dry_run or not quiet:
        print(estimate_figure(wanted, scale, workers, together).words(), flush=True)
    if dry_run:
        return
    folder = out if out is not None else Path("reproduction") / f"figure-{number}-{preset}"

    def run_grid(grid: "TrainingSweep", directory: Path) -> "Table":
        return run_sweep(
            grid, directory, workers, scheduler, data_dir, keep_runs, silent=quiet, together=together
        )

    with progress(quiet) as bar:
        drawn = run_and_draw(wanted, scale, folder, run_grid, bar)
    for written in drawn:
        if not quiet:
            print(written)
