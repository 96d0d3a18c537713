"""The panes of a training figure, each from a selection of records. Records in, axes drawn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from string import ascii_lowercase

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ntkflow._types import Json
from ntkflow.runs.pictures.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, log_ticks
from ntkflow_validation.paper.choose import TRAINED, Chosen, Selection
from ntkflow_validation.paper.registry import FITTED
from ntkflow_validation.sweep.records import Record

# Points. Nothing may be below 7 where the figure is shown as wide as it is.
LETTERS = 7.5
MARKERS = ("o", "s", "^", "D", "v")
STYLES = ("-", "--", ":", "-.", (0, (5, 1)))
COLLAPSED, OTHER = RED, BLUE
INITS = {"lecun-normal": "LeCun normal", "uniform": "uniform", "he-normal": "He normal"}
# Savitzky-Golay filter of polynomial degree 1 over a window of size 10. Source: caption of Figure 2.
WINDOW, DEGREE = 10, 1


@dataclass(frozen=True, eq=False)
class Curve:
    """One chosen training and how it looks.

    Attributes:
        record: what is drawn.
        init: place of its initialisation, which decides line style and marker.
        collapsed: which decides the colour, and whether markers are filled.
    """

    record: Record
    init: int
    collapsed: bool

    @property
    def colour(self) -> str:
        """Vermillion with collapse, blue without."""
        return COLLAPSED if self.collapsed else OTHER

    @property
    def label(self) -> str:
        """Rate, test accuracy and alignment of the features' kernel, as in the paper's legends."""
        record = self.record
        init = INITS.get(record.config.model.init, record.config.model.init)
        aligned = record.last("alignment_features")
        accuracy = record.last("accuracy_test")
        facts = [f"rate {record.rate:.2g}"] if record.rate else []
        facts += [f"test {100 * accuracy:.1f} %"] if np.isfinite(accuracy) else []
        facts += [f"alignment {aligned:.2f}"] if np.isfinite(aligned) else []
        return ", ".join([init, *facts])

    def style(self) -> Json:
        """Line and marker."""
        face = self.colour if self.collapsed else "white"
        return {
            "color": self.colour, "linestyle": STYLES[self.init % 5], "marker": MARKERS[self.init % 5],
            "markerfacecolor": face, "markeredgecolor": self.colour, "markersize": 4, "linewidth": 1.2,
        }  # fmt: skip


def curves(selection: Selection) -> list[Curve]:
    """The chosen trainings, collapsed ones last, so that they lie on top."""
    found = []
    for collapsed in (False, True):
        for place, chosen in enumerate(selection.chosen):
            record = chosen.collapsed if collapsed else chosen.other
            if record is not None:
                found.append(Curve(record, place, collapsed))
    return found


# letter: title, metric, log scale. Definitions of the metrics: ntkflow.metrics.neural_collapse, ntkflow_validation.metrics.probe.
OVER_EPOCHS: dict[str, tuple[str, str, bool]] = {
    "a": ("Norm of the invariant, ‖E‖", "invariant_norm", True),
    "b": ("Alignment of E's terms", "invariant_alignment", False),
    "c": ("NC1: variability", "NC1", True),
    "d": ("NC2: simplex ETF", "NC2", False),
    "e": ("NC3: self-duality", "NC3", False),
}


def over_epochs(axes: Axes, letter: str, place: str, shown: Sequence[Curve], smooth: bool) -> None:
    """Panes a-e: a metric over epochs; vertical lines where training accuracy reaches `FITTED`.

    Snapshots that are not equally spaced are drawn as they are: a filter for equal steps would invent values.
    """
    title, name, log = OVER_EPOCHS[letter]
    for curve in shown:
        values, epochs = curve.record.series(name), curve.record.epochs
        known = np.isfinite(values)
        if not known.any():
            continue
        at, values = epochs[known], values[known]
        if smooth and equally_spaced(at):
            values = smoothed(values)
        every = max(1, len(values) // 6)
        axes.plot(at, values, markevery=(curve.init % every, every), **curve.style())
        fitted = curve.record.epochs[curve.record.series("accuracy_train") >= FITTED]
        if fitted.size:
            axes.axvline(
                fitted[0], color=curve.colour, linestyle=STYLES[curve.init % 5], linewidth=0.7, alpha=0.7
            )
    timeless = any(curve.record.timeless for curve in shown)
    _titled(axes, place, title, "optimiser step" if timeless else "epoch")
    if log:
        _log_axis(axes)
    else:
        axes.set_ylim(bottom=0, top=1.02 if name == "invariant_alignment" else None)
    if not axes.lines:
        words = "not measured" if shown else f"no network reached {TRAINED:.0%} training accuracy"
        axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, fontsize=8)


# Metrics of panes f-h, the last on the right-hand scale.
OVER_RATES = (("NC1", "NC1", BLUE, "o"), ("NC2", "NC2", ORANGE, "s"), ("NC3", "NC3", GREEN, "^"))


def over_rates(axes: Axes, place: str, chosen: Chosen) -> None:
    """Panes f-h: NC metrics and test accuracy at the end against the learning rate, one initialisation each.

    Points are means over seeds; trainings that diverged stand at the bottom as crosses.
    """
    complete = [r for r in chosen.all if r.result == "complete" and r.rate > 0]
    if not complete:
        _titled(axes, place, INITS.get(chosen.init, chosen.init), "")
        axes.set_axis_off()
        axes.text(
            0.5, 0.5, "no learning rate was recorded", ha="center", transform=axes.transAxes, fontsize=8
        )
        return
    rates = np.array(sorted({r.rate for r in complete}))
    right = axes.twinx()
    for name, label, colour, marker in OVER_RATES:
        axes.plot(
            rates,
            _means(complete, rates, name),
            marker=marker,
            color=colour,
            markersize=3.5,
            linewidth=1.1,
            label=label,
        )
    accuracies = _means(complete, rates, "accuracy_test")
    tested = bool(np.isfinite(accuracies).any())
    right.set_visible(tested)
    if tested:
        right.plot(rates, accuracies, "--D", color="black", markersize=3, linewidth=1, label="test accuracy")
    gone = sorted({r.rate for r in chosen.all if r.result == "diverged"})
    axes.plot(
        gone,
        [0.02] * len(gone),
        "x",
        color=PURPLE,
        transform=axes.get_xaxis_transform(),
        label="diverged" if gone else None,
    )
    for record, colour in ((chosen.collapsed, COLLAPSED), (chosen.other, OTHER)):
        if record is not None:
            axes.axvline(record.rate, color=colour, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    known = np.array([*rates, *gone])
    if len(known) == 1:
        axes.set_xlim(known[0] / 5, 5 * known[0])
    log_ticks(axes.xaxis, known)
    _log_axis(axes)
    right.set_ylim(0, 1.02)
    right.tick_params(labelsize=LETTERS)
    right.set_ylabel("test accuracy", fontsize=LETTERS)
    _titled(axes, place, INITS.get(chosen.init, chosen.init), "learning rate")


def fitted_handle() -> Line2D:
    """What the vertical lines of panes over epochs are."""
    words = f"{100 * FITTED:.1f} % of the training samples right"
    return Line2D([], [], linestyle="", marker="|", markersize=9, color=GREY, label=words)


def rate_handles(selection: Selection) -> list[Line2D]:
    """What the lines of panes over rates are, for one legend of the figure: inside a pane it hides the curves."""
    lines = [
        Line2D([], [], marker=m, color=c, markersize=3.5, linewidth=1.1, label=f"{label} by rate")
        for _, label, c, m in OVER_RATES
    ]
    every = [record for chosen in selection.chosen for record in chosen.all]
    if not any(record.rate for record in every):
        return []
    if any(np.isfinite(record.last("accuracy_test")) for record in every):
        lines.append(
            Line2D(
                [], [], linestyle="--", marker="D", color="black", markersize=3, linewidth=1, label="test accuracy by rate"
            )
        )  # fmt: skip
    if any(record.result == "diverged" for record in every):
        lines.append(Line2D([], [], linestyle="", marker="x", color=PURPLE, label="diverged"))
    return lines


def _means(records: Sequence[Record], rates: np.ndarray, name: str) -> list[float]:
    groups = [[r.last(name) for r in records if r.rate == rate] for rate in rates]
    return [float(np.mean(values)) for values in groups]


MOMENTS = (("H1H1_norm", "H₁H₁ᵀ"), ("H2H2_norm", "H₂H₂ᵀ"), ("gg_norm", "⟨h⟩⟨h⟩ᵀ"))
ALIGNMENTS = (("alignment_outputs", "Θ"), ("alignment_features", "Θʰ"))


AT_THE_END = {"i": MOMENTS, "j": ALIGNMENTS}


def _known(shown: Sequence[Curve], letter: str) -> list[tuple[str, str]]:
    """What any of the trainings has a number of; a bar's place kept free for the others would look like a zero."""
    return [
        (name, label)
        for name, label in AT_THE_END[letter]
        if any(np.isfinite(curve.record.last(name)) for curve in shown)
    ]


