"""`ntkflow plot RUN` and `ntkflow show RUN`."""

from pathlib import Path

import typer

from ntkflow import rundir, store
from ntkflow.cli import table
from ntkflow.cli.drawing import draw_run


def plot(
    run: Path = typer.Argument(help="Run directory."),
    format: list[str] = typer.Option(
        ["png"], "--format", "-f", help="png, pdf or svg; may be given more than once."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
) -> None:
    """Draw the figure of a run again, from its trajectory."""
    directory = rundir.load_run(run).directory
    for path in draw_run(directory, tuple(format)):
        if not quiet:
            print(path)


def show(
    run: Path = typer.Argument(help="Run directory."),
    json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    """Print the summary of a run: what happened beside what the theory predicts."""
    summary = rundir.load_run(run).summary
    if json:
        print(store.dump_json(summary))
    else:
        table.print_summary(summary)
