"""Predicted against observed trajectories. Comparisons in, matplotlib figure out; no global state."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntkflow.runs.pictures.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, log_ticks
from ntkflow.runs.pictures.layout import arranged, filled, some
from ntkflow.runs.pictures.shown import Shown
from ntkflow_validation.metrics.compare import QUANTITIES, Comparison

# The last colour of the same palette.
SKY = "#56B4E9"
COLOURS = ("black", BLUE, GREEN, ORANGE, RED, PURPLE, SKY, GREY)

# title, y label, log y, lines as (series, label, colour)
PANES: Sequence[tuple[str, str, bool, Sequence[tuple[str, str, str]]]] = (
    (
        "Loss by component",
        "sum over samples",
        True,
        (
            ("loss", "total", "black"),
            ("loss_global", "global mean", PURPLE),
            ("loss_class", "class means", ORANGE),
            ("loss_individual", "individual", GREEN),
        ),
    ),
    (
        "Features",
        "Frobenius norm",
        False,
        (("M_norm", "M, class means", BLUE), ("H2_norm", r"$H_2$, within", GREEN)),
    ),
    ("Weights and biases", "norm", True, (("W_norm", "W", BLUE), ("b_norm", "b", ORANGE))),
    (
        "NC1: variability within classes",
        "",
        True,
        (("NC1", "standard deviation", BLUE), ("NC1_papyan", r"tr$(S_W S_B^+)/C$", ORANGE)),
    ),
    ("NC2: simplex ETF", "distance", False, (("NC2", r"$M^\top M$ from ETF", BLUE),)),
    ("NC3: self-duality", "distance", False, (("NC3", r"M from $W^\top$", BLUE),)),
)
LABELS = {
    "residual_global": "R global",
    "residual_class": "R class",
    "residual_individual": "R individual",
    "M": "M",
    "H2": r"$H_2$",
    "F_centred": "F centred",
    "W": "W",
    "b": "b",
}
# Names of the panes, in their order: those of `PANES`, then two of skill.
SKILLS = ("skill", "windows")
KEYS = ("loss", "features", "weights", "NC1", "NC2", "NC3", *SKILLS)
# A narrower pane has no room for its heading and the four lines of its legend.
LEAST_PANE = 3.1
LOSS_DECADES = 5


def comparison_figure(
    lead: Comparison,
    windows: Mapping[int, Comparison],
    title: str,
    panes: Sequence[str] | None = None,
    size: float | tuple[float, float] | None = None,
) -> Figure:
    """Eight panes: six quantities over time, the skill over time, the pooled skill of every window.

    Args:
        lead: the comparison whose trajectories are drawn.
        windows: comparisons by the step they start from.
        title: one line above the panes.
        panes: some of `KEYS`; None: all.
        size: width in inches, or width and height.

    Raises:
        InputError: no such pane or size.
    """
    names = some(panes, KEYS, KEYS)
    width, height, rows, columns = arranged(len(names), size, LEAST_PANE)
    figure = Shown(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(fill(title, int(12 * width)), fontsize=11)
    for k, (axes, name) in enumerate(zip(filled(figure, len(names), rows, columns), names, strict=True)):
        # One legend of the colours for both panes of skill, at the right of the last.
        coloured = not set(names[k + 1 :]) & set(SKILLS)
        if name == "windows":
            _skill_of_windows(axes, windows, coloured)
        elif name == "skill":
            _skill_over_time(axes, lead, coloured)
        else:
            heading, label, log, lines = PANES[KEYS.index(name)]
            _trajectories(axes, lead, lines, log)
            axes.set_title(heading, fontsize=10)
            axes.set_ylabel(label, fontsize=9)
        if name != "windows":
            axes.set_xlabel("flow time t of the sum loss", fontsize=9)
    if set(names) - set(SKILLS):
        observed = Line2D(
            [], [], linestyle="", marker="o", color="0.3", markersize=3.5, label="observed network"
        )
        foretold = Line2D([], [], color="0.3", linewidth=1.4, label="predicted by the theory")
        handles = [observed, foretold]
        figure.legend(handles=handles, loc="outside lower center", ncol=2, fontsize=9, frameon=False)
    return figure


def _trajectories(axes: Axes, lead: Comparison, lines: Sequence[tuple[str, str, str]], log: bool) -> None:
    shown = lead.times > 0
    t, seen_all = lead.times[shown], []
    for name, label, colour in lines:
        seen, foretold = lead.observed[name][shown], lead.predicted[name][shown]
        axes.plot(t, seen, "o", color=colour, markersize=3, markeredgewidth=0)
        axes.plot(t, foretold, "-", color=colour, linewidth=1.4, label=label)
        seen_all.append(seen)
    _time_axis(axes, t)
    if log:
        axes.set_yscale("log")
        _limit_decades(axes, np.concatenate(seen_all))
    crowded = len(lines) > 2
    if crowded:
        # Four lines leave no free corner: make room above them.
        axes.set_ylim(top=axes.get_ylim()[1] * 30)
    axes.legend(
        fontsize=8,
        framealpha=0.85,
        edgecolor="none",
        loc="upper right" if crowded else "best",
        ncol=2 if crowded else 1,
        handlelength=1.6,
        columnspacing=1.0,
    )


def _limit_decades(axes: Axes, seen: np.ndarray) -> None:
    """A prediction may fall to rounding while the network does not; keep the axis to what was observed."""
    seen = seen[np.isfinite(seen) & (seen > 0)]
    low, high = axes.get_ylim()
    if seen.size:
        floor = max(seen.min() / 10, seen.max() * 10.0**-LOSS_DECADES)
        axes.set_ylim(max(low, floor), min(high, seen.max() * 10))
    log_ticks(axes.yaxis, np.array(axes.get_ylim()))


def _skill_over_time(axes: Axes, lead: Comparison, coloured: bool) -> None:
    shown = lead.times > lead.times[0]
    for name, colour in zip(QUANTITIES, COLOURS, strict=True):
        values = np.clip(lead.skill[name][shown], -1.0, 1.0)
        axes.plot(lead.times[shown], values, "-", color=colour, linewidth=1.3, label=LABELS[name])
    _time_axis(axes, lead.times[shown])
    _skill_axis(axes, "Skill over time", coloured)


def _skill_of_windows(axes: Axes, windows: Mapping[int, Comparison], coloured: bool) -> None:
    steps = sorted(windows)
    for name, colour in zip(QUANTITIES, COLOURS, strict=True):
        values = [np.clip(windows[step].pooled[name], -1.0, 1.0) for step in steps]
        axes.plot(
            range(len(steps)), values, "o-", color=colour, markersize=3.5, linewidth=1.0, label=LABELS[name]
        )
    axes.set_xticks(range(len(steps)), [str(step) for step in steps], fontsize=8)
    axes.set_xlabel("predicted from step (kernel measured there)", fontsize=9)
    _skill_axis(axes, "Skill over each window, by its start", coloured)


def _skill_axis(axes: Axes, title: str, coloured: bool) -> None:
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_ylim(-1.08, 1.08)
    axes.set_title(title, fontsize=10)
    axes.set_ylabel("skill, cut at -1", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(True, color="0.92", linewidth=0.6)
    if coloured:
        axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.4)


def _time_axis(axes: Axes, times: np.ndarray) -> None:
    axes.set_xscale("log")
    log_ticks(axes.xaxis, times)
    axes.tick_params(labelsize=8)
    axes.grid(True, color="0.92", linewidth=0.6)
