"""calibration.json: what the known answer and the departures gave."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow_validation.calibration.cells import Cell

# The bars of the known answer.
SKILL, KAPPA = 0.999, 1e-6
SCORES = ("block_M", "block_H2", "traced_M", "traced_H2", "best_M", "best_H2")
CONSTANTS = ("kappa_d", "kappa_c", "kappa_n")


def document(found: Sequence[tuple[Cell, Json]], brief: bool, fingerprint: str) -> Json:
    """The whole calibration.

    Args:
        found: every cell with its `cell_row`, the known answer first.
        brief: whether most departures were left out.
        fingerprint: of the source that was calibrated.
    """
    (_, control), others = found[0], found[1:]
    kinds = list(dict.fromkeys((cell.departure, cell.value) for cell, _ in others))
    groups = {kind: [row for cell, row in others if (cell.departure, cell.value) == kind] for kind in kinds}
    return {
        "version": __version__,
        "fingerprint": fingerprint,
        "brief": brief,
        "block_skill": control["block_worst"],
        "kappa_error": control["kappa_error"],
        "passed": passed(control["block_worst"], control["kappa_error"]),
        "bars": {"block_skill": SKILL, "kappa_error": KAPPA},
        "control": control,
        "departures": [
            {"departure": departure, "value": value, "seeds": len(rows), **_pooled(rows)}
            for (departure, value), rows in groups.items()
        ],
    }


def _pooled(rows: Sequence[Json]) -> Json:
    """Means over seeds with their standard errors, and the assumptions blamed most often."""
    pooled: Json = {name: _mean([row[name] for row in rows]) for name in SCORES}
    blamed = Counter(row["blamed"] for row in rows if row["blamed"])
    return {
        **pooled,
        "block_residual": float(np.mean([r["block_residual"] for r in rows])),
        "blamed": dict(blamed.most_common()),
    }


def _mean(values: Sequence[float | None]) -> Json:
    usable = np.array([v for v in values if v is not None], dtype=np.float64)
    error = float(usable.std(ddof=1) / np.sqrt(usable.size)) if usable.size > 1 else None
    return {"value": float(usable.mean()) if usable.size else None, "error": error}


def passed(skill: float | None, kappa_error: float) -> bool:
    """Whether the known answer came out: every quantity predicted, the constants exact to float32 rounding."""
    return skill is not None and skill >= SKILL and kappa_error <= KAPPA


def cell_row(cell: Cell, kernels: Sequence[Json], comparison: Json) -> Json:
    """What one run gave.

    Args:
        cell: the run.
        kernels: rows of what was measured at its snapshots, the first at the start.
        comparison: its comparison.json.

    Returns:
        block residual at the start; skill on M and H2 of three constants, of the traced kernel and of the
        best rung; the lowest skill of three constants on any quantity; relative error of the constants, for the
        known answer only; the assumption that costs most.
    """
    window = next(w for w in comparison["windows"] if w["leading"])
    rungs = {r["name"]: r for r in window["rungs"] if not r["modifications"] and not r["refused"]}
    best = max(rungs, key=lambda name: _value(rungs[name], "M") or 0.0, default="block")
    scores = {
        f"{short}_{quantity}": _value(rungs.get(name), quantity)
        for short, name in (("block", "block"), ("traced", "sample"), ("best", best))
        for quantity in ("M", "H2")
    }
    return {
        "block_residual": kernels[0]["block_residual"],
        **scores,
        "block_worst": _worst(rungs.get("block")),
        "kappa_error": _kappa_error(cell, kernels) if cell.departure == "none" else None,
        "blamed": _blamed(window),
        "constants": {name: kernels[0][name] for name in CONSTANTS},
    }


def _value(rung: Json | None, quantity: str) -> float | None:
    if rung is None:
        return None
    value: float | None = (rung["skill"].get(quantity) or {}).get("value")
    return value


def _worst(rung: Json | None) -> float | None:
    if rung is None:
        return None
    values = [_value(rung, name) for name in rung["skill"] if name != "uncentred"]
    return min((v for v in values if v is not None), default=None)


def _kappa_error(cell: Cell, kernels: Sequence[Json]) -> float:
    data = cell.config.data
    errors = [abs(row[name] / getattr(data, name) - 1) for row in kernels for name in CONSTANTS]
    return float(max(errors))


def _blamed(window: Json) -> str | None:
    """The assumption of the chain that costs most, if it costs a twentieth of the error and a thousandth in all."""
    costs = [row for row in window["attribution"] if row.get("chain", True) and row["cost"] is not None]
    block = next(
        (_value(r, "M") for r in window["rungs"] if r["name"] == "block" and not r["modifications"]), None
    )
    bar = max(0.001, 0.05 * (1 - (block or 0.0)))
    worst = max(costs, key=lambda row: row["cost"], default=None)
    return str(worst["assumption"]) if worst is not None and worst["cost"] > bar else None
