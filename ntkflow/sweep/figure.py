"""The figure of a sweep: one pane per quantity. Tables in, matplotlib figure out."""

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkflow._types import Column, Vector
from ntkflow.errors import InputError
from ntkflow.runs.border.typed import Value
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.pictures.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from ntkflow.runs.pictures.layout import filled, inches
from ntkflow.sweep.axis import Axis
from ntkflow.sweep.columns.labels import bounded, label
from ntkflow.sweep.heat import draw_heat_map
from ntkflow.sweep.noise import level, shown, tolerance
from ntkflow.sweep.plan import Group, Plan, plan, positions, quantiles, scattered
from ntkflow.sweep.spec import SweepSpec, View
from ntkflow.sweep.table import Table, column_named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, "black")
MARKERS = ("o", "s", "^", "D", "v", "P")
# Points, and inches: a page of text or of a README shows no more, so that letters keep their size.
LETTERS, WIDTH, PER_ROW = 9, 9.6, 2
Mark = tuple[float, str]
Colour = str | tuple[float, float, float, float]


def sweep_figure(
    spec: SweepSpec,
    table: Table,
    title: str,
    mark: Mark | None = None,
    size: float | tuple[float, float] | None = None,
) -> "Figure | None":
    """The figure of a sweep, or None when it has too many axes for one.

    Args:
        spec: what was run and what is shown.
        table: its numbers.
        title: one line above the panes.
        mark: a place on the x axis to mark, and what is said there.
        size: width in inches, or width and height; None: as wide as the panes and the legend need.

    Raises:
        InputError: a quantity that is not in the summaries, or no size of a figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from ntkflow.runs.pictures.shown import Shown

    drawn = plan(spec, table)
    if drawn is None:
        return None
    panes = len(spec.view.y)
    legend = 0.0 if drawn.kind == "heat map" else 1.3
    columns = min(panes, PER_ROW)
    rows = -(-panes // columns)
    usual = (5.7 + legend, 4.6) if panes == 1 else (WIDTH, 3.6 * rows + 0.4)
    figure = Shown(figsize=inches(size, usual), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(fill(title, int(14 * figure.get_figwidth())), fontsize=11)
    theory = (*spec.view.theory, *[""] * (panes - len(spec.view.theory)))
    grid = filled(figure, panes, rows, columns)
    # By their whole names, which say whether they are of the start or the end.
    names = [column_named(y, table.columns) or y for y in spec.view.y]
    for axes, y, line in zip(grid, names, theory, strict=True):
        log = spec.view.log_y and not bounded(y)
        if drawn.kind == "heat map":
            draw_heat_map(axes, drawn, table, y, log, line)
        else:
            _pane(axes, drawn, table, y, line, log)
            _mark(axes, mark)
        axes.set_xlabel(drawn.x_label, fontsize=LETTERS)
    if drawn.kind != "heat map":
        _legend(figure, drawn, any(theory), spec.seeds > 1)
    return figure


def table_figure(
    table: Table, title: str = "", size: float | tuple[float, float] | None = None, **view: Any
) -> "Figure":
    """`Table.figure`: the picture of a table whose specification is not at hand.

    Raises:
        InputError: an unknown quantity or size, or more swept fields than one picture shows.
    """
    drawn = sweep_figure(
        SweepSpec(SimulateConfig(), axes_of(table), view=View(**view)), table, title, None, size
    )
    if drawn is None:
        rule = "are too many for one picture"
        raise InputError("x", ", ".join(table.swept), rule, "select rows of to_pandas() and draw these")
    return drawn


def axes_of(table: Table) -> tuple[Axis, ...]:
    """The swept axes again, from the columns: fields that always agree moved together.

    Raises:
        InputError: the swept fields are not those of simulations.
    """
    found: dict[tuple[Value, ...], list[str]] = {}
    for name in table.swept:
        found.setdefault(tuple(table.columns[name].tolist()), []).append(name)
    axes = []
    for column, names in found.items():
        values = tuple(dict.fromkeys(column))
        # The columns do not say whether an axis was logarithmic; equal ratios do, from three values on.
        positive = all(isinstance(v, float) and v > 0 for v in values)
        ratios = np.diff(np.log(np.array(values, dtype=float))) if positive else np.zeros(0)
        log = len(ratios) > 1 and bool(np.allclose(ratios, ratios[0], rtol=1e-6))
        axes.append(Axis(tuple(names), values, log=log))
    return tuple(axes)


def _pane(axes: "Axes", drawn: Plan, table: Table, y: str, theory: str, log_y: bool) -> None:
    styles = _styles(drawn)
    for group, (colour, marker) in zip(drawn.groups, styles, strict=True):
        if drawn.horizontal is not None:
            _line(axes, drawn, table, group, y, log_y, colour, marker)
        else:
            x, values = scattered(drawn, table, group), _shown(shown(table, y)[group.rows], log_y)
            axes.plot(x, values, marker, color=colour, markersize=5.5, alpha=0.7, markeredgewidth=0)
        # Over the points, and black where all of them have one colour: it would be lost among them.
        if theory:
            _theory(axes, drawn, table, group, theory, log_y, colour if len(styles) > 1 else "black")
    if drawn.log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    if drawn.horizontal is not None and not drawn.horizontal.numeric:
        axes.set_xticks(positions(drawn.horizontal), [str(v) for v in drawn.horizontal.values], rotation=20)
    _steady(axes, drawn, table, y, log_y)
    axes.set_ylabel(label(y), fontsize=LETTERS)
    axes.grid(True, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=LETTERS)


def _steady(axes: "Axes", drawn: Plan, table: Table, y: str, log: bool) -> None:
    """Where all cells have one value but for errors, say so, and draw these as small as they are."""
    rows = np.concatenate([group.rows for group in drawn.groups])
    values = _shown(shown(table, y)[rows], log)
    known = values[np.isfinite(values)]
    words = level(y, known, tolerance(table))
    if words:
        middle = float(np.median(known))
        axes.set_title(f"{label(y)}: {words}", fontsize=LETTERS)
        axes.set_ylim(*((middle / 2, middle * 2) if log else (middle - 0.5, middle + 0.5)))


def _line(
    axes: "Axes", drawn: Plan, table: Table, group: Group, y: str, log: bool, colour: Colour, marker: str
) -> None:
    """Median over the seeds, and the band that holds 80 % of them."""
    assert drawn.horizontal is not None
    found = list(quantiles(table, drawn.horizontal, group.rows, y))
    if not found:
        return
    x = np.array([place for place, _ in found])
    low, middle, high = (_shown(values, log) for values in np.array([q for _, q in found]).T)
    if drawn.horizontal.numeric:
        order = np.argsort(x)
        axes.fill_between(x[order], low[order], high[order], color=colour, alpha=0.18, linewidth=0)
        axes.plot(x[order], middle[order], "-", color=colour, marker=marker, markersize=4.5, linewidth=1.4)
    else:
        spread = np.array([middle - low, high - middle])
        axes.errorbar(x, middle, spread, fmt=marker, color=colour, capsize=4, linewidth=1.4)


def _theory(
    axes: "Axes", drawn: Plan, table: Table, group: Group, name: str, log: bool, colour: Colour
) -> None:
    """A dashed line; one dash per cell where a scatter has several values at one place."""
    if drawn.horizontal is not None:
        found = [(place, q[1]) for place, q in quantiles(table, drawn.horizontal, group.rows, name)]
        x, values = np.array(found).reshape(-1, 2).T
    else:
        x, values = scattered(drawn, table, group), table.column(name)[group.rows]
    known = np.isfinite(x) & np.isfinite(values)
    order = np.argsort(x[known])
    x, values = x[known][order], _shown(values[known][order], log)
    if len(np.unique(x)) == len(x):
        axes.plot(x, values, "--", color=colour, linewidth=1.3)
    else:
        axes.plot(x, values, linestyle="", marker="_", markersize=7, markeredgewidth=1.2, color=colour)


def _shown(values: Column, log: bool) -> Vector:
    return np.where(values > 0, values, np.nan) if log else np.asarray(values, dtype=float)


def _styles(drawn: Plan) -> list[tuple[Colour, str]]:
    count = len(drawn.groups)
    # Told apart one by one as long as they can be; more groups are an order, as values of a quantity are.
    if count <= len(COLOURS):
        return list(zip(COLOURS[:count], MARKERS[:count], strict=True))
    from matplotlib import colormaps

    return [(colormaps["viridis"](i / (count - 1) * 0.92), "o") for i in range(count)]


def _legend(figure: "Figure", drawn: Plan, theory: bool, seeds: bool) -> None:
    """One legend for all panes, outside them, so that it hides no point."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Line2D | Patch] = []
    if len(drawn.groups) > 1:
        entries = [
            Line2D(
                [],
                [],
                color=colour,
                marker=marker,
                label=group.name,
                linestyle="-" if drawn.horizontal is not None else "",
            )
            for group, (colour, marker) in zip(drawn.groups, _styles(drawn), strict=True)
        ]
    if theory:
        # As `_theory` draws it: a line over an axis, a dash a cell in a scatter.
        entry = Line2D([], [], color=GREY, linestyle="--", label="theory")
        if drawn.horizontal is None:
            entry.set(linestyle="", marker="_")
        entries.append(entry)
    if seeds and drawn.horizontal is not None:
        entries.append(Patch(color=GREY, alpha=0.18, label="80 % of seeds"))
    if entries:
        figure.legend(
            handles=entries,
            title=drawn.by_label,
            loc="outside right center",
            frameon=False,
            fontsize=9,
            title_fontsize=9,
        )


def _mark(axes: "Axes", mark: Mark | None) -> None:
    if mark is None:
        return
    place, text = mark
    low, high = axes.get_xlim()
    left = place - low > high - place
    axes.axvline(place, color=GREY, linewidth=1, linestyle=":")
    axes.annotate(
        text,
        (place, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if left else 4, -12),
        textcoords="offset points",
        ha="right" if left else "left",
        fontsize=9,
        color=GREY,
    )
