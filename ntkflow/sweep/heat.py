"""The heat map of a sweep over two axes: the median over the seeds in every cell of the grid, theory's contours on top."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Column, Floats, Rows
from ntkflow.sweep.axis import Axis
from ntkflow.sweep.columns.labels import label
from ntkflow.sweep.noise import level, shown, tolerance
from ntkflow.sweep.plan import Plan, positions
from ntkflow.sweep.table import Table, entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Map = Float64[Floats, "vertical horizontal"]
# Contours of a quantity, and its range from which on they stand at equal ratios.
CONTOURS, WIDE = 5, 10.0


def medians(drawn: Plan, table: Table, y: str) -> Map:
    """Median of a quantity over the other fields, (values of the vertical axis, values of the horizontal axis)."""
    return _gridded(drawn, table, shown(table, y), drawn.groups[0].rows)


def _gridded(drawn: Plan, table: Table, values: Column, rows: Rows) -> Map:
    assert drawn.horizontal is not None
    assert drawn.vertical is not None
    shape = len(drawn.vertical.values), len(drawn.horizontal.values)
    grid = np.full(shape, np.nan)
    rows = rows[np.isfinite(values[rows])]
    if not len(rows):
        return grid
    # Of every place its values side by side, so that the medians of all are taken at once.
    place = _places(table, drawn.vertical)[rows] * shape[1] + _places(table, drawn.horizontal)[rows]
    order = np.argsort(place, kind="stable")
    place, found = place[order], values[rows][order]
    rank = np.arange(len(place)) - np.searchsorted(place, place)
    beside = np.full((grid.size, int(rank.max()) + 1), np.nan)
    beside[place, rank] = found
    there = np.unique(place)
    grid.reshape(-1)[there] = np.nanmedian(beside[there], axis=1)
    return grid


def _places(table: Table, axis: Axis) -> Rows:
    """The number of each row's value on an axis."""
    number = {entry(value): k for k, value in enumerate(axis.values)}
    return np.array([number[v] for v in table.columns[axis.name].tolist()], dtype=np.int64)


def draw_heat_map(axes: "Axes", drawn: Plan, table: Table, y: str, log: bool, theory: str = "") -> None:
    """Draw the medians with a colour bar; cells without a value stay grey."""
    from matplotlib.colors import LogNorm, Normalize

    grid = medians(drawn, table, y)
    known = grid[np.isfinite(grid) & ((grid > 0) | (not log))]
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 10.0)
    same_everywhere = level(y, known, tolerance(table))
    if same_everywhere or low == high:
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    norm = LogNorm(low, high) if log else Normalize(low, high)
    if same_everywhere:
        # Colours would make a landscape of what differs by rounding or by the integration's errors only.
        grid = np.where(np.isfinite(grid), np.sqrt(low * high) if log else (low + high) / 2, np.nan)
    coloured = np.ma.masked_invalid(np.where((grid > 0) | (not log), grid, np.nan))
    x, y_places = _coordinates(drawn, table)
    if x.ndim == 1:
        assert drawn.horizontal is not None
        assert drawn.vertical is not None
        edges = _edges(drawn.horizontal, drawn.log_x), _edges(drawn.vertical, drawn.log_vertical)
        mesh = axes.pcolormesh(*edges, coloured, norm=norm, cmap="viridis")
    else:
        mesh = axes.pcolormesh(x, y_places, coloured, norm=norm, cmap="viridis", shading="nearest")
    axes.set_facecolor("0.8")
    words = [f"{label(y)}: {same_everywhere}"] if same_everywhere else []
    if not same_everywhere:
        axes.figure.colorbar(mesh, ax=axes, label=label(y))
    if theory and _contours(axes, x, y_places, medians(drawn, table, theory)):
        words.append(f"lines: {label(theory)}")
    if words:
        axes.set_title("; ".join(words), fontsize=9)
    axes.set_ylabel(drawn.vertical_label)
    _scale(axes, "x", drawn.horizontal if x.ndim == 1 else None, drawn.log_x)
    _scale(axes, "y", drawn.vertical if x.ndim == 1 else None, drawn.log_vertical)


def _coordinates(drawn: Plan, table: Table) -> tuple[Floats, Floats]:
    """Where cells stand: on the two axes, or, where one of them is derived, of every cell by itself."""
    assert drawn.horizontal is not None
    assert drawn.vertical is not None
    if not drawn.derived:
        return positions(drawn.horizontal), positions(drawn.vertical)
    every = np.arange(len(table))
    found = [_gridded(drawn, table, table.column(name), every) for name in (drawn.x, drawn.vertical_name)]
    # A cell that has not ended stands half way between its neighbours; its colour is grey.
    return _completed(found[0], 1), _completed(found[1], 0)


def _completed(grid: Map, along: int) -> Map:
    lines = grid if along else grid.T
    for _ in range(2):
        for line in lines:
            known = np.flatnonzero(np.isfinite(line))
            if len(known):
                line[:] = np.interp(np.arange(len(line)), known, line[known])
        lines = lines.T
    return grid


def _contours(axes: "Axes", x: Floats, y: Floats, values: Map) -> bool:
    """Lines of equal values, the border between yes and no; whether there are any."""
    known = values[np.isfinite(values)]
    if min(values.shape) < 2 or not known.size or known.min() == known.max():
        return False
    low, high = float(known.min()), float(known.max())
    if set(np.unique(known)) <= {0.0, 1.0}:
        levels = np.array([0.5])
    elif low > 0 and high > WIDE * low:
        levels = np.geomspace(low, high, CONTOURS + 2)[1:-1]
    else:
        levels = np.linspace(low, high, CONTOURS + 2)[1:-1]
    lines = axes.contour(x, y, np.ma.masked_invalid(values), levels, colors="white", linewidths=1.2)
    if len(levels) > 1:
        axes.clabel(lines, fmt="%.2g", fontsize=7)
    return True


def _edges(axis: Axis, log: bool) -> Floats:
    """Borders half way between neighbours, in the axis's own scale; values in falling order are allowed."""
    places = positions(axis)
    if log:
        places = np.log(places)
    if len(places) == 1:
        edges = np.array([places[0] - 0.5, places[0] + 0.5])
    else:
        # Half way in the axis's own scale; the two outer cells are as wide as their neighbours.
        middle = (places[1:] + places[:-1]) / 2
        edges = np.concatenate(
            [[1.5 * places[0] - 0.5 * places[1]], middle, [1.5 * places[-1] - 0.5 * places[-2]]]
        )
    return np.exp(edges) if log else edges


def _scale(axes: "Axes", which: str, axis: Axis | None, log: bool) -> None:
    if log:
        getattr(axes, f"set_{which}scale")("log")
    if axis is None:
        return
    if not axis.numeric:
        getattr(axes, f"set_{which}ticks")(positions(axis), [str(v) for v in axis.values])
    elif not log and len(axis.values) <= 12 and np.allclose(np.diff(positions(axis), 2), 0):
        getattr(axes, f"set_{which}ticks")(positions(axis))
