"""The heat map of a sweep over two axes: the median over the seeds in every cell of the grid."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats, Vector
from ntkflow.sweep.axis import Axis
from ntkflow.sweep.labels import axis_label, label
from ntkflow.sweep.plan import Plan, positions, same
from ntkflow.sweep.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Quantities that are zero in exact arithmetic wherever the law holds: what is small in them is error.
ERRORS = ("drift", "law_error")
SMALL_ERROR = 1e-6
# Below NOTHING there is only rounding; values closer than SAME of the largest differ by the tolerance of the runs.
NOTHING, SAME = 1e-13, 1e-7


def medians(drawn: Plan, table: Table, y: str) -> Float64[Floats, "vertical horizontal"]:
    """Median of a quantity over the other fields, (values of the vertical axis, values of the horizontal axis)."""
    assert drawn.horizontal is not None
    assert drawn.vertical is not None
    rows, values = drawn.groups[0].rows, table.column(y)
    grid = np.full((len(drawn.vertical.values), len(drawn.horizontal.values)), np.nan)
    for i, v in enumerate(drawn.vertical.values):
        for j, h in enumerate(drawn.horizontal.values):
            here = values[rows[(same(table, drawn.vertical, v) & same(table, drawn.horizontal, h))[rows]]]
            if np.any(np.isfinite(here)):
                grid[i, j] = np.nanmedian(here)
    return grid


def draw_heat_map(axes: "Axes", drawn: Plan, table: Table, y: str, log: bool) -> None:
    """Draw the medians with a colour bar; cells without a value stay grey."""
    from matplotlib.colors import LogNorm, Normalize

    assert drawn.horizontal is not None
    assert drawn.vertical is not None
    grid = medians(drawn, table, y)
    known = grid[np.isfinite(grid) & ((grid > 0) | (not log))]
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 10.0)
    same_everywhere = level(y, known)
    if same_everywhere or low == high:
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    norm = LogNorm(low, high) if log else Normalize(low, high)
    if same_everywhere:
        # Colours would make a landscape of what differs by rounding or by the integration's errors only.
        grid = np.where(np.isfinite(grid), np.sqrt(low * high) if log else (low + high) / 2, np.nan)
    shown = np.ma.masked_invalid(np.where((grid > 0) | (not log), grid, np.nan))
    x_edges, y_edges = _edges(drawn.horizontal, drawn.log_x), _edges(drawn.vertical, drawn.vertical.log)
    mesh = axes.pcolormesh(x_edges, y_edges, shown, norm=norm, cmap="viridis")
    axes.set_facecolor("0.8")
    if same_everywhere:
        axes.set_title(f"{label(y)}: {same_everywhere}", fontsize=9)
    else:
        axes.figure.colorbar(mesh, ax=axes, label=label(y))
    axes.set_ylabel(axis_label(drawn.vertical.fields))
    _scale(axes, "x", drawn.horizontal, drawn.log_x)
    _scale(axes, "y", drawn.vertical, drawn.vertical.log)


def level(y: str, known: Vector) -> str:
    """In words the one value that all cells have but for errors; empty where cells truly differ."""
    if not known.size:
        return ""
    low, high = float(known.min()), float(known.max())
    largest = max(abs(low), abs(high))
    if any(word in y for word in ERRORS) and largest < SMALL_ERROR:
        return f"errors of integration, at most {largest:.1g}"
    if largest < NOTHING:
        return "zero but for rounding"
    if known.size > 1 and high - low <= SAME * largest:
        return f"{(low + high) / 2:.6g} in every cell"
    return ""


def _edges(axis: Axis, log: bool) -> Vector:
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


def _scale(axes: "Axes", which: str, axis: Axis, log: bool) -> None:
    if log:
        getattr(axes, f"set_{which}scale")("log")
    if not axis.numeric:
        getattr(axes, f"set_{which}ticks")(positions(axis), [str(v) for v in axis.values])
    elif not log and len(axis.values) <= 12 and np.allclose(np.diff(positions(axis), 2), 0):
        getattr(axes, f"set_{which}ticks")(positions(axis))
