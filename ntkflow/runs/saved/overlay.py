"""Figures of chosen panes and size, of one run or of several over each other, labelled by what differs."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from ntkflow.errors import InputError
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.solution import Solution
from ntkflow.runs import rundir
from ntkflow.runs.ensembles import LEVELS, Ensemble
from ntkflow.runs.pictures.curves import Curves, flat, labelled
from ntkflow.runs.rundir import Run
from ntkflow.runs.saved import ensembles, layers, solutions
from ntkflow.runs.saved.brought import BroughtCurves
from ntkflow.runs.saved.dispatch import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ntkflow.fitting.observed import Observed
    from ntkflow.runs.pictures.figures import Line
    from ntkflow.runs.pictures.layout import Layout

# Why a run has no line in a pane.
ZERO, UNKNOWN, TIMELESS = "zero but for errors", "not known", "in no flow time"
STEPS = "optimiser steps"


@runtime_checkable
class Drawn(Protocol):
    """Whatever has a picture of its own."""

    def figure(
        self, *, panes: Sequence[str] | None = None, size: float | tuple[float, float] | None = None
    ) -> "Figure":
        """It, with some panes and of some size."""


def figure(
    *things: object,
    panes: Sequence[str] | None = None,
    size: float | tuple[float, float] | None = None,
    style: str = "screen",
    labels: Sequence[str] | None = None,
    observed: "Observed | None" = None,
) -> "Figure":
    """A matplotlib figure of whatever has one, or of several runs over each other; `figure.savefig(path)` writes it.

    Args:
        things: solutions, also of linear layers, ensembles, trainings, predictions, or directories of any of them, one by
            one or in a list; or one of what is drawn alone, or its path: a table of a sweep, a fit, a measurement, a
            comparison. What `style` and `labels` say is of runs.
        panes: E, alignment, terms, moments, NC1, NC2, NC3, loss, of trainings whose laws were followed laws and balance, or any
            other series by its name; None: all of these that there is a series for.
            What is drawn alone has panes of its own, see its `figure`; so have linear layers
            alone: kernel, alignment, blocks, loss, NC1, NC2, NC3, fitted.
        size: width in inches, or width and height; None: as wide as a screen.
        style: 'screen', or 'paper': lines and letters for a printed column, and no title.
        labels: one for each run; None: the settings in which they differ.
        observed: what was fitted, to be drawn beside a fit's own trajectory.

    Raises:
        InputError: no run, an unknown pane or style, another number of labels, or several of what is drawn alone.
    """
    if len(things) == 1 and isinstance(things[0], list | tuple):
        things = tuple(things[0])
    if not things:
        raise InputError("runs", "none", "must be at least one", "give a solution or a run directory")
    found = [read(thing) if isinstance(thing, str | Path) else thing for thing in things]
    if len(found) == 1 and not is_run(found[0]):
        for name, value, usual in (("style", style, "screen"), ("labels", labels, None)):
            if value != usual:
                raise InputError(name, value, f"is of runs, and no option of a {_kind(found[0])}", "drop it")
        return _alone(found[0], panes, size, observed)
    if observed is not None:
        raise InputError("observed", _kind(observed), "is drawn beside a fit alone", "give the fit")
    return _of_runs([_named(*pair) for pair in zip(found, things, strict=True)], panes, size, style, labels)


def _alone(
    thing: object,
    panes: Sequence[str] | None,
    size: float | tuple[float, float] | None,
    observed: "Observed | None",
) -> "Figure":
    # Fits need scipy, which figures of runs must not wait for.
    from ntkflow.fitting.estimate import Fit

    if isinstance(thing, Fit):
        from ntkflow.runs.pictures.fit_figure import fit_figure

        return fit_figure(thing, observed, panes, size)
    if observed is not None:
        raise InputError("observed", _kind(observed), "is drawn beside a fit alone", "give the fit")
    # A module has functions of that name, a class no thing yet.
    if isinstance(thing, type | ModuleType) or not isinstance(thing, Drawn):
        raise InputError(
            "runs", _kind(thing), "has no figure", "give a solution, an ensemble or a run directory"
        )
    return thing.figure(panes=panes, size=size)


def _of_runs(
    runs: Sequence[Curves],
    panes: Sequence[str] | None,
    size: float | tuple[float, float] | None,
    style: str,
    labels: Sequence[str] | None,
) -> "Figure":
    from ntkflow.runs.pictures import figures, layout
    from ntkflow.runs.pictures.layered_figure import layered_figure

    first = runs[0]
    # Nothing asked for: the figure that `ntkflow simulate` writes.
    plain = panes is None and size is None and style == "screen" and labels is None
    if len(runs) == 1 and plain and not (first.bands or first.sparse):
        if first.layers:
            return layered_figure(first.t, first.series, first.title, first.layers)
        return figures.run_figure(first.t, first.series, first.title, first.constant)
    names = labelled(runs) if labels is None else list(labels)
    if len(names) != len(runs):
        raise InputError(
            "labels", f"{len(names)} labels", f"must be {len(runs)}, one per run", "give each one"
        )
    present = {name for run in runs for name in run.series}
    # Over each other, layers of several runs could not be told apart: the last ones stand for them.
    drawn = layout.chosen(panes, present, first.layers if len(runs) == 1 else 0)
    return _drawn(runs, names, layout.Layout.of(size, style, drawn))


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
            # Taken out, as E of rounding is, it is known all the same.
            if name in run.series and np.any(np.isfinite(run.series[name])):
                why = ZERO
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
    """What a figure needs of a run, or of the directory of one.

    Raises:
        InputError: the directory is no run, or the thing is something else.
    """
    if isinstance(thing, str | Path):
        return _named(read(thing), thing)
    if isinstance(thing, BroughtCurves):
        return thing.curves()
    if isinstance(thing, Run):
        constant = bool(thing.header.get("E_constant", True))
        return Curves(thing.t, thing.series, thing.header["title"], constant, flat(thing.summary.config), {})
    if isinstance(thing, Solution):
        tables = solutions.prepared(thing).config.tables()
        title = rundir.title(thing)
        return Curves(thing.times, thing.series, title, not thing.E_moves, flat(tables), {})
    if isinstance(thing, Ensemble):
        quantiles = {name: thing.quantiles(name, LEVELS) for name in thing.series}
        medians = {name: q[1] for name, q in quantiles.items()}
        bands = {name: (q[0], q[2]) for name, q in quantiles.items()}
        title = ensembles.title(thing)
        return Curves(thing.times, medians, title, True, flat(thing.about.get("config")), bands)
    if isinstance(thing, LayeredSolution):
        return layers.curves(thing)
    raise InputError("runs", f"a {_kind(thing)}", "is not laid over others", "draw it alone: nf.figure(it)")


def is_run(thing: object) -> bool:
    """Whether it has lines along time, which are laid over those of others."""
    return isinstance(thing, Solution | LayeredSolution | Ensemble | Run | BroughtCurves)


def read(path: Path | str) -> object:
    """What lies there, as `nf.load` gives it; of a simulation no more than its series, which older ones have alone."""
    place = Path(path)
    return rundir.load_run(place) if (place / rundir.TRAJECTORY).is_file() else load(place)


def _named(thing: object, given: object) -> Curves:
    """The curves of a run, with the name of the directory that it was read from."""
    found = curves(thing)
    return replace(found, name=Path(given).resolve().name) if isinstance(given, str | Path) else found


def _kind(thing: object) -> str:
    return type(thing).__name__
