"""The three figures of the study: skill against width, error against cv, NC1 over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ntkflow.runs.atomic import atomic
from ntkflow.runs.pictures.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from ntkflow.runs.pictures.shown import Shown
from ntkflow_validation.regimes.convolutional import NEURONS, WHOLE
from ntkflow_validation.regimes.document import RegimeRun, by_place
from ntkflow_validation.regimes.expected import (
    ANALYTIC,
    BLOCK,
    CLASSES,
    TRACED,
    errors,
    explained,
    of_cv,
    start_of,
)
from ntkflow_validation.regimes.tables import BASELINES, MLPS, TITLES, Part

COLOURS = {BLOCK: RED, CLASSES: ORANGE, TRACED: BLUE, ANALYTIC: GREEN, NEURONS: PURPLE, WHOLE: GREEN}
MARKS = {"digits": "o", "fashion-mnist": "s", "equalised": "^", "collapsed": "D", "flat": "o", "pooled": "s"}
HUES = {
    "digits": BLUE,
    "fashion-mnist": RED,
    "equalised": GREEN,
    "collapsed": PURPLE,
    "flat": BLUE,
    "pooled": RED,
}
# All of them are grey: lines and marks tell them apart.
STYLES: dict[str, dict[str, Any]] = {
    "constant-velocity": {"linestyle": (0, (4, 1.5, 1, 1.5)), "marker": "+", "markersize": 5},
    "frozen-features": {"linestyle": ":", "marker": ".", "markersize": 4},
    "no-class-structure": {"linestyle": "-", "marker": "x", "markersize": 4.5},
}
# The analytic kernel's line lies on that of the traced one where it does as well.
LINES = {BLOCK: "-", CLASSES: "-", TRACED: "-", ANALYTIC: (0, (2, 2)), NEURONS: "-", WHOLE: "-"}
# Below this a skill says no more than that it is bad.
LOWEST = -0.6


def draw_all(runs: Sequence[RegimeRun], folder: Path | str, part: Part = MLPS) -> list[Path]:
    """Write the figures; none without runs.

    Args:
        runs: documents.
        folder: for NAME.png.
        part: of the study, whose runs they are.
    """
    if not runs:
        return []
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    found = []
    for name, figure in (
        ("skill-against-width", skill_figure(runs, part)),
        ("error-against-cv", error_figure(runs)),
        ("nc1", collapse_figure(runs, part)),
    ):
        path = place / f"{name}.png"
        with atomic(path) as handle:
            figure.savefig(handle, dpi=110, format="png")
        found.append(path)
    return found


def _figure(width: float, height: float) -> Figure:
    figure = Shown(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _leave_room(figure: Figure, inches: float) -> None:
    """For the legend below all panes."""
    figure.tight_layout(rect=(0, inches / figure.get_figheight(), 1, 1))


def _plain(axes: Axes) -> None:
    axes.grid(True, color="0.92", linewidth=0.6)
    # Else the grid is drawn across marks.
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8)


def _gammas(runs: Sequence[RegimeRun]) -> list[float]:
    return sorted({run.gamma for run in runs}, reverse=True)


def _kinds(runs: Sequence[RegimeRun]) -> list[str]:
    return [kind for kind in TITLES if any(run.kind == kind for run in runs)]


def skill_figure(runs: Sequence[RegimeRun], part: Part = MLPS) -> Figure:
    """Skill on M against width: a row a gamma, a column a kind of runs, a line a rung."""
    gammas, kinds = _gammas(runs), _kinds(runs)
    figure = _figure(2.3 * len(kinds) + 0.7, 2.7 * len(gammas) + 0.9)
    grid = figure.subplots(len(gammas), len(kinds), sharex=True, sharey=True, squeeze=False)
    for row, gamma in zip(grid, gammas, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            _skills(axes, [run for run in runs if (run.kind, run.gamma) == (kind, gamma)], part)
            if gamma == gammas[0]:
                axes.set_title(TITLES[kind], fontsize=9)
            if gamma == gammas[-1]:
                axes.set_xlabel("width", fontsize=9)
            # Panes share their ticks: of all widths, not of those of the last pane.
            every = sorted({run.width for run in runs})
            axes.set_xticks(every, [str(width) for width in every])
        row[0].set_ylabel(f"gamma = {gamma:g} ({start_of(gamma)})\nskill on M, cut at {LOWEST:g}", fontsize=9)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    shown = {str(label): line for label, line in lines.items() if not str(label).startswith("_")}
    columns = min(len(kinds), 4) if len(kinds) > 1 else 1
    figure.legend(shown.values(), shown.keys(), loc="lower center", ncols=columns, fontsize=8, frameon=False)
    _leave_room(figure, 0.2 + 0.18 * -(-len(shown) // columns))
    return figure


def _skills(axes: Axes, runs: Sequence[RegimeRun], part: Part) -> None:
    widths = sorted({run.width for run in runs})
    places = {width: [run for run in runs if run.width == width] for width in widths}
    # Scores of different windows have no mean: those to the last share, or else of all seeds, marked as such.
    whole = {width: [run for run in seeds if run.finished] for width, seeds in places.items()}
    hollow = [not whole[width] for width in widths]

    def over_seeds(name: str) -> tuple[np.ndarray, np.ndarray]:
        each = [[run.skill(name) for run in whole[width] or places[width]] for width in widths]
        return np.array([np.mean(v) for v in each]), np.array([np.ptp(v) / 2 for v in each])

    for name, title in BASELINES.items():
        mean, _ = over_seeds(name)
        # One that is far below is not drawn along the edge.
        shown = np.where(mean < LOWEST, np.nan, mean)
        # Nor has what is drawn nowhere a line in the legend.
        label = title if np.isfinite(shown).any() else None
        axes.plot(widths, shown, color=GREY, linewidth=1, label=label, **STYLES[name])
    for name, title in part.rungs.items():
        mean, half = over_seeds(name)
        axes.plot(
            widths,
            np.maximum(mean, LOWEST),
            marker="o",
            linestyle=LINES[name],
            color=COLOURS[name],
            markersize=3.5,
            linewidth=1.4,
            label=title,
        )
        axes.fill_between(
            widths,
            np.maximum(mean - half, LOWEST),
            np.maximum(mean + half, LOWEST),
            color=COLOURS[name],
            alpha=0.15,
        )
        axes.plot(
            np.array(widths)[hollow],
            np.maximum(mean, LOWEST)[hollow],
            "o",
            color=COLOURS[name],
            markerfacecolor="w",
            markersize=3.5,
        )
    for name in (BLOCK, CLASSES):
        values = (
            [run.ceiling[name] for run in runs if run.width == widths[-1] and name in run.ceiling]
            if widths
            else []
        )
        if values:
            axes.axhline(
                max(float(np.mean(values)), LOWEST),
                color=COLOURS[name],
                linestyle="--",
                linewidth=1,
                label=f"{part.rungs[name]}, infinite width",
            )
    axes.set_xscale("log", base=2)
    axes.set_ylim(LOWEST - 0.05, 1.05)
    _plain(axes)


def error_figure(runs: Sequence[RegimeRun]) -> Figure:
    """Error of three constants: against cv with the law's part of it, and against what the whole law foretells."""
    gammas = _gammas(runs)
    figure = _figure(8.6, 3.5 * len(gammas))
    for (left, right), gamma in zip(figure.subplots(len(gammas), 2, squeeze=False), gammas, strict=True):
        for kind in _kinds(runs):
            cv, seen, told = errors([run for run in runs if run.kind == kind], gamma)
            style = {"color": HUES[kind], "marker": MARKS[kind], "s": 22, "label": TITLES[kind]}
            left.scatter(cv, seen, **style)
            right.scatter(told, seen, **style)
        cv, seen, told = errors(runs, gamma)
        line = np.linspace(0, 1.1 * cv.max(), 60) if len(cv) else np.linspace(0, 1, 2)
        coefficient = of_cv(gamma, np.ones(1))[0]
        left.plot(line, of_cv(gamma, line), "k--", linewidth=1, label=f"{coefficient:g} cv²")
        left.set_xlabel("cv, spread of the class contrasts' eigenvalues", fontsize=9)
        ends = [0, 1.05 * max(seen.max(), told.max())] if len(cv) else [0, 1]
        right.plot(ends, ends, "k--", linewidth=1, label=f"as foretold (R² {explained(seen, told):.2f})")
        right.set_xlabel("foretold by cv, leak and iso", fontsize=9)
        left.set_ylabel(f"gamma = {gamma:g} ({start_of(gamma)})\nerror on M, 1 - skill", fontsize=9)
        for axes in (left, right):
            axes.set_xlim(left=0)
            axes.set_ylim(bottom=0)
            axes.legend(fontsize=7.5, frameon=False, loc="upper left")
            _plain(axes)
    figure.tight_layout()
    return figure


