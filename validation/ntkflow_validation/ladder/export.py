"""A comparison without its trajectories: what is kept as evidence, and the table that people read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from ntkflow._types import Json
from ntkflow.runs.border.records import INLINE, SPARSE, document, read_record, record
from ntkflow_validation.runs.compared import (
    ComparedKernel,
    ComparedRun,
    ComparedRung,
    ComparedWindow,
    Conserved,
    Cost,
    Ends,
    Motion,
    Numbers,
    Point,
    Rates,
    Samples,
)

QUANTITIES = ("M", "H2", "F_centred", "W", "b", "residual_global", "residual_class", "residual_individual")
PARTS = ("M", "within", "global", "off_row_space")


@dataclass(frozen=True)
class KeptStart:
    """What is said of a rung at the start of a window, the same for the flow and all modifications of it.

    Attributes:
        rates: of the decay of the residual's parts.
        instantaneous: dH/dt against the observed motion, by part.
        finite_difference_cosine: cosine with the difference of the first two snapshots.
    """

    rates: Mapping[str, Rates | None] | None
    instantaneous: Mapping[str, Motion | None] | None
    finite_difference_cosine: Mapping[str, float | None] | None


@dataclass(frozen=True)
class KeptRung:
    """A rung without its series.

    Attributes:
        name, constants, modifications, refused, invariant, draws: as in `ComparedRung`.
        skill: value and error by quantity.
        start: only of the flow.
    """

    name: str
    constants: int
    modifications: tuple[str, ...]
    refused: str | None
    skill: Mapping[str, tuple[float | None, float | None]] | None
    invariant: Conserved | None = None
    draws: Numbers | None = field(default=None, metadata=SPARSE)
    start: KeptStart | None = field(default=None, metadata=INLINE)


@dataclass(frozen=True)
class KeptWindow:
    """A window without its series; see `ComparedWindow`."""

    name: str
    step: int
    last_step: int
    leading: bool
    halved: bool
    loss: Ends
    step_times_rate: float | None
    samples: Samples
    attribution: tuple[Cost, ...]
    sentence: str | None
    frontier: tuple[Point, ...]
    cheapest: str | None
    threshold: float
    rungs: tuple[KeptRung, ...]


@dataclass(frozen=True)
class KeptRun:
    """A comparison without its series; see `ComparedRun`."""

    version: str
    deviations: tuple[str, ...]
    meaning: Mapping[str, str]
    refused: str | None
    kernels: tuple[ComparedKernel, ...]
    windows: tuple[KeptWindow, ...]


@dataclass(frozen=True)
class KeptFile:
    """NAME-ladder.json.

    Attributes:
        command: that compares the run again.
        config: of the run, nested plain values; a file of an earlier version may lack settings, or all of it.
        run: the comparison.
    """

    command: str
    config: Json | None = field(default=None, metadata=SPARSE)
    run: KeptRun = field(kw_only=True, metadata=INLINE)


def short(comparison: ComparedRun) -> KeptRun:
    """A comparison with scores, costs and the frontier, to four digits; no series."""
    windows = tuple(_window(window) for window in comparison.windows)
    kept = KeptRun(
        comparison.version,
        comparison.deviations,
        comparison.meaning,
        comparison.refused,
        comparison.kernels,
        windows,
    )
    return record(KeptRun, _rounded(document(kept)))


def _window(window: ComparedWindow) -> KeptWindow:
    same = {f.name: getattr(window, f.name) for f in fields(KeptWindow) if f.name != "rungs"}
    return KeptWindow(**same, rungs=tuple(_rung(rung) for rung in window.rungs))


def _rung(rung: ComparedRung) -> KeptRung:
    skill, instant, seen, nothing = rung.skill, rung.instantaneous, rung.finite_difference, Motion(None, None)
    start = KeptStart(
        rung.rates,
        {part: instant.get(part) for part in PARTS} if instant else None,
        {part: (seen.get(part) or nothing).cosine for part in PARTS} if seen else None,
    )
    return KeptRung(
        name=rung.name,
        constants=rung.constants,
        modifications=rung.modifications,
        refused=rung.refused,
        skill={q: (skill.on(q).value, skill.on(q).error) for q in QUANTITIES} if skill else None,
        invariant=rung.invariant,
        draws=rung.draws or None,
        start=None if rung.modifications else start,
    )


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def read_kept(path: Path | str, argument: str, remedy: str) -> KeptFile:
    """What `ntkflow validate frontier --to` wrote.

    Raises:
        InputError: it is something else.
    """
    return read_record(Path(path), argument, "a comparison", KeptFile, remedy)


def compact(text: str) -> str:
    """JSON with every innermost list and object on one line."""
    one = re.compile(r"([\[{])\n\s+([^\[\]{}]*?)\n\s+([\]}])")
    for _ in range(2):
        text = one.sub(lambda m: m[1] + re.sub(r"\n\s+", " ", m[2]) + m[3], text)
        one = re.compile(r"(\{)\n\s+((?:[^{}\[\]]|\[[^\[\]{}\n]*\])*?)\n\s+(\})")
    return text


# Of the columns of the table, below it.
LEGEND = (
    "cos dM, err dM: direction and relative error of the predicted motion of the centred class means M at the start; skill: of",
    "M, and of the deviations from the class means H2, 1 is exact and 0 no better than no change; +-: standard error of the",
    "skill on M over the observed samples; *: nothing with as few constants is better.",
)


def table(windows: Sequence[ComparedWindow]) -> list[str]:
    """Lines: for each window every rung with its constants, cosine and error of dM at the start, skill on M."""
    lines = []
    for window in windows:
        first, last = (_number(value, 4) for value in (window.loss.first, window.loss.last))
        lines.append(
            f"{window.name}: steps {window.step} to {window.last_step}, loss {first} to {last}; "
            f"cheapest with skill {window.threshold}: {window.cheapest or 'none'}"
        )
        best = [(point.rung, point.skill) for point in window.frontier if point.best]
        lines.append(
            f"  {'rung':<18}{'constants':>12}{'cos dM':>11}{'err dM':>11}{'skill M':>11}{'+-':>11}{'skill H2':>11}"
        )
        lines += [_line(rung, best) for rung in window.rungs if rung.skill]
        lines += [f"  {window.clock}"] if window.clock else []
    return [*lines, *LEGEND] if lines else lines


def _line(rung: ComparedRung, best: Sequence[tuple[str, float | None]]) -> str:
    motion, skill = (rung.instantaneous or {}).get("M") or Motion(None, None), rung.score("M")
    numbers = (motion.cosine, motion.error, skill.value, skill.error, rung.score("H2").value)
    label = rung.name + (" as trained" if rung.modifications else "")
    # By skill as well: a rung is also run with some of the modifications alone, and these are not on the frontier.
    mark = "*" if (label, skill.value) in best else " "
    scores = "".join(f"{_number(x):>11}" for x in numbers)
    return f" {mark}{rung.name:<18}{rung.constants:>12}{scores}  {', '.join(rung.modifications)}".rstrip()


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}g}"