def at_the_end(axes: Axes, letter: str, place: str, shown: Sequence[Curve]) -> None:
    """Panes i and j: norms of the features' moments, and alignments of the kernels, at the end of training."""
    names = _known(shown, letter)
    width = 0.8 / max(len(shown), 1)
    for k, curve in enumerate(shown):
        heights = [curve.record.last(name) for name, _ in names]
        at = np.arange(len(names)) + (k - (len(shown) - 1) / 2) * width
        face = curve.colour if curve.collapsed else "white"
        hatch = ("", "///", "...", "xxx", "++")[curve.init % 5]
        edge = "white" if curve.collapsed else curve.colour
        axes.bar(at, heights, 0.9 * width, color=face, edgecolor=edge, hatch=hatch, linewidth=0.7)
    axes.set_xticks(range(len(names)), [label for _, label in names])
    # A single group is no wider than it would be beside another.
    half = max(len(names), 2) / 2
    axes.set_xlim((len(names) - 1) / 2 - half, (len(names) - 1) / 2 + half)
    title = "Norms of moments" if letter == "i" else "Kernels' alignment with YᵀY"
    absent = [label for name, label in AT_THE_END[letter] if (name, label) not in names]
    under = (
        f"at the end of training ({', '.join(absent)} not measured)" if absent else "at the end of training"
    )
    _titled(axes, place, title, under)
    if letter == "i":
        _log_axis(axes)
        axes.set_ylim(bottom=axes.get_ylim()[0] / 2)  # the smallest bar is one too
    else:
        axes.set_ylim(0, 1)


