"""What in a quantity is no landscape: rounding, errors of integration, and how far below its target a run happened to stop."""

import numpy as np

from ntkflow._types import Column, Vector
from ntkflow.sweep.table import Table, column_named

# Quantities that are zero in exact arithmetic wherever the law holds: what is small in them is error.
ERRORS = ("drift", "law_error")
SMALL_ERROR = 1e-6
# Below NOTHING there is only rounding; values closer than SAME of the largest differ by the tolerance of the runs, or so many
# times what they were run with.
NOTHING, SAME, OF_TOLERANCE = 1e-13, 1e-7, 3.0
# What stops a run, and where its target stands: the root mean square deviation within classes, per feature.
WORD, STOPPED_AT = "nc1", "config.stop.stop_nc1"


def shown(table: Table, quantity: str) -> Column:
    """A quantity as figures show it: of a run that ended at its target only that is known, not the step that fell below it."""
    values = table.column(quantity)
    least = _at_target(table, column_named(quantity, table.columns))
    return (
        values
        if least is None
        else np.where(table.columns["reason"] == WORD, np.maximum(values, least), values)
    )


def _at_target(table: Table, name: str | None) -> Column | None:
    """Where a run stands in NC1 of this name once the target is met; None of other quantities."""
    columns = table.columns
    if "reason" not in columns or STOPPED_AT not in columns:
        return None
    target = columns[STOPPED_AT]
    if name == "nc.NC1_frobenius.final" and "sizes.n" in columns:
        # sqrt(tr S/C), where the target is one for sqrt(tr S/(C n)).
        return np.asarray(target * np.sqrt(columns["sizes.n"]))
    return target if name == "nc.NC1.final" else None


def tolerance(table: Table) -> float:
    """Relative differences up to this are no differences."""
    rtol = table.columns.get("solver.rtol")
    known = np.zeros(0) if rtol is None else rtol[np.isfinite(rtol)]
    return max(SAME, OF_TOLERANCE * float(known.max())) if known.size else SAME


def level(y: str, known: Vector, same: float = SAME) -> str:
    """In words the one value that all cells have but for errors; empty where cells truly differ."""
    if not known.size:
        return ""
    low, high = float(known.min()), float(known.max())
    largest = max(abs(low), abs(high))
    if any(word in y for word in ERRORS) and largest < SMALL_ERROR:
        return f"errors of integration, at most {largest:.1g}"
    if largest < NOTHING:
        return "zero but for rounding"
    if known.size > 1 and high - low <= same * largest:
        return f"{(low + high) / 2:.6g} in every cell"
    return ""
