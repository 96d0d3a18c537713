"""The figure of a run: the paper's panes as functions of flow time. Arrays in, matplotlib figure out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from ntkflow._types import Floats
from ntkflow.runs.pictures.shown import Shown

# Okabe & Ito's palette: told apart by colour-blind readers.
BLUE, ORANGE, GREEN, RED, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
GREY = "#666666"
# What a logarithmic axis still shows; squares of rounding errors would stretch it by decades.
FLOOR = 1e-17
# An invariant this small against its terms is zero.
ZERO = 1e-10
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# A pane whose values never reach this shows rounding only.
NOTHING = 1e-14

Series = Mapping[str, Floats]
Line = tuple[str, str, str, str]
# Labels are plain characters: parsing formulas would take half of the drawing time.

# title, y label, log y, lines as (series, label, colour, style)
PANES: Sequence[tuple[str, str, bool, Sequence[Line]]] = (
    (
        "Invariant E",
        "norm",
        True,
        (
            ("E_size", "‖WᵀW/m‖ + ‖HK⁻¹Hᵀ/m‖", GREY, ":"),
            ("E_norm", "‖E‖, Frobenius", BLUE, "-"),
            ("E_peak", "‖E‖ so far: zero but for errors", BLUE, "-"),
            ("E_drift_peak", "relative drift so far", RED, "--"),
            ("E_motion", "relative motion since t = 0", RED, "--"),
        ),
    ),
    (
        "Alignment of E's terms",
        "cosine",
        False,
        (("E_alignment", "WᵀW with HK⁻¹Hᵀ", BLUE, "-"),),
    ),
    (
        "Norms of E's terms",
        "Frobenius norm",
        True,
        (
            ("E_weights", "weights, WᵀW/m", BLUE, "-"),
            ("E_means", "class means", ORANGE, "--"),
            ("E_features", "all features, HK⁻¹Hᵀ/m", PURPLE, ":"),
            ("E_within", "within classes", GREEN, "-."),
        ),
    ),
    (
        "Feature moments",
        "Frobenius norm",
        True,
        (
            ("H1H1_norm", "H₁H₁ᵀ", BLUE, "-"),
            ("H2H2_norm", "H₂H₂ᵀ", GREEN, "-."),
            ("gg_norm", "ggᵀ, global mean", PURPLE, "--"),
        ),
    ),
    (
        "NC1: variability",
        "standard deviation within a class",
        True,
        (
            ("NC1", "mean over classes, features", BLUE, "-"),
            ("NC1_frobenius", "Frobenius", GREY, "--"),
        ),
    ),
    ("NC2: simplex ETF", "distance", True, (("NC2", "MᵀM from ETF", BLUE, "-"),)),
    ("NC3: self-duality", "distance", True, (("NC3", "M from Wᵀ", BLUE, "-"),)),
    (
        "Loss by component",
        "sum over samples",
        True,
        (
            ("loss", "total", "black", "-"),
            ("loss_global", "global mean", PURPLE, "--"),
            ("loss_class", "class means", ORANGE, "-."),
            ("loss_individual", "individual", GREEN, ":"),
        ),
    ),
)

# Panes that only some runs have anything for; beside the eight wherever panes are chosen.
MORE_PANES: Mapping[str, tuple[str, str, bool, Sequence[Line]]] = {
    "laws": (
        "Conservation laws: off by",
        "relative to what is in a law",
        True,
        (
            ("laws_moved", "all laws, if constant", GREY, ":"),
            ("laws_error", "all laws, off their law", BLUE, "-"),
            ("Q_error", "Q off its law, over ‖Q(0)‖", RED, "--"),
        ),
    ),
    "balance": (
        "Imbalance",
        "size of what is conserved",
        True,
        (
            ("laws_q", "all laws, q", BLUE, "-"),
            ("laws_law", "q by their law", "black", ":"),
            ("Q_norm", "‖Q‖", RED, "-"),
            ("Q_law", "‖Q‖ by its law", GREY, "--"),
            ("Q_over_weights", "‖Q‖/‖WᵀW‖", PURPLE, "-."),
        ),
    ),
}


def run_figure(t: Floats, series: Series, title: str, E_constant: bool = True) -> Figure:
    """The eight panes of a run against flow time t (units of the sum loss, eq. 4).

    Args:
        t: times, (T,).
        series: named series, (T,) each; panes whose series are absent stay empty and say so.
        title: one line above the panes.
        E_constant: whether E stands still in exact arithmetic: no decay, moving kernel or discrete steps.
    """
    figure = Shown(figsize=(14, 6.6))
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 4)
    # Fixed margins: a layout engine has to measure every text first.
    figure.subplots_adjust(left=0.055, right=0.99, bottom=0.08, top=0.9, wspace=0.27, hspace=0.42)
    figure.suptitle(title, fontsize=11, y=0.972)
    shown = {**series, **invariant_lines(series, E_constant)}
    for axes, (name, label, log, lines) in zip(grid.flat, PANES, strict=True):
        pane(axes, t, shown, lines, log)
        axes.set_title(name, fontsize=10, y=1.01)  # a given place is not searched for
        axes.set_ylabel(label, fontsize=8.5)
        axes.set_xlabel("flow time t", fontsize=8.5)
    return figure


def invariant_lines(series: Series, constant: bool) -> Series:
    """Running maxima where only errors are seen: an engine that restores E makes a saw of them."""
    if "E_norm" not in series:
        return {}
    # The size against which `E_drift` is measured.
    lines = {"E_size": series["E_weights"] + series["E_features"]}
    if not constant:
        return {**lines, "E_motion": series["E_drift"]}
    lines["E_drift_peak"] = np.maximum.accumulate(series["E_drift"])
    if series["E_norm"][0] < ZERO * lines["E_size"][0]:
        lines |= {
            "E_peak": np.maximum.accumulate(series["E_norm"]),
            "E_norm": np.full(len(series["E_norm"]), np.nan),
        }
    return lines


def save(figure: Figure, target: Path | IO[bytes], format: str | None = None) -> None:
    """Write a figure as png, pdf or svg; by default the suffix of the path says which."""
    figure.savefig(target, dpi=110, format=format or str(target).rpartition(".")[2])


def pane(axes: Axes, t: Floats, series: Series, lines: Sequence[Line], log: bool) -> None:
    """Lines of a pane against time; a sentence where they show nothing."""
    shown = t > 0
    drawn: list[Floats] = []
    if not shown.any():
        say(axes, "the run ended at t = 0")
        return
    for name, label, colour, style in lines:
        if name not in series:
            continue
        values = np.asarray(series[name], dtype=float)[shown]
        if log:
            values = np.where(values > FLOOR, values, np.nan)
        if np.any(np.isfinite(values)):
            axes.plot(t[shown], values, style, color=colour, label=label, linewidth=1.5)
            drawn.append(values)
    axes.set_xscale("log")
    axes.tick_params(labelsize=8)
    if nothing(drawn, log):
        axes.clear()
        say(axes, "zero, or not defined here")
        return
    stacked = np.concatenate(drawn)
    if log:
        axes.set_yscale("log")
        decades(axes, stacked[np.isfinite(stacked)])
    else:
        axes.set_ylim(min(0.0, float(np.nanmin(stacked))) - 0.05, 1.08)
    axes.legend(fontsize=7.5, frameon=False, loc="best", handlelength=2.2)
    time_ticks(axes, t[shown][0], t[shown][-1])


def nothing(drawn: Sequence[Floats], log: bool) -> bool:
    """Whether curves show nothing: there are none, or rounding only."""
    return not drawn or bool(log and max(np.nanmax(values) for values in drawn) < NOTHING)


def time_ticks(axes: Axes, first: float, last: float) -> None:
    """Few ticks on a log axis of time, and a faint grid."""
    ticks = list(_decade_ticks(first, last, 5))
    # Few times may hold no power of ten, and then say themselves where they are.
    axes.xaxis.set_major_locator(FixedLocator(ticks or sorted({first, last})))
    axes.xaxis.set_major_formatter(FuncFormatter(_power if ticks else lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(True, color="0.9", linewidth=0.6)


def say(axes: Axes, text: str, letters: float = 9) -> None:
    """A sentence in place of curves."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=letters, color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])


