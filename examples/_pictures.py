"""What the scripts share: one look for all pictures, and their command line."""

import argparse
from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ntkflow.runs.pictures.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "PURPLE", "RED", "label", "panes", "run", "save"]


def panes(rows: int, columns: int, title: str, width: float = 5.0) -> tuple[Figure, list[Axes]]:
    """A figure of rows x columns panes with one line above them, and the panes in reading order; width in inches."""
    figure = Figure(figsize=(width * columns, 0.5 + 3.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, list(grid.flat)


def label(axes: Axes, title: str, x: str, y: str, **legend: object) -> None:
    """Title, axis labels, grid and legend of a pane; `legend` is passed on to matplotlib."""
    axes.set_title(title, fontsize=10.5)
    axes.set_xlabel(x, fontsize=9.5)
    axes.set_ylabel(y, fontsize=9.5)
    axes.tick_params(labelsize=8.5)
    axes.grid(True, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**{"fontsize": 8.5, "frameon": False, "handlelength": 2.4, **legend})


def save(figure: Figure, out: Path, name: str) -> Path:
    """Write `out`/`name`.png; the folder is made when it is missing."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.png"
    figure.savefig(path, dpi=92, pil_kwargs={"optimize": True})
    return path


def run(main: Callable[..., dict[str, float]], doc: str | None) -> None:
    """The command line of a script: `--out` says where its picture goes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the picture (default: here)")
    main(out=parser.parse_args().out)
