"""The documents of the study: one a run, and what all of them together say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.runs.border.records import SPARSE, document, read_record
from ntkflow.runs.files import write_json
from ntkflow_validation.metrics.compare import ratio
from ntkflow_validation.regimes.cells import Cell
from ntkflow_validation.runs.compared import ComparedRung, ComparedShape, ComparedWindow, Ends, Numbers

# What is scored in every document; the logarithm of NC1_tirer besides.
SCORED = ("M", "H2", "F_centred", "W", "residual_class")
LOG_NC1 = "ln_NC1"
DIGITS = 4
# The share of the squared class residual to which everything was stated.
LAST = "1/30"


@dataclass(frozen=True)
class Foretold:
    """What one rung, or a baseline, foretold of a run.

    Attributes:
        skill: until the class residual is at its share, by quantity; None where nothing changed.
        stepped: on M, where the rung takes the training's own steps instead of the flow.
        NC1: NC1_tirer along the window; of rungs.
        refused: why there is nothing.
    """

    skill: Mapping[str, float | None]
    stepped: float | None = field(default=None, metadata=SPARSE)
    NC1: Numbers | None = field(default=None, metadata=SPARSE)
    refused: str | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class RegimeRun:
    """The document of a run.

    Attributes:
        version: of the code.
        inputs, gamma, width, seed: see `Cell`.
        digest: of its settings; a document of others is made anew.
        settings: but those at their defaults.
        learning_rate: that was chosen.
        share: of the squared class residual at which scores stop, the smallest of 1/2, 1/10, 1/30 that was reached; None:
            not even the first, and there are no scores.
        step: where that is.
        steps, times: of the window's snapshots.
        NC1: NC1_tirer there.
        NC1_final: at the end of the training, beyond the window.
        accuracy: on the training samples, at both ends of the window.
        shape: of the kernel at the start; its drift to the end of the training.
        rungs, baselines: by name.
        ceiling: skill on M of descriptions of the analytic kernel at infinite width, by rung.
        seconds: of a processor that others used too.
        network: see `Cell`.
    """

    version: str
    inputs: str
    gamma: float
    width: int
    seed: int
    digest: str
    settings: Json
    learning_rate: float | None
    share: str | None
    step: int | None
    steps: tuple[int, ...]
    times: Numbers
    NC1: Numbers
    NC1_final: float | None
    accuracy: Ends | None
    shape: ComparedShape | None
    rungs: Mapping[str, Foretold]
    baselines: Mapping[str, Foretold]
    ceiling: Mapping[str, float]
    seconds: float
    network: str = field(default="mlp", metadata=SPARSE)

    @property
    def finished(self) -> bool:
        """Whether its scores are to the last share: those to another are of another window, and not averaged with them."""
        return self.share == LAST

    @property
    def kind(self) -> str:
        """What tells it apart from runs of the same gamma and width: inputs of MLPs, or another network."""
        return self.inputs if self.network == "mlp" else self.network

    @property
    def where(self) -> tuple[str, float, int]:
        """Kind, gamma and width."""
        return self.kind, self.gamma, self.width

    def skill(self, rung: str, quantity: str = "M") -> float:
        """Of a rung or baseline; NaN where there is none."""
        found = self.rungs.get(rung) or self.baselines.get(rung)
        value = None if found is None else found.skill.get(quantity)
        return float("nan") if value is None else value

    @property
    def NC1_end(self) -> float:
        """Where the window ends."""
        last = self.NC1[-1] if self.NC1 else None
        return float("nan") if last is None else last


def run_document(
    cell: Cell,
    window: ComparedWindow,
    ceiling: Mapping[str, float],
    learning_rate: float | None,
    NC1_final: float | None,
    seconds: float,
) -> RegimeRun:
    """What one run gave.

    Args:
        cell: the run.
        window: its comparison, from the start to the smallest share that was reached.
        ceiling: see `RegimeRun`.
        learning_rate, NC1_final, seconds: likewise.
    """
    until = window.until or {}
    share = min(until, key=_of_share, default=None)
    last = len(window.steps) if share is None else window.steps.index(until[share]) + 1
    seen = window.observed["NC1_tirer"][:last]
    flows = [r for r in window.rungs if not r.modifications]
    stepped = {r.name: r for r in window.rungs if r.modifications}
    return RegimeRun(
        version=__version__,
        inputs=cell.inputs,
        gamma=cell.gamma,
        width=cell.width,
        seed=cell.seed,
        digest=cell.digest,
        settings=cell.settings,
        learning_rate=_round(learning_rate),
        share=share,
        step=None if share is None else until[share],
        steps=window.steps[:last],
        times=_rounded(window.times[:last]),
        NC1=_rounded(seen),
        NC1_final=_round(NC1_final),
        accuracy=window.accuracy,
        shape=None if window.shape is None else _shape(window.shape),
        rungs={r.name: _foretold(r, stepped.get(r.name), share, seen) for r in flows},
        baselines={r.name: _foretold(r, None, share, seen, kept=False) for r in window.baselines or ()},
        ceiling={name: float(f"{value:.{DIGITS}g}") for name, value in ceiling.items()},
        seconds=round(seconds, 1),
        network=cell.network,
    )


def _foretold(
    rung: ComparedRung, stepped: ComparedRung | None, share: str | None, seen: Numbers, kept: bool = True
) -> Foretold:
    if rung.refused or share is None:
        return Foretold({}, refused=rung.refused or "the class residual did not halve")
    scores = (rung.skill_until or {}).get(share, {})
    skill = {q: _round(scores[q].value) for q in SCORED if q in scores}
    told = (rung.predicted or {}).get("NC1_tirer", ())[: len(seen)]
    skill[LOG_NC1] = _round(skill_of_logarithm(seen, told))
    others = {} if stepped is None else (stepped.skill_until or {}).get(share, {})
    return Foretold(
        skill,
        stepped=_round(others["M"].value) if "M" in others else None,
        NC1=_rounded(told) if kept else None,
    )


def skill_of_logarithm(seen: Numbers, told: Numbers) -> float | None:
    """1 - |ln told - ln seen|^2 / |ln seen - ln seen at the start|^2; None where a number is missing or not positive."""
    if len(seen) != len(told) or any(v is None or v <= 0 for v in (*seen, *told)):
        return None
    a, b = (np.log(np.array(values, dtype=np.float64)) for values in (seen, told))
    found = float(ratio(np.sum((b - a) ** 2), np.sum((a - a[0]) ** 2)))
    return found if np.isfinite(found) else None


def _of_share(name: str) -> float:
    numerator, denominator = name.split("/")
    return float(numerator) / float(denominator)


def _round(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.{DIGITS}g}")


def _rounded(values: Iterable[float | None]) -> Numbers:
    return tuple(_round(value) for value in values)


def _shape(shape: ComparedShape) -> ComparedShape:
    return ComparedShape(
        _round(shape.block_residual),
        _round(shape.cv),
        _round(shape.leak),
        _round(shape.iso),
        _round(shape.drift),
        {start: float(f"{error:.{DIGITS}g}") for start, error in shape.foretold.items()},
        shape.missing,
    )


def write(path: Path | str, found: RegimeRun) -> None:
    """A run's file, whole or not at all."""
    write_json(Path(path), document(found))


def read(path: Path | str) -> RegimeRun:
    """A run's file.

    Raises:
        InputError: it is damaged, or something else.
    """
    return read_record(Path(path), "regimes", "a run of the regime study", RegimeRun, "run the study again")


def read_all(folder: Path | str) -> list[RegimeRun]:
    """Every run in a folder, by name."""
    return [read(path) for path in sorted(Path(folder).glob("*-seed*.json"))]


def by_place(runs: Sequence[RegimeRun]) -> dict[tuple[str, float, int], list[RegimeRun]]:
    """The seeds of each kind, gamma and width."""
    found: dict[tuple[str, float, int], list[RegimeRun]] = {}
    for run in runs:
        found.setdefault(run.where, []).append(run)
    return found