def decades(axes: Axes, values: Floats) -> None:
    """A log axis over whole decades with few ticks: locators of minor ticks cost most of the drawing time."""
    low, high = np.floor(np.log10(values.min())), np.ceil(np.log10(values.max()))
    if high - low < 1:
        high = low + 1
    # A share of the axis, so that over many decades too no curve runs along its edge.
    room = max(0.1, 0.03 * (high - low))
    axes.set_ylim(10.0 ** (low - room), 10.0 ** (high + room))
    axes.yaxis.set_major_locator(FixedLocator(list(_decade_ticks(10.0**low, 10.0**high, 6))))
    axes.yaxis.set_major_formatter(FuncFormatter(_power))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def log_ticks(axis: Axis, values: Floats) -> None:
    """Labelled ticks on a log axis, however little it spans: decades alone leave an axis within one without a number."""
    values = values[np.isfinite(values) & (values > 0)]
    decades = np.ptp(np.log10(values)) if values.size else 0.0
    subs = (1.0,) if decades > 2.5 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axis.set_minor_formatter(NullFormatter())
    if decades <= 2.5:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _decade_ticks(low: float, high: float, most: int) -> Floats:
    first, last = np.ceil(np.log10(low) - 1e-9), np.floor(np.log10(high) + 1e-9)
    step = max(1, int(np.ceil((last - first + 1) / most)))
    return 10.0 ** np.arange(first, last + 0.5, step)


def _power(value: float, _: int) -> str:
    return "10" + str(round(np.log10(value))).translate(SUPERSCRIPTS)