def painters(selection: Selection, letters: str, smooth: bool) -> Iterator[Callable[[Axes], None]]:
    """What draws each of some panes, in their order. `letters` are the paper's; what is drawn is lettered without gaps.

    Panes at the end of which no training has a number are left out.
    """
    shown = curves(selection)
    by_init = dict(zip("fgh", selection.chosen, strict=False))
    drawn = [
        letter
        for letter in letters
        if (letter in by_init if letter in "fgh" else letter not in AT_THE_END or _known(shown, letter))
    ]
    for place, letter in zip(ascii_lowercase, drawn, strict=False):
        if letter in OVER_EPOCHS:
            yield partial(over_epochs, letter=letter, place=place, shown=shown, smooth=smooth)
        elif letter in by_init:
            yield partial(over_rates, place=place, chosen=by_init[letter])
        else:
            yield partial(at_the_end, letter=letter, place=place, shown=shown)


def _titled(axes: Axes, place: str, title: str, label: str) -> None:
    axes.set_title(f"{place}) {title}", fontsize=LETTERS + 1, loc="left")
    axes.set_xlabel(label, fontsize=LETTERS)
    axes.tick_params(labelsize=LETTERS)
    axes.grid(True, color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


def _log_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    drawn = [
        np.asarray(line.get_ydata(), dtype=float)
        for line in axes.lines
        if line.get_transform() is axes.transData
    ]
    drawn += [np.array([bar.get_height()]) for bar in axes.patches if isinstance(bar, Rectangle)]
    log_ticks(axes.yaxis, np.concatenate([*drawn, np.zeros(0)]))


def smoothed(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """A Savitzky-Golay filter of degree 1 over `window` points, fewer when there are fewer.

    In the middle that is the mean over the window, at the ends a fitted line. A window of even size has no
    middle point, so that its mean stands half a point off.

    Args:
        values: finite values at equally spaced epochs, (T,).
        window: points.

    Returns:
        As many values. Source: caption of Figure 2.
    """
    from scipy.signal import savgol_filter

    size = min(window, len(values))
    if size <= DEGREE + 1:
        return values.copy()
    return np.asarray(savgol_filter(values, size, DEGREE), dtype=float)


def equally_spaced(epochs: np.ndarray) -> bool:
    """Whether points are equally far apart, but for rounding to whole steps: others must not be smoothed."""
    gaps = np.diff(epochs)
    return bool(gaps.size) and bool(gaps.max() <= 1.5 * gaps.min())
