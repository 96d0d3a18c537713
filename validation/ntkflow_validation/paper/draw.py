"""A figure of the paper from directories, as vector PDF and as PNG."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntkflow.errors import InputError
from ntkflow.runs import files
from ntkflow.runs.pictures.layout import filled
from ntkflow.runs.pictures.shown import Shown
from ntkflow.sweep.stored.cache import SPEC_FILE
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.paper.choose import Selection, select
from ntkflow_validation.paper.panes import (
    LETTERS,
    OVER_EPOCHS,
    curves,
    fitted_handle,
    painters,
    rate_handles,
)
from ntkflow_validation.paper.registry import PaperFigure, paper_figure
from ntkflow_validation.runs.rundir import RunDirectory, run_paths
from ntkflow_validation.sweep.records import Record, find_records

FORMATS = ("pdf", "png")
DPI = 200
# Inches; a page of text or a README shows no more, so that letters keep their size.
WIDTH, COLUMNS = 9.6, 4


def draw_figure(number: int, paths: Sequence[Path | str], out: Path | str, raw: bool = False) -> list[Path]:
    """Draw figure `number` of the paper from run and sweep directories.

    Args:
        number: 1 .. 20.
        paths: training figures take any mixture of sweeps, runs and exported trainings; kernel figures one run directory
            whose kernels were measured, as by `ntkflow validate kernels --figure`.
        out: folder for figure-N.pdf and figure-N.png.
        raw: curves over epochs as they are, not smoothed; the files are named figure-N-raw.

    Returns:
        The files written.

    Raises:
        InputError: no such figure, or nothing in the directories that it shows.
    """
    figure = paper_figure(number)
    if figure.kind == "kernels":
        if raw:
            raise InputError("raw", True, f"figure {number} has no curves to smooth", "leave it out")
        drawn = kernels_figure(figure, paths)
    else:
        drawn = training_figure(figure, select(figure, find_records(paths)), smooth=not raw)
    name = f"figure-{number}-raw" if raw else f"figure-{number}"
    return write(drawn, out, name)


def write(figure: Figure, out: Path | str, name: str) -> list[Path]:
    """NAME.pdf and NAME.png, each whole or not at all, without the date, which would make each a change."""
    out, written = Path(out), []
    out.mkdir(parents=True, exist_ok=True)
    for suffix in FORMATS:
        path = out / f"{name}.{suffix}"
        with files.atomic(path) as handle:
            metadata = {"CreationDate": None} if suffix == "pdf" else {}
            figure.savefig(handle, format=suffix, dpi=DPI, metadata=metadata)
        written.append(path)
    return written


def kernels_figure(figure: PaperFigure, paths: Sequence[Path | str]) -> Figure:
    """Figures 1 and 13-20: traced kernels, norms over pairs, alignment, and the block residual beside it."""
    from ntkflow_validation.figures.kernel_panes import epoch, in_full, kernel_figure

    runs = [run for path in paths for run in run_paths(path)]
    if len(runs) != 1:
        raise InputError(
            "path", len(runs), f"figure {figure.number} shows one network", "give one run directory"
        )
    if (runs[0] / SPEC_FILE).is_file():
        raise InputError(
            "path",
            runs[0],
            f"is a sweep, and figure {figure.number} shows one network",
            f"give a run directory, such as one in {runs[0] / 'runs'} of a sweep with --keep-runs",
        )
    run = RunDirectory.open(runs[0])
    config = run.config
    found = {epoch(config, step): kernel for step, kernel in in_full(run).items()}
    if not found:
        raise InputError(
            "path",
            runs[0],
            "has no kernels measured in full",
            f"run `ntkflow validate kernels {runs[0]} --figure` first",
        )
    rate = run.trained_config.training.learning_rate
    shown = f"{config.model.name} on {config.data.title}, {config.model.init}, learning rate {rate:.3g}"
    if isinstance(config, RecordedConfig):
        shown = f"{config.model.name} on {config.data.title}, {config.recipe_words(rate)}"
    axis = "epoch" if not isinstance(config, RecordedConfig) or config.timed else "optimiser step"
    title = _title(figure, f"{config.model.name}/{config.data.title}", shown)
    return kernel_figure(found, title=title, axis=axis)


def training_figure(figure: PaperFigure, selection: Selection, smooth: bool = True) -> Figure:
    """Figures 2-12: all panes of the figure, lettered in their order, and a legend that says which network is which."""
    panes = list(painters(selection, figure.panes, smooth))
    rows = -(-len(panes) // COLUMNS)
    drawn = Shown(figsize=(WIDTH, 2.2 * rows + 0.9), layout="constrained")
    FigureCanvasAgg(drawn)
    # Four abreast are legible at the width of a page.
    for axes, paint in zip(filled(drawn, len(panes), rows, COLUMNS), panes, strict=True):
        paint(axes)
    handles = [Line2D([], [], label=curve.label, **curve.style()) for curve in curves(selection)]
    if handles and set(figure.panes) & set(OVER_EPOCHS):
        handles.append(fitted_handle())
    if handles and set(figure.panes) & set("fgh"):
        handles += rate_handles(selection)
    if handles:
        drawn.legend(handles=handles, fontsize=LETTERS, loc="outside lower center", ncol=3, frameon=False)
    drawn.suptitle(_title(figure, str(selection.pair), _recipe(selection)), fontsize=LETTERS + 1)
    return drawn


def _title(figure: PaperFigure, pair: str, words: str) -> str:
    reduced = "" if pair == str(figure.pair) else f", which in the paper is {figure.pair}"
    return f"As Figure {figure.number}{reduced}: {words}"


def _recipe(selection: Selection) -> str:
    lengths = {_length(record) for chosen in selection.chosen for record in chosen.all}
    length = lengths.pop() if len(lengths) == 1 else "of several recipes"
    config = selection.chosen[0].all[0].config
    loss = "squared error" if config.training.loss == "mse" else "cross-entropy"
    if isinstance(config, RecordedConfig) and not config.timed:
        loss = "of a loss that was not recorded"
    return f"{config.model.name} on {config.data.title}, {length}, {loss};\nred with collapse, blue without"


def _length(record: Record) -> str:
    recipe, data = record.config.training, record.config.data
    if isinstance(record.config, RecordedConfig):
        return f"{data.samples} recorded samples, {record.rows[-1].step if record.rows else 0} steps"
    length = f"{recipe.epochs} epochs" if recipe.epochs else f"{recipe.steps} steps"
    return f"{data.samples} images, {length}"
