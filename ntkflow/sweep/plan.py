"""Which picture a sweep gets: lines over an axis, a heat map, a scatter of two quantities, or none."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ntkflow._types import Chosen, Rows, Vector
from ntkflow.errors import InputError
from ntkflow.sweep.axis import Axis
from ntkflow.sweep.columns.labels import axis_label, label, short
from ntkflow.sweep.noise import shown
from ntkflow.sweep.spec import SEED, SweepSpec
from ntkflow.sweep.table import DONE, Table, entry

# Lines of a legend that fit beside the panes.
MOST_GROUPS = 24
Kind = Literal["lines", "heat map", "scatter"]


@dataclass(frozen=True, eq=False)
class Group:
    """Cells that share one colour: rows of the table, and what the legend says."""

    value: object
    rows: Rows

    @property
    def name(self) -> str:
        """The value in words."""
        return short(self.value)


@dataclass(frozen=True, eq=False)
class Plan:
    """A picture, decided but not drawn.

    Attributes:
        kind: lines (median and band over seeds), heat map (median) or scatter.
        x: name of the column on the x axis.
        x_label: its label.
        log_x: log scale on the x axis.
        horizontal: the axis on the x axis; None in a scatter.
        vertical: the other axis of a heat map.
        by_label: what tells colours apart, in words; None when there is one colour.
        groups: the cells of every colour; finished cells only.
        vertical_name, vertical_label, log_vertical: of a heat map, as those of x.
        derived: whether an axis of a heat map is a quantity, so that every cell has a place of its own.
    """

    kind: Kind
    x: str
    x_label: str
    log_x: bool
    horizontal: Axis | None
    vertical: Axis | None
    by_label: str | None
    groups: tuple[Group, ...]
    vertical_name: str = ""
    vertical_label: str = ""
    log_vertical: bool = False
    derived: bool = False


def plan(spec: SweepSpec, table: Table) -> Plan | None:
    """The picture for a sweep, or None when it has too many axes for one.

    Raises:
        InputError: --x or --y names no quantity of the summaries.
    """
    for name in (*spec.view.y, *filter(None, spec.view.theory)):
        if table.column(name, "y").dtype.kind not in "fi":
            raise InputError("y", repr(name), "is text", "choose a number")
    # Seeds are repetitions, which a median and a band stand for; only where nothing else is swept are they an axis.
    axes = [axis for axis in spec.all_axes if axis.name != SEED] or list(spec.all_axes)
    if spec.view.vertical is not None:
        return _map(spec, table, [axis for axis in axes if len(axis.values) > 1])
    wanted = spec.view.x or axes[0].name
    horizontal = next((axis for axis in spec.all_axes if wanted in axis.fields), None)
    others = [axis for axis in axes if axis is not horizontal and len(axis.values) > 1]
    if horizontal is None:
        table.column(wanted, "x")
        words, groups = _colours(spec, axes, table)
        return Plan("scatter", wanted, label(wanted), spec.view.log_x, None, None, words, groups)
    log, text = horizontal.log or spec.view.log_x, axis_label(horizontal.fields)
    if len(others) > 1:
        return None
    # A map where nobody asked for lines; with more axes no picture would tell which of them made the difference.
    if others and spec.view.x is None and spec.view.by is None:
        return _map(spec, table, [horizontal, others[0]])
    by = others[0] if others else None
    words = axis_label(by.fields) if by is not None else None
    return Plan("lines", wanted, text, log, horizontal, None, words, _groups(by, table))


def _map(spec: SweepSpec, table: Table, axes: list[Axis]) -> Plan | None:
    """A heat map over two axes, or over quantities that take their places."""
    if len(axes) != 2:
        return None
    x, vertical = spec.view.x, spec.view.vertical
    # Asked for the other way round: what is named on the vertical axis lies there.
    if any(name in axes[k].fields for name, k in ((x, 1), (vertical, 0))):
        axes = axes[::-1]
    found = []
    for name, axis, given in ((x, axes[0], spec.view.log_x), (vertical, axes[1], False)):
        own = name is None or name in axis.fields
        if not own:
            # Of a ratio of two that run over magnitudes so do all values.
            table.column(str(name), "x" if axis is axes[0] else "vertical")
        log = given or (axis.log if own else all(a.log for a in axes))
        found.append(
            (axis.name if own else str(name), axis_label(axis.fields) if own else label(str(name)), log, own)
        )
    (x_name, x_label, log_x, own_x), (y_name, y_label, log_y, own_y) = found
    groups = _groups(None, table)
    return Plan(
        "heat map",
        x_name,
        x_label,
        log_x,
        axes[0],
        axes[1],
        None,
        groups,
        y_name,
        y_label,
        log_y,
        not (own_x and own_y),
    )


def _colours(spec: SweepSpec, axes: list[Axis], table: Table) -> tuple[str | None, tuple[Group, ...]]:
    """What tells the points of a scatter apart: the axis or quantity asked for, or the first axis."""
    wanted = spec.view.by
    if wanted is None:
        by = next((axis for axis in axes if len(axis.values) > 1), None)
    else:
        by = next((axis for axis in spec.all_axes if wanted in axis.fields), None)
    if by is not None:
        return axis_label(by.fields), _groups(by, table)
    if wanted is None:
        return None, _groups(None, table)
    return label(wanted), _by_quantity(wanted, table)


def _by_quantity(name: str, table: Table) -> tuple[Group, ...]:
    """Groups of equal values of a quantity, to six digits, which hides the rounding of computed ones."""
    values = np.array([float(f"{v:.6g}") for v in table.column(name, "by")])
    values[table.columns["status"] != DONE] = np.nan
    distinct = np.unique(values[np.isfinite(values)])
    if len(distinct) > MOST_GROUPS:
        raise InputError(
            "by", name, f"has {len(distinct)} different values", f"choose one with at most {MOST_GROUPS}"
        )
    return tuple(Group(float(value), np.flatnonzero(values == value)) for value in distinct)


def _groups(by: Axis | None, table: Table) -> tuple[Group, ...]:
    done = table.columns["status"] == DONE
    if by is None:
        return (Group("", np.flatnonzero(done)),)
    return tuple(Group(value, np.flatnonzero(done & same(table, by, value))) for value in by.values)


def scattered(drawn: Plan, table: Table, group: Group) -> Vector:
    """Where the cells of a group stand in a scatter; counts get their colours side by side around the number."""
    x = table.column(drawn.x)
    finite = x[np.isfinite(x)]
    counts = len(drawn.groups) > 1 and bool(np.all(finite == np.rint(finite)))
    place = drawn.groups.index(group) - (len(drawn.groups) - 1) / 2
    return x[group.rows] + (0.6 * place / len(drawn.groups) if counts else 0.0)


def same(table: Table, axis: Axis, value: object) -> Chosen:
    """Whether each row has this value of the axis."""
    equal: Chosen = table.columns[axis.name] == entry(value)
    return equal


def positions(axis: Axis) -> Vector:
    """Where the values of an axis lie: the numbers themselves, or 0, 1, 2 ... for texts."""
    return np.array(axis.values, dtype=float) if axis.numeric else np.arange(len(axis.values), dtype=float)


def quantiles(table: Table, axis: Axis, rows: Rows, quantity: str) -> Iterator[tuple[float, Vector]]:
    """Position and (10 %, 50 %, 90 %) of a quantity at every value of an axis that has finished cells."""
    values = shown(table, quantity)
    for place, value in zip(positions(axis), axis.values, strict=True):
        here = values[rows[same(table, axis, value)[rows]]]
        if np.any(np.isfinite(here)):
            yield float(place), np.nanquantile(here, (0.1, 0.5, 0.9))
