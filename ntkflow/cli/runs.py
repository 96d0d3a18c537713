"""`ntkflow plot RUN` and `ntkflow show RUN`."""

from io import StringIO
from pathlib import Path

import typer
from rich.console import Console

from ntkflow.cli import ensemble, table
from ntkflow.runs import files, rundir
from ntkflow.runs.drawing import draw_run
from ntkflow.runs.reading import reading


def plot(
    run: Path = typer.Argument(help="Run directory."),
    format: list[str] = typer.Option(
        ["png"], "--format", "-f", help="png, pdf or svg; may be given more than once."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
) -> None:
    """Draw the figure of a run again, from its trajectory."""
    if (run / ensemble.ARRAYS).is_file():
        paths = ensemble.draw(run, tuple(format))
    else:
        paths = draw_run(rundir.load_run(run).directory, tuple(format))
    for path in paths:
        if not quiet:
            print(path)


def show(
    run: Path = typer.Argument(help="Run directory."),
    json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    """Print the summary of a run: what happened beside what the theory predicts."""
    several = (run / ensemble.ARRAYS).is_file()
    summary = ensemble.read_summary(run) if several else rundir.load_run(run).summary
    if json:
        print(files.dump_json(summary))
        return
    say = ensemble.print_summary if several else table.print_summary
    with reading("run", run / rundir.SUMMARY, "a summary", "run it again"):
        # A damaged one is found before half of it is on the terminal.
        say(summary, Console(file=StringIO()))
    say(summary)
