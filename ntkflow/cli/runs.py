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

    from ntkflow.runs.layered import LayeredSummary

    AnySummary = Summary | saved.EnsembleSummary | LayeredSummary


def plot(
    run: list[Path] = typer.Argument(
        help="Run directory, of a simulation or a training; several are drawn over each other. Or one sweep, fit, "
        "measurement or comparison."
    ),
    format: list[str] = typer.Option(
        ["png"], "--format", "-f", help="png, pdf or svg; may be given more than once."
    ),
    panes: str = typer.Option(
        None,
        help="E, alignment, terms, moments, NC1, NC2, NC3, loss, laws, balance or any series, "
        "as NC1,NC3. (default: those that there are)",
    ),
    width: float = typer.Option(None, help="Width in inches; a column of a paper has 3.25 to 6.75."),
    style: str = typer.Option("screen", help="screen; or paper: smaller letters, no title."),
    out: Path = typer.Option(
        None,
        "--out",
        "-o",
        help="File without its ending. (default: figures/run of a run, the name of a file, plot-A-B of several)",
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
    if brought.is_own(run) or not run.exists():
        return draw_run(rundir.load_run(run).directory, formats)
    return _chosen([run], formats, None, None, "screen", None)


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
    from ntkflow.runs.saved import overlay

    names = None if panes is None else [name.strip() for name in panes.split(",") if name.strip()]
    drawn = overlay.figure(*runs, panes=names, size=width, style=style)
    return [_written(drawn, _place(runs, out, suffix), suffix) for suffix in formats]


def _place(runs: list[Path], out: Path | None, suffix: str) -> Path:
    if out is not None:
        return out if out.suffix == f".{suffix}" else out.with_name(f"{out.name}.{suffix}")
    if len(runs) == 1:
        return (
            runs[0] / "figures" / f"run.{suffix}" if runs[0].is_dir() else runs[0].with_suffix(f".{suffix}")
        )
    return Path(f"plot-{'-'.join(run.resolve().name for run in runs)}.{suffix}")


def _written(figure: "Figure", path: Path, suffix: str) -> Path:
    from ntkflow.runs.pictures import figures

    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic(path) as handle:
        figures.save(figure, handle, suffix)
    return path


def show(
    run: list[Path] = typer.Argument(
        help="Run directory, of a simulation or a training; several are put beside each other. Or one sweep, fit, "
        "measurement or comparison."
    ),
    json: bool = typer.Option(False, "--json", help="Print the summary as JSON; of several runs a list."),
) -> None:
    """Print the summary of a run: what happened beside what the theory predicts; of several the ends beside each other."""
    others = [_other(path) for path in run]
    if json:
        found = [_document(*pair) for pair in zip(run, others, strict=True)]
        print(files.dump_json(found if len(run) > 1 else found[0]))
    elif len(run) > 1:
        columns = [_column(*pair) for pair in zip(run, others, strict=True)]
        table.print_several([directory.name for directory in run], columns)
    elif others[0] is None:
        _say(_checked(run[0]), None)
    else:
        print(others[0].described() if isinstance(others[0], brought.BroughtRun) else repr(others[0]))


def _other(path: Path) -> object | None:
    """What lies there, where that is no run of this package, which its summary tells all of; None where it is."""
    if brought.is_own(path) or not path.exists():
        return None
    from ntkflow.runs.saved.dispatch import load

    found: object = load(path)
    return found


def _column(path: Path, other: object | None) -> table.Column:
    if other is not None:
        return table.Column.of_brought(_run(path, other, "put beside others", "show it alone"))
    found = _checked(path)
    if isinstance(found, Summary):
        return table.Column.of_simulation(found)
    if isinstance(found, saved.EnsembleSummary):
        return table.Column.of_ensemble(found)
    return table.Column.of_layers(found)


def _run(path: Path, other: object, done: str, remedy: str) -> brought.BroughtRun:
    if isinstance(other, brought.BroughtRun):
        return other
    raise InputError("run", path, f"holds a {type(other).__name__}, which is not {done}", remedy)


def _checked(directory: Path) -> "AnySummary":
    """The summary of a run; a damaged one is found before half of it is on the terminal."""
    found = _summary(directory)
    with reading("run", directory / rundir.SUMMARY, "a summary", "run it again"):
        _say(found, Console(file=StringIO()))
    return found


def _say(found: "AnySummary", console: Console | None) -> None:
    if isinstance(found, Summary):
        table.print_summary(found, console)
    elif isinstance(found, saved.EnsembleSummary):
        ensemble.print_summary(found, console)
    else:
        from ntkflow.cli import layers

        layers.print_summary(found, console)


def _summary(directory: Path) -> "AnySummary":
    """Of whichever kind of run it is."""
    if (directory / rundir.LAYERS).is_file():
        from ntkflow.runs.saved import layers

        return layers.read_summary(directory)
    several = (directory / saved.ARRAYS).is_file()
    return saved.read_summary(directory) if several else rundir.load_run(directory).summary


def _document(path: Path, other: object | None) -> Json:
    if other is not None:
        return _run(path, other, "told as JSON", "drop --json, or read it with nf.load").summary()
    return document(_summary(path))
