"""`ntkflow plot RUN ...` and `ntkflow show RUN ...`."""

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from ntkflow import checks
from ntkflow._types import Json
from ntkflow.cli import ensemble
from ntkflow.cli.printed import table
from ntkflow.errors import InputError
from ntkflow.runs import files, rundir
from ntkflow.runs.border.reading import reading
from ntkflow.runs.border.records import document
from ntkflow.runs.pictures.drawing import FORMATS, draw_run
from ntkflow.runs.saved import brought
from ntkflow.runs.saved import ensembles as saved
from ntkflow.runs.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    run: list[Path] = typer.Argument(
        help="Run directory, of a simulation or a training; several are drawn over each other."
    ),
    format: list[str] = typer.Option(
        ["png"], "--format", "-f", help="png, pdf or svg; may be given more than once."
    ),
    panes: str = typer.Option(
        None,
        help="E, alignment, terms, moments, NC1, NC2, NC3, loss or any series, as NC1,NC3. (default: these eight)",
    ),
    width: float = typer.Option(None, help="Width in inches; a column of a paper has 3.25 to 6.75."),
    style: str = typer.Option("screen", help="screen; or paper: smaller letters, no title."),
    out: Path = typer.Option(
        None,
        "--out",
        "-o",
        help="File without its ending. (default: figures/run of a run, plot-A-B of several)",
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
) -> None:
    """Draw the figure of a run again, from its trajectory; or several runs over each other, labelled by what differs."""
    plain = len(run) == 1 and panes is None and width is None and style == "screen" and out is None
    formats = tuple(format)
    for path in _again(run[0], formats) if plain else _chosen(run, formats, panes, width, style, out):
        if not quiet:
            print(path)


def _again(run: Path, formats: tuple[str, ...]) -> list[Path]:
    if (run / saved.ARRAYS).is_file():
        return saved.draw(run, formats)
    if (run / rundir.LAYERS).is_file():
        from ntkflow.runs.saved import layers

        return layers.draw(run, formats)
    if brought.run_at(run) is not None:
        return _chosen([run], formats, None, None, "screen", None)
    return draw_run(rundir.load_run(run).directory, formats)


def _chosen(
    runs: list[Path],
    formats: tuple[str, ...],
    panes: str | None,
    width: float | None,
    style: str,
    out: Path | None,
) -> list[Path]:
    for suffix in formats:
        checks.choice("format", suffix, FORMATS)
    from ntkflow.runs.saved.overlay import figure

    names = None if panes is None else [name.strip() for name in panes.split(",") if name.strip()]
    drawn = figure(*runs, panes=names, size=width, style=style)
    return [_written(drawn, _place(runs, out, suffix), suffix) for suffix in formats]


def _place(runs: list[Path], out: Path | None, suffix: str) -> Path:
    if out is not None:
        return out if out.suffix == f".{suffix}" else out.with_name(f"{out.name}.{suffix}")
    if len(runs) == 1:
        return runs[0] / "figures" / f"run.{suffix}"
    return Path(f"plot-{'-'.join(run.resolve().name for run in runs)}.{suffix}")


def _written(figure: "Figure", path: Path, suffix: str) -> Path:
    from ntkflow.runs.pictures import figures

    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic(path) as handle:
        figures.save(figure, handle, suffix)
    return path


def show(
    run: list[Path] = typer.Argument(
        help="Run directory, of a simulation or a training; several are put beside each other."
    ),
    json: bool = typer.Option(False, "--json", help="Print the summary as JSON; of several runs a list."),
) -> None:
    """Print the summary of a run: what happened beside what the theory predicts; of several the ends beside each other."""
    others = [brought.run_at(directory) for directory in run]
    if json:
        found = [
            _document(d) if other is None else other.summary() for d, other in zip(run, others, strict=True)
        ]
        print(files.dump_json(found if len(run) > 1 else found[0]))
        return
    if len(run) > 1:
        columns = [_column(d, other) for d, other in zip(run, others, strict=True)]
        table.print_several([directory.name for directory in run], columns)
    elif others[0] is not None:
        print(others[0].described())
    else:
        _say(_checked(run[0]), None)


def _column(directory: Path, other: brought.BroughtRun | None) -> table.Column:
    if other is not None:
        return table.Column.of_brought(other)
    found = _checked(directory)
    if not isinstance(found, Summary) and found.get("kind") == rundir.OF_LAYERS:
        raise InputError(
            "run", directory, "is a run of linear layers, and not put beside others", "show it alone"
        )
    return (
        table.Column.of_simulation(found) if isinstance(found, Summary) else table.Column.of_ensemble(found)
    )


def _checked(directory: Path) -> Summary | Json:
    """The summary of a run; a damaged one is found before half of it is on the terminal."""
    found = _summary(directory)
    with reading("run", directory / rundir.SUMMARY, "a summary", "run it again"):
        _say(found, Console(file=StringIO()))
    return found


def _say(found: Summary | Json, console: Console | None) -> None:
    if isinstance(found, Summary):
        table.print_summary(found, console)
    elif found.get("kind") == rundir.OF_LAYERS:
        from ntkflow.cli import layers

        layers.print_summary(found, console)
    else:
        ensemble.print_summary(found, console)


def _summary(directory: Path) -> Summary | Json:
    """Of a simulation the record, of an ensemble or of linear layers the document."""
    if (directory / rundir.LAYERS).is_file():
        from ntkflow.runs.saved import layers

        return layers.read_summary(directory)
    several = (directory / saved.ARRAYS).is_file()
    return saved.read_summary(directory) if several else rundir.load_run(directory).summary


def _document(directory: Path) -> Json:
    found = _summary(directory)
    return document(found) if isinstance(found, Summary) else found
