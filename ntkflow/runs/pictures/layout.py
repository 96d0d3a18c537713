"""Which panes a figure has, how large it is, and how it is dressed: for a screen or for a printed column."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntkflow import checks
from ntkflow._types import Floats
from ntkflow.errors import InputError
from ntkflow.runs.pictures.figures import (
    BLUE,
    FLOOR,
    GREEN,
    GREY,
    MORE_PANES,
    ORANGE,
    PANES,
    PURPLE,
    RED,
    Line,
    decades,
    nothing,
    say,
    time_ticks,
)
from ntkflow.runs.pictures.layered_figure import panes as panes_of_layers
from ntkflow.runs.pictures.shown import Shown

COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, "black")
KEYS = ("E", "alignment", "terms", "moments", "NC1", "NC2", "NC3", "loss")
# Series that are cosines or shares, with a linear axis.
LINEAR = ("E_alignment", "NC4")
# Letters and lines in points. Nothing printed is below 7 points.
STYLES, SMALLEST = {"screen": (8.5, 1.5), "paper": (7.5, 1.1)}, 7.0
SCREEN_WIDTH, PER_ROW, RATIO = 14.0, 4, 0.78
# Series that panes draw for one run only: several runs' components in one pane can't be told apart.
DETAILS = (
    "E_size",
    "E_peak",
    "E_drift_peak",
    "E_motion",
    "NC1_frobenius",
    "loss_global",
    "loss_class",
    "loss_individual",
)
# A narrower pane has no room for its own labels.
LEAST_PANE = 2.1
NARROW_PANE, NARROW_LETTERS = 3.0, 22
NARROW, WIDE = 1.0, 60.0


@dataclass(frozen=True)
class Pane:
    """One pane: its title, the label of its axis, whether that is logarithmic, and its lines."""

    title: str
    label: str
    log: bool
    lines: Sequence[Line]


def chosen(names: Sequence[str] | None, present: Iterable[str], layers: int = 0) -> list[Pane]:
    """The panes of these names, by default all that there is anything for; a series that no pane is named after gets its own.

    Args:
        names: of panes or series.
        present: names of the series that there are.
        layers: of a run of so many linear layers, whose panes are others; 0 for all other runs.

    Raises:
        InputError: there is neither a pane nor a series of a name.
    """
    usual = {**dict(zip(KEYS, PANES, strict=True)), **MORE_PANES}
    drawn = panes_of_layers(layers) if layers else usual
    series, known = set(present), {name: Pane(*pane) for name, pane in drawn.items()}
    some = [name for name, pane in known.items() if not series.isdisjoint(line[0] for line in pane.lines)]
    panes = []
    for name in (some or list(known)[: len(KEYS)]) if names is None else names:
        if name in MORE_PANES and not layers and name not in some:
            rule = "is of trainings whose laws were followed, of which there is none here"
            raise InputError("panes", repr(name), rule, "run `ntkflow validate laws RUN` first")
        if name in known:
            panes.append(known[name])
        elif name in series:
            panes.append(Pane(name, name, name not in LINEAR, ((name, name, BLUE, "-"),)))
        else:
            others = ", ".join(sorted(series - set(known)))
            raise InputError(
                "panes",
                repr(name),
                f"is neither one of {', '.join(known)} nor a series",
                f"there are {others}",
            )
    if not panes:
        raise InputError("panes", "none", "must name at least one", f"as {', '.join(KEYS[4:7])}")
    return panes


def sides(size: float | tuple[float, float]) -> tuple[float, float | None]:
    """Width and height in inches of what a caller asks for; no height where only a width was given.

    Raises:
        InputError: it is no size of a figure.
    """
    given = size if isinstance(size, tuple) else (size, None)
    if len(given) != 2 or not all(v is None or NARROW <= v <= WIDE for v in given):
        raise InputError("size", size, f"must be {NARROW:g} to {WIDE:g} inches", "as 6.75 or (6.75, 4)")
    return float(given[0]), None if given[1] is None else float(given[1])


def inches(size: float | tuple[float, float] | None, usual: tuple[float, float]) -> tuple[float, float]:
    """Width and height of a figure; by default the usual ones, and of a width alone the usual shape.

    Raises:
        InputError: it is no size of a figure.
    """
    if size is None:
        return usual
    width, height = sides(size)
    return width, usual[1] * width / usual[0] if height is None else height


def arranged(
    count: int, size: float | tuple[float, float] | None, least: float = LEAST_PANE
) -> tuple[float, float, int, int]:
    """Width, height, rows and columns of a figure of so many panes, none of them narrower than the `least`.

    Raises:
        InputError: it is no size of a figure.
    """
    width, height = (SCREEN_WIDTH, None) if size is None else sides(size)
    columns = max(1, min(count, PER_ROW, int(width / least)))
    rows = -(-count // columns)
    columns = -(-count // rows)  # rows of equal length: two and two, not three and one
    if size is None:
        width *= columns / PER_ROW  # panes of the usual size
    return width, rows * RATIO * width / columns + 0.4 if height is None else height, rows, columns


def filled(figure: Figure, count: int, rows: int, columns: int) -> list[Axes]:
    """Axes for so many panes; those of the last row share its width, so that no place is empty."""
    first = (rows - 1) * columns
    left = count - first
    # Whole columns each, and the last one what is left over: layouts know no fractions of columns.
    last = first + np.minimum(np.arange(columns) // (columns // left), left - 1)
    places = np.concatenate([np.arange(first), last]).reshape(rows, columns).tolist()
    found = figure.subplot_mosaic(places)
    return [found[k] for k in range(count)]


def some(panes: Sequence[str] | None, known: Sequence[str], usual: Sequence[str]) -> list[str]:
    """The panes asked for, all of which are known; by default the usual ones.

    Raises:
        InputError: there is none of a name, or none is asked for.
    """
    for name in panes or ():
        checks.choice("panes", name, known)
    if panes is not None and not panes:
        raise InputError("panes", "none", "must name at least one", f"as {', '.join(known[:3])}")
    return list(usual if panes is None else panes)


@dataclass(frozen=True)
class Layout:
    """Panes, size in inches, the size of letters and lines, and what goes along the axes."""

    panes: Sequence[Pane]
    width: float
    height: float
    columns: int
    letters: float
    line: float
    paper: bool
    axis: str = "flow time t"

    @classmethod
    def of(cls, size: float | tuple[float, float] | None, style: str, panes: Sequence[Pane]) -> "Layout":
        """From what a caller asks for.

        Raises:
            InputError: an unknown style, or a size that is no size of a figure.
        """
        checks.choice("style", style, STYLES)
        width, height, _, columns = arranged(len(panes), size)
        letters, line = STYLES[style]
        return cls(panes, width, height, columns, letters, line, style == "paper")

    @property
    def small(self) -> float:
        """Of legends and notes."""
        return max(SMALLEST, self.letters - 1)

    def empty(self) -> tuple[Figure, list[Axes]]:
        """The figure and one axes for each pane."""
        figure = Shown(figsize=(self.width, self.height), layout="constrained")
        FigureCanvasAgg(figure)
        rows = -(-len(self.panes) // self.columns)
        return figure, filled(figure, len(self.panes), rows, self.columns)

    def colour(self, k: int) -> str:
        """The colour of the k-th run."""
        return COLOURS[k % len(COLOURS)]

    def visible(self, values: Floats, log: bool) -> Floats:
        """What an axis can show: no zeros on a logarithmic one."""
        values = np.asarray(values, dtype=float)
        return np.where(values > FLOOR, values, np.nan) if log else values

    def wrapped(self, words: str) -> str:
        """Words broken into lines that fit into a narrow pane."""
        return fill(words, NARROW_LETTERS) if self.width / self.columns < NARROW_PANE else words

    def dress(self, axes: Axes, pane: Pane, several: bool, without: Mapping[str, Sequence[str]]) -> None:
        """Scales, ticks, labels and the legend of a pane; styles alone tell the series where colours tell the runs.

        Runs `without` a line in this pane are named in it, by the reason.
        """
        axes.set_title(pane.title, fontsize=self.letters + 1)
        drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()]
        if nothing(drawn, pane.log):
            axes.clear()
            axes.set_title(pane.title, fontsize=self.letters + 1)
            say(axes, "zero, or not defined here", self.letters)
            return
        stacked = np.concatenate(drawn)
        times = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in axes.get_lines()])
        axes.set_xscale("log")
        if pane.log:
            axes.set_yscale("log")
            decades(axes, stacked[np.isfinite(stacked)])
        else:
            axes.set_ylim(
                min(0.0, float(np.nanmin(stacked))) - 0.05, max(1.0, float(np.nanmax(stacked))) + 0.08
            )
        time_ticks(axes, float(times.min()), float(times.max()))
        axes.tick_params(labelsize=self.letters)
        axes.set_ylabel(self.wrapped(pane.label), fontsize=self.letters)
        axes.set_xlabel(self.axis, fontsize=self.letters)
        self._legend(axes, several)
        if without:
            notes = (f"{why}: {'; '.join(names)}" for why, names in without.items())
            words = "\n".join(fill(note, int(12 * self.width / self.columns)) for note in notes)
            axes.text(0.03, 0.03, words, transform=axes.transAxes, fontsize=self.small, color=GREY)

    def _legend(self, axes: Axes, several: bool) -> None:
        handles: dict[str, Line2D] = {}
        for line in axes.get_lines():
            style = Line2D([], [], color=GREY, linestyle=line.get_linestyle()) if several else line
            handles.setdefault(self.wrapped(str(line.get_label())), style)
        if len(handles) > 1 or not several:
            legend = axes.legend(
                list(handles.values()),
                list(handles),
                fontsize=self.small,
                frameon=False,
                handlelength=2.2,
            )
            # Words longer than the pane must not squeeze the panes.
            legend.set_in_layout(False)

    def finish(self, figure: Figure, names: Sequence[str], title: str) -> None:
        """One legend of the runs for all panes, and on a screen the title of a single run."""
        if names:
            handles = [Line2D([], [], color=self.colour(k), linewidth=self.line) for k in range(len(names))]
            widest = max(map(len, names))
            columns = max(1, min(len(names), int(self.width * 12 / (widest + 8))))
            figure.legend(
                handles,
                names,
                loc="outside lower center",
                ncols=columns,
                fontsize=self.letters,
                frameon=False,
            )
        elif not self.paper:
            figure.suptitle(title, fontsize=self.letters + 2)
