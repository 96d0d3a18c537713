"""Figures of chosen panes and size, of one run or of several over each other, labelled by what differs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ntkflow._types import Document, Json
from ntkflow.errors import InputError
from ntkflow.integrate.solution import Solution
from ntkflow.runs import rundir
from ntkflow.runs.ensembles import LEVELS, Ensemble
from ntkflow.runs.pictures.curves import Curves, labelled
from ntkflow.runs.rundir import Run
from ntkflow.runs.saved import brought, ensembles, solutions
from ntkflow.runs.saved.brought import BroughtRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ntkflow.fitting.observed import Observed
    from ntkflow.runs.pictures.figures import Line
    from ntkflow.runs.pictures.layout import Layout

# Why a run has no line in a pane.
ZERO, UNKNOWN, TIMELESS = "zero but for errors", "not known", "in no flow time"
STEPS = "optimiser steps"
RUNS = (Solution, Ensemble, Run, BroughtRun, str, Path)


def figure(
    *things: object,
    panes: Sequence[str] | None = None,
    size: float | tuple[float, float] | None = None,
    style: str = "screen",
    labels: Sequence[str] | None = None,
    observed: "Observed | None" = None,
) -> "Figure":
    """A matplotlib figure of one run, of several over each other, or of a fit; `figure.savefig(path)` writes it.

    Args:
        things: solutions, ensembles, trainings, or directories of any of them, one by one or in a list; or one fit,
            which `style` and `labels` do not concern.
        panes: E, alignment, terms, moments, NC1, NC2, NC3, loss, or any other series by its name; None: these eight.
            Of a fit: constants, trajectory.
        size: width in inches, or width and height; None: as wide as a screen.
        style: 'screen', or 'paper': lines and letters for a printed column, and no title.
        labels: one for each run; None: the settings in which they differ.
        observed: what was fitted, to be drawn beside a fit's own trajectory.

    Raises:
        InputError: no run, an unknown pane or style, or another number of labels.
    """
    from ntkflow.runs.pictures import figures, layout

    if len(things) == 1 and isinstance(things[0], list | tuple):
        things = tuple(things[0])
    if not things:
        raise InputError("runs", "none", "must be at least one", "give a solution or a run directory")
    if len(things) == 1 and not isinstance(things[0], RUNS):
        # Fits need scipy, which figures of runs must not wait for.
        from ntkflow.fitting.estimate import Fit

        if isinstance(things[0], Fit):
            from ntkflow.runs.pictures.fit_figure import fit_figure

            return fit_figure(things[0], observed, panes, size)
    runs = [curves(thing) for thing in things]
    # Nothing asked for: the figure that `ntkflow simulate` writes.
    plain = panes is None and size is None and style == "screen" and labels is None
    if len(runs) == 1 and plain and not (runs[0].bands or runs[0].sparse):
        return figures.run_figure(runs[0].t, runs[0].series, runs[0].title, runs[0].constant)
    names = labelled(runs) if labels is None else list(labels)
    if len(names) != len(runs):
        raise InputError(
            "labels", f"{len(names)} labels", f"must be {len(runs)}, one per run", "give each one"
        )
    present = {name for run in runs for name in run.series}
    return _drawn(runs, names, layout.Layout.of(size, style, layout.chosen(panes, present)))


def _drawn(runs: Sequence[Curves], names: Sequence[str], layout: "Layout") -> "Figure":
    figure, grid = layout.empty()
    several = len(runs) > 1
    # Steps and times do not go along one axis.
    timed = any(run.timed for run in runs)
    if not timed:
        layout = replace(layout, axis=STEPS)
    for axes, pane in zip(grid, layout.panes, strict=True):
        without: dict[str, list[str]] = {}
        for k, (run, name) in enumerate(zip(runs, names, strict=True)):
            fits = run.timed == timed
            why = (
                _lines(axes, run, pane.lines, k if several else None, layout, pane.log) if fits else TIMELESS
            )
            if why is not None and several:
                without.setdefault(why, []).append(name)
        layout.dress(axes, pane, several, without)
    layout.finish(figure, names if len(runs) > 1 else (), runs[0].title)
    return figure


def _lines(
    axes: "Axes", run: Curves, lines: "Iterable[Line]", k: int | None, layout: "Layout", log: bool
) -> str | None:
    """The series of one run in a pane: in colours of their own, or k-th run in its colour for all.

    Returns why there is no line; None where there is one.
    """
    from ntkflow.runs.pictures.figures import invariant_lines, nothing
    from ntkflow.runs.pictures.layout import DETAILS

    shown = run.t > 0
    series = {**run.series, **invariant_lines(run.series, run.constant)}
    why: str | None = UNKNOWN
    for name, label, colour, style in lines:
        if name not in series or (k is not None and name in DETAILS):
            continue
        finite = np.isfinite(series[name])
        if not np.any(finite[shown]):
            continue
        known = shown & finite if run.sparse else shown
        values = layout.visible(series[name], log)[known]
        # Beside other runs, rounding would stretch the axis by decades in which nothing happens.
        if not np.any(np.isfinite(values)) or (k is not None and nothing([values], log)):
            why = ZERO if why == UNKNOWN else why
            continue
        why = None
        chosen = colour if k is None else layout.colour(k)
        # A line between few values says where these are.
        marker = "o" if np.sum(known) < np.sum(shown) else None
        axes.plot(
            run.t[known], values, style, color=chosen, label=label, linewidth=layout.line, marker=marker,
            markersize=2 * layout.line,
        )  # fmt: skip
        if name in run.bands:
            low, high = (layout.visible(edge, log)[known] for edge in run.bands[name])
            axes.fill_between(run.t[known], low, high, color=chosen, alpha=0.2, linewidth=0)
    return why


def curves(thing: object) -> Curves:
    """What a figure needs of a solution, an ensemble, a training, a run read back or a directory.

    Raises:
        InputError: the directory is no run, or the thing is something else.
    """
    if isinstance(thing, str | Path):
        place = Path(thing)
        return replace(curves(_read(place)), name=place.resolve().name)
    if isinstance(thing, BroughtRun):
        return thing.curves()
    if isinstance(thing, Run):
        constant = bool(thing.header.get("E_constant", True))
        return Curves(
            thing.t, thing.series, thing.header["title"], constant, _settings(thing.summary.config), {}
        )
    if isinstance(thing, Solution):
        tables = solutions.prepared(thing).config.tables()
        title = rundir.title(thing)
        return Curves(thing.times, thing.series, title, not thing.E_moves, _settings(tables), {})
    if isinstance(thing, Ensemble):
        quantiles = {name: thing.quantiles(name, LEVELS) for name in thing.series}
        medians = {name: q[1] for name, q in quantiles.items()}
        bands = {name: (q[0], q[2]) for name, q in quantiles.items()}
        title = ensembles.title(thing)
        return Curves(thing.times, medians, title, True, _settings(thing.about.get("config")), bands)
    raise InputError(
        "runs", type(thing).__name__, "is no run", "give a solution, an ensemble or a run directory"
    )


def _read(place: Path) -> Ensemble | Run | BroughtRun:
    """The run in a directory; of a simulation no more than its series, which older ones have alone."""
    if (place / ensembles.ARRAYS).is_file():
        return ensembles.load_ensemble(place)
    found = brought.run_at(place)
    return rundir.load_run(place) if found is None else found


def _settings(tables: Mapping[str, Document] | None) -> Json:
    return {name: value for table in (tables or {}).values() for name, value in table.items()}
