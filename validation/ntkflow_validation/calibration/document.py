"""calibration.json: what the known answer and the departures gave."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ntkflow import __version__
from ntkflow.problem.kernels import KAPPAS
from ntkflow.runs.border.records import INLINE, SPARSE
from ntkflow_validation.calibration.cells import STEP_TIMES_RATE, Cell
from ntkflow_validation.runs.compared import ComparedRun, ComparedRung, ComparedWindow, Skill
from ntkflow_validation.runs.documents import KernelRow

# The bars of the known answer: every quantity is predicted, the constants come back to float32 rounding.
SKILL, KAPPA = 0.999, 1e-6
# Of the kernel that moves: explicit steps leave half of step times rate of the way, and 1 - skill is a square.
MOVING_SKILL = 1 - (STEP_TIMES_RATE / 2) ** 2
# What moves of its network from an aligned start; the rest is rounding, which no prediction has.
MOVES = ("M", "F_centred", "W", "residual_class")
# Of three constants, the traced kernel and the rung that does best on M, each on the class means and within classes.
SCORES = ("block_M", "block_H2", "traced_M", "traced_H2", "best_M", "best_H2")


@dataclass(frozen=True)
class Moving:
    """The known answer of a kernel that moves: lowest skills on what moves, of three constants in three ways.

    Attributes:
        frozen: as measured at the start.
        mean: means over neurons, between the measured snapshots: wrong by the neurons that W does not read.
        weighted: weighted by W, between the measured snapshots: they have to reproduce the run.
        growth: of kappa_d, from the first measurement to the last.
    """

    frozen: float | None
    mean: float | None
    weighted: float | None
    growth: float


@dataclass(frozen=True)
class CellRow:
    """What one run gave.

    Attributes:
        block_residual: of the blocks at the start.
        scores: skills, by `SCORES`.
        block_worst: the lowest skill of three constants on any quantity.
        kappa_error: largest relative error of the constants; for the known answer only.
        blamed: the assumption that costs most.
        constants: at the start.
        moving: of the kernel that moves only.
    """

    block_residual: float
    scores: Mapping[str, float | None] = field(metadata=INLINE)
    block_worst: float | None
    kappa_error: float | None
    blamed: str | None
    constants: Mapping[str, float]
    moving: Moving | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class Departure:
    """One kind and amount, over its seeds.

    Attributes:
        departure, value: what was broken, and how far.
        seeds: how many.
        scores: their means with standard errors, by `SCORES`.
        block_residual: mean over seeds.
        blamed: how often each assumption.

    Raises:
        ValueError: a score is missing.
    """

    departure: str
    value: float
    seeds: int
    scores: Mapping[str, Skill] = field(metadata=INLINE)
    block_residual: float
    blamed: Mapping[str, int]

    def __post_init__(self) -> None:
        # Flat in the file, they are whatever else stands there; pages draw each of them.
        missing = [name for name in SCORES if name not in self.scores]
        if missing:
            raise ValueError(f"has no {missing[0]}")


@dataclass(frozen=True)
class Bars:
    """What the known answers have to reach."""

    block_skill: float
    kappa_error: float
    moving_skill: float | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class Calibration:
    """The whole file.

    Attributes:
        version, fingerprint: of the code that was calibrated.
        brief: whether most departures were left out.
        block_skill: lowest skill of three constants on the known answer.
        kappa_error: relative error of its constants.
        passed: whether they reach their bars, and the kernel that moves its own.
        bars: these.
        control: the known answer.
        departures: from it.
        moving: the known answer of a kernel that moves; calibrations of before have none.
    """

    version: str
    fingerprint: str
    brief: bool
    block_skill: float | None
    kappa_error: float
    passed: bool
    bars: Bars
    control: CellRow
    departures: tuple[Departure, ...]
    moving: Moving | None = field(default=None, metadata=SPARSE)


def calibration_document(found: Sequence[tuple[Cell, CellRow]], brief: bool, fingerprint: str) -> Calibration:
    """The whole calibration.

    Args:
        found: every cell with its row, the known answers first.
        brief: whether most departures were left out.
        fingerprint: of the source that was calibrated.
    """
    (_, control), *rest = found
    moving = next((row.moving for _, row in rest if row.moving is not None), None)
    others = [(cell, row) for cell, row in rest if row.moving is None]
    assert control.kappa_error is not None
    kinds = list(dict.fromkeys((cell.departure, cell.value) for cell, _ in others))
    groups = {kind: [row for cell, row in others if (cell.departure, cell.value) == kind] for kind in kinds}
    return Calibration(
        version=__version__,
        fingerprint=fingerprint,
        brief=brief,
        block_skill=control.block_worst,
        kappa_error=control.kappa_error,
        passed=passed(control.block_worst, control.kappa_error, moving),
        bars=Bars(SKILL, KAPPA, MOVING_SKILL),
        control=control,
        departures=tuple(_pooled(*kind, rows) for kind, rows in groups.items()),
        moving=moving,
    )


def _pooled(departure: str, value: float, rows: Sequence[CellRow]) -> Departure:
    """Means over seeds with their standard errors, and the assumptions blamed most often."""
    blamed = Counter(row.blamed for row in rows if row.blamed)
    return Departure(
        departure,
        value,
        len(rows),
        {name: _mean([row.scores[name] for row in rows]) for name in SCORES},
        float(np.mean([row.block_residual for row in rows])),
        dict(blamed.most_common()),
    )


def _mean(values: Sequence[float | None]) -> Skill:
    """Over the seeds that have a value; a seed whose rung was refused says nothing of the others."""
    usable = np.array([v for v in values if v is not None], dtype=np.float64)
    error = float(usable.std(ddof=1) / np.sqrt(usable.size)) if usable.size > 1 else None
    return Skill(float(usable.mean()) if usable.size else None, error)


def passed(skill: float | None, kappa_error: float, moving: Moving | None = None) -> bool:
    """Whether the known answers came out: every quantity predicted, the constants exact to float32 rounding."""
    follows = moving is None or (moving.weighted is not None and moving.weighted >= MOVING_SKILL)
    return skill is not None and skill >= SKILL and kappa_error <= KAPPA and follows


def cell_row(cell: Cell, kernels: Sequence[KernelRow], comparison: ComparedRun) -> CellRow:
    """What one run gave.

    Args:
        cell: the run.
        kernels: what was measured at its snapshots, the first at the start.
        comparison: of the run.
    """
    window, first = next(w for w in comparison.windows if w.leading), kernels[0]
    rungs = {r.name: r for r in window.rungs if not r.modifications and not r.refused}
    best = max(rungs.values(), key=lambda r: r.score("M").value or 0.0, default=None)
    block = rungs.get("block")
    scored = (block, rungs.get("sample"), best)
    assert first.block_residual is not None
    return CellRow(
        first.block_residual,
        dict(zip(SCORES, (_value(rung, q) for rung in scored for q in ("M", "H2")), strict=True)),
        _worst(block),
        _kappa_error(cell, kernels) if cell.departure == "none" else None,
        _blamed(window, _value(block, "M")),
        _constants(first),
        _moving(rungs, kernels) if cell.departure == "moving" else None,
    )


def _moving(rungs: Mapping[str, ComparedRung], kernels: Sequence[KernelRow]) -> Moving:
    first, last = kernels[0].kappa_d, kernels[-1].kappa_d
    assert first is not None
    assert last is not None
    return Moving(
        frozen=_worst(rungs.get("block"), MOVES),
        mean=_worst(rungs.get("block-in-time"), MOVES),
        weighted=_worst(rungs.get("weighted-block-in-time"), MOVES),
        growth=last / first,
    )


def _value(rung: ComparedRung | None, quantity: str) -> float | None:
    return None if rung is None else rung.score(quantity).value


def _worst(rung: ComparedRung | None, of: Sequence[str] | None = None) -> float | None:
    every = rung.skill.centred if rung is not None and rung.skill is not None else {}
    scores = every.values() if of is None else [every[name] for name in of if name in every]
    return min((s.value for s in scores if s.value is not None), default=None)


def _constants(row: KernelRow) -> dict[str, float]:
    return {name: getattr(row, name) for name in KAPPAS}


def _kappa_error(cell: Cell, kernels: Sequence[KernelRow]) -> float:
    data = cell.config.data
    return float(
        max(
            abs(value / getattr(data, name) - 1) for row in kernels for name, value in _constants(row).items()
        )
    )


def _blamed(window: ComparedWindow, block: float | None) -> str | None:
    """The assumption of the chain that costs most, if it costs a twentieth of the error and a thousandth in all.

    Below that the largest of several costs is the largest of their errors, and blames by lot.
    """
    costs = [(c.cost, c.assumption) for c in window.attribution if c.chain and c.cost is not None]
    worst = max(costs, key=lambda pair: pair[0], default=None)
    bar = max(0.001, 0.05 * (1 - (block or 0.0)))
    return worst[1] if worst is not None and worst[0] > bar else None