def collapse_figure(runs: Sequence[RegimeRun], part: Part = MLPS) -> Figure:
    """NC1(t) of the widest network of every gamma and kind, seed by seed, as it was and as the rungs foretell it."""
    gammas, kinds = _gammas(runs), _kinds(runs)
    figure = _figure(2.3 * len(kinds) + 0.7, 2.6 * len(gammas) + 0.8)
    places = by_place(runs)
    grid = figure.subplots(len(gammas), len(kinds), squeeze=False)
    for row, gamma in zip(grid, gammas, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            widths = [w for found, g, w in places if (found, g) == (kind, gamma)]
            if not widths:
                axes.set_axis_off()
            else:
                first = min(places[kind, gamma, max(widths)], key=lambda run: run.seed)
                _collapse(axes, first, part)
                axes.set_title(f"{TITLES[kind]}\nwidth {first.width}", fontsize=7.5)
            axes.set_xlabel("flow time", fontsize=8)
        row[0].set_ylabel(f"gamma = {gamma:g} ({start_of(gamma)})\nNC1", fontsize=9)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend(
        lines.values(),
        [str(label) for label in lines],
        loc="lower center",
        ncols=5 if len(kinds) > 2 else 2,
        fontsize=8,
        frameon=False,
    )
    _leave_room(figure, 0.35 if len(kinds) > 2 else 0.7)
    return figure


def _collapse(axes: Axes, run: RegimeRun, part: Part) -> None:
    times = np.array(run.times, dtype=np.float64)
    axes.plot(times, np.array(run.NC1, dtype=np.float64), "o", color="k", markersize=3.5, label="observed")
    for name, found in run.rungs.items():
        if found.NC1 is not None:
            axes.plot(
                times,
                np.array(found.NC1, dtype=np.float64),
                color=COLOURS[name],
                linestyle=LINES[name],
                linewidth=1.3,
                label=part.rungs[name],
            )
    axes.set_yscale("log")
    _plain(axes)
