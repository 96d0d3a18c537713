"""The figure of an ensemble: the panes of a run's figure with medians and bands from 5 % to 95 %."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from ntkflow._types import Floats
from ntkflow.runs.pictures.figures import FLOOR, GREY, PANES, Line
from ntkflow.runs.pictures.layered_figure import panes
from ntkflow.runs.pictures.shown import Shown

LOW, MEDIAN, HIGH = 0.05, 0.5, 0.95


def ensemble_figure(t: Floats, series: Mapping[str, Floats], title: str, L: int = 0) -> Figure:
    """Eight panes against flow time t (units of the sum loss, eq. 4).

    Args:
        t: times, (T,).
        series: named series, (K, T) each; panes whose series are absent stay empty and say so.
        title: one line above the panes.
        L: number of linear layers, whose panes are those of their figure; 0 for features under a kernel given.
    """
    figure = Shown(figsize=(14, 6.6))
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 4)
    figure.subplots_adjust(left=0.055, right=0.99, bottom=0.085, top=0.895, wspace=0.27, hspace=0.36)
    figure.suptitle(f"{title}: median, 5 % to 95 %", fontsize=11, y=0.972)
    shown = t > 0
    curves = {name: values[:, shown] for name, values in series.items()}
    for axes, (name, label, log, lines) in zip(grid.flat, panes(L).values() if L else PANES, strict=True):
        _pane(axes, t[shown], curves, lines, log)
        axes.set_title(name, fontsize=10)
        axes.set_ylabel(label, fontsize=8.5)
    for axes in grid[1]:
        axes.set_xlabel("flow time t", fontsize=9)
    return figure


def _pane(axes: Axes, t: Floats, series: Mapping[str, Floats], lines: Sequence[Line], log: bool) -> None:
    drawn: list[Floats] = []
    for name, label, colour, style in lines:
        if name not in series or not np.any(np.isfinite(series[name])):
            continue
        # Members that ended earlier are NaN from there on; the band is that of the others.
        low, middle, high = np.nanquantile(series[name], (LOW, MEDIAN, HIGH), axis=0)
        if log:
            low, middle, high = (np.where(values > FLOOR, values, np.nan) for values in (low, middle, high))
        if not np.any(np.isfinite(middle)):
            continue
        axes.plot(t, middle, style, color=colour, label=label, linewidth=1.5)
        axes.fill_between(t, low, high, color=colour, alpha=0.2, linewidth=0)
        drawn.append(low)
    axes.set_xscale("log")
    axes.tick_params(labelsize=8)
    axes.grid(True, color="0.9", linewidth=0.6)
    axes.xaxis.set_minor_locator(NullLocator())
    if not drawn:
        axes.text(
            0.5,
            0.5,
            "zero or not defined here",
            transform=axes.transAxes,
            ha="center",
            fontsize=9,
            color=GREY,
        )
        axes.set_yticks([])
        return
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(min(0.0, float(np.nanmin(drawn))) - 0.05, 1.08)
    axes.legend(fontsize=7.5, frameon=False, loc="best", handlelength=2.2)
