"""Figures of chosen panes and size, of one run or of several over each other, labelled by what differs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkflow._types import Document, Floats, Json
from ntkflow.errors import InputError
from ntkflow.integrate.solution import Solution
from ntkflow.runs import rundir
from ntkflow.runs.ensembles import LEVELS, Ensemble
from ntkflow.runs.rundir import Run
from ntkflow.runs.saved import ensembles, solutions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ntkflow.fitting.observed import Observed
    from ntkflow.runs.pictures.figures import Line
    from ntkflow.runs.pictures.layout import Layout

# What decides the numbers of a run only through rounding, or says nothing beside the arrays it names.
INCIDENTAL = ("engine", "form", "ensemble", "kernel_file", "state")
RUNS = (Solution, Ensemble, Run, str, Path)
# Names of settings as labels write them.
LETTERS = {"classes": "C", "per_class": "m", "features": "n", "step_size": "eta", "t_end": "t_end"}


@dataclass(frozen=True, eq=False)
class Curves:
    """What a figure needs of one run.

    Attributes:
        t: times, (T,).
        series: named series, (T,) each; medians of an ensemble.
        title: one line that says what was run.
        constant: whether E stands still in exact arithmetic.
        settings: the settings it was made with, by name.
        bands: of an ensemble its lowest and highest quantile of each series.
        name: of its directory, where it comes from one.
    """

    t: Floats
    series: Mapping[str, Floats]
    title: str
    constant: bool
    settings: Json
    bands: Mapping[str, tuple[Floats, Floats]]
    name: str = ""


def figure(
    *things: Any,
    panes: Sequence[str] | None = None,
    size: float | tuple[float, float] | None = None,
    style: str = "screen",
    labels: Sequence[str] | None = None,
    observed: "Observed | None" = None,
) -> "Figure":
    """A matplotlib figure of one run, of several over each other, or of a fit; `figure.savefig(path)` writes it.

    Args:
        things: solutions, ensembles, or directories of runs; or one fit, which none of the other arguments but
            `observed` concern.
        panes: E, alignment, terms, moments, NC1, NC2, NC3, loss, or any other series by its name; None: these eight.
        size: width in inches, or width and height; None: as wide as a screen.
        style: 'screen', or 'paper': lines and letters for a printed column, and no title.
        labels: one for each run; None: the settings in which they differ.
        observed: what was fitted, to be drawn beside a fit's own trajectory.

    Raises:
        InputError: no run, an unknown pane or style, or another number of labels.
    """
    from ntkflow.runs.pictures import figures, layout

    if not things:
        raise InputError("runs", "none", "must be at least one", "give a solution or a run directory")
    if len(things) == 1 and not isinstance(things[0], RUNS):
        # Fits need scipy, which figures of runs must not wait for.
        from ntkflow.fitting.estimate import Fit

        if isinstance(things[0], Fit):
            from ntkflow.runs.pictures.fit_figure import fit_figure

            return fit_figure(things[0], observed)
    runs = [curves(thing) for thing in things]
    # Nothing asked for: the figure that `ntkflow simulate` writes.
    plain = panes is None and size is None and style == "screen" and labels is None
    if len(runs) == 1 and plain and not runs[0].bands:
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
    for axes, pane in zip(grid, layout.panes, strict=True):
        zero = [
            name
            for k, (run, name) in enumerate(zip(runs, names, strict=True))
            if not _lines(axes, run, pane.lines, k if several else None, layout, pane.log) and several
        ]
        layout.dress(axes, pane, several, zero)
    layout.finish(figure, names if len(runs) > 1 else (), runs[0].title)
    return figure


def _lines(
    axes: "Axes", run: Curves, lines: "Iterable[Line]", k: int | None, layout: "Layout", log: bool
) -> bool:
    """The series of one run in a pane: in colours of their own, or k-th run in its colour for all.

    Returns whether there was anything but rounding to draw.
    """
    from ntkflow.runs.pictures.figures import invariant_lines, nothing
    from ntkflow.runs.pictures.layout import DETAILS

    shown = run.t > 0
    series = {**run.series, **invariant_lines(run.series, run.constant)}
    drawn = False
    for name, label, colour, style in lines:
        if name not in series or (k is not None and name in DETAILS):
            continue
        values = layout.visible(series[name], log)[shown]
        if not np.any(np.isfinite(values)):
            continue
        # Beside other runs, rounding would stretch the axis by decades in which nothing happens.
        if k is not None and nothing([values], log):
            continue
        drawn = True
        chosen = colour if k is None else layout.colour(k)
        axes.plot(run.t[shown], values, style, color=chosen, label=label, linewidth=layout.line)
        if name in run.bands:
            low, high = (layout.visible(edge, log)[shown] for edge in run.bands[name])
            axes.fill_between(run.t[shown], low, high, color=chosen, alpha=0.2, linewidth=0)
    return drawn


def curves(thing: Any) -> Curves:
    """What a figure needs of a solution, an ensemble, a run read back or a directory.

    Raises:
        InputError: the directory is no run, or the thing is something else.
    """
    if isinstance(thing, str | Path):
        place = Path(thing)
        many = (place / ensembles.ARRAYS).is_file()
        found = curves(ensembles.load_ensemble(place) if many else rundir.load_run(place))
        return replace(found, name=place.resolve().name)
    if isinstance(thing, Run):
        constant = bool(thing.header.get("E_constant", True))
        return Curves(
            thing.t, thing.series, thing.header["title"], constant, _settings(thing.summary["config"]), {}
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


def _settings(tables: Mapping[str, Document] | None) -> Json:
    return {name: value for table in (tables or {}).values() for name, value in table.items()}


def differing(runs: Sequence[Curves]) -> list[str]:
    """Names of the settings in which some of the runs differ, in the order of the configuration."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [
        name
        for name in names
        if name not in INCIDENTAL and len({_plain(run.settings.get(name)) for run in runs}) > 1
    ]


def labelled(runs: Sequence[Curves]) -> list[str]:
    """What tells each run from the others, as `init = gaussian, seed = 1`; numbers where the settings are the same."""
    names = differing(runs)
    words = []
    for run in runs:
        given = [n for n in names if run.settings.get(n) is not None]
        words.append(", ".join(f"{LETTERS.get(n, n)} = {_plain(run.settings[n])}" for n in given))
    if all(words) and len(set(words)) == len(words):
        return words
    # The same settings twice, as from states or kernels in files: names tell them apart.
    return [run.name or word or f"run {k}" for k, (run, word) in enumerate(zip(runs, words, strict=True), 1)]


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
