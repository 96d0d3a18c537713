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
    ComparedShape,
    ComparedWindow,
    Conserved,
    Cost,
    Ends,
    Motion,
    Numbers,
    Point,
    Rates,
    Samples,
    Skill,
)

QUANTITIES = ("M", "H2", "F_centred", "W", "b", "residual_global", "residual_class", "residual_individual")
PARTS = ("M", "within", "global", "off_row_space")
# Value and error by quantity.
Pairs = Mapping[str, tuple[float | None, float | None]]


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
        skill_until: the same down to each share of the class residual.
        start: only of the flow.
    """

    name: str
    constants: int
    modifications: tuple[str, ...]
    refused: str | None
    skill: Pairs | None
    invariant: Conserved | None = None
    draws: Numbers | None = field(default=None, metadata=SPARSE)
    skill_until: Mapping[str, Pairs] | None = field(default=None, metadata=SPARSE)
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
    until: Mapping[str, int] | None = field(default=None, metadata=SPARSE)
    class_residual: Ends | None = field(default=None, metadata=SPARSE)
    accuracy: Ends | None = field(default=None, metadata=SPARSE)
    shape: ComparedShape | None = field(default=None, metadata=SPARSE)
    baselines: tuple[KeptRung, ...] | None = field(default=None, metadata=SPARSE)
    tests: str | None = field(default=None, metadata=SPARSE)

    @property
    def all_rungs(self) -> tuple[KeptRung, ...]:
        """See `ComparedWindow`."""
        return (*(self.baselines or ()), *self.rungs)


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
    own = ("rungs", "baselines")
    same = {f.name: getattr(window, f.name) for f in fields(KeptWindow) if f.name not in own}
    rungs, nulls = ([_rung(rung) for rung in found or ()] for found in (window.rungs, window.baselines))
    return KeptWindow(**same, rungs=tuple(rungs), baselines=tuple(nulls) or None)


def _rung(rung: ComparedRung) -> KeptRung:
    skill, instant, seen, nothing = rung.skill, rung.instantaneous, rung.finite_difference, Motion(None, None)
    until = rung.skill_until
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
        skill=_pairs({q: skill.on(q) for q in QUANTITIES}) if skill else None,
        invariant=rung.invariant,
        draws=rung.draws or None,
        skill_until=None if until is None else {share: _pairs(found) for share, found in until.items()},
        start=None if rung.modifications else start,
    )


def _pairs(found: Mapping[str, Skill]) -> Pairs:
    return {q: (score.value, score.error) for q, score in found.items()}


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
    "M, of the centred outputs Fc, of the class residual Rc and of the deviations from the class means H2, 1 is exact and 0 no",
    "better than no change; +-: standard error of the skill on M over the observed samples; *: nothing with as few constants is",
    "better. The first rows know nothing of the kernel, or of classes in it: what predicts no better tests nothing.",
)


def table(windows: Sequence[ComparedWindow]) -> list[str]:
    """Lines: for each window every rung with its constants, cosine and error of dM at the start, skill on M."""
    lines = []
    for window in windows:
        first, last = (_number(value, 4) for value in (window.loss.first, window.loss.last))
        lines.append(
            f"{window.name}: steps {window.step} to {window.last_step}, loss {first} to {last}{_learnt(window)}; "
            f"cheapest with skill {window.threshold}: {window.cheapest or 'none'}"
        )
        best = [(point.rung, point.skill) for point in window.frontier if point.best]
        lines.append(
            f"  {'rung':<18}{'constants':>12}"
            + "".join(
                f"{name:>11}"
                for name in ("cos dM", "err dM", "skill M", "+-", "skill Fc", "skill Rc", "skill H2")
            )
        )
        lines += [_line(rung, best) for rung in window.all_rungs if rung.skill]
        said = (*_until(window), *_foretold(window), window.tests, window.clock)
        lines += [f"  {line}" for line in said if line]
    return [*lines, *LEGEND] if lines else lines


def _learnt(window: ComparedWindow) -> str:
    """Class residual and accuracy at both ends; nothing of files of before."""
    if window.class_residual is None or window.accuracy is None:
        return ""
    ends = window.class_residual, window.accuracy
    (a, b), (c, d) = ((_number(x.first), _number(x.last)) for x in ends)
    return f", class residual {a} to {b}, train accuracy {c} to {d}"


def _until(window: ComparedWindow) -> list[str]:
    """Skill on M of the first rung and the baselines down to each share of the class residual."""
    first = window.rungs[:1]
    lines = []
    for share, step in (window.until or {}).items():
        # A document of other hands may have a share in one rung and not in the next.
        known = (
            (r.name, (r.skill_until or {}).get(share, {}).get("M"))
            for r in (*first, *(window.baselines or ()))
        )
        told = ", ".join(f"{name} {_number(skill.value)}" for name, skill in known if skill is not None)
        lines += [f"skill on M until |Rc|^2 is at {share} (step {step}): {told}"] if told else []
    return lines


def _foretold(window: ComparedWindow) -> list[str]:
    shape = window.shape
    if shape is None:
        return []
    names = ("block_residual", "cv", "leak", "iso", "drift")
    parts = ", ".join(f"{name.replace('_', ' ')} {_number(getattr(shape, name))}" for name in names)
    line = f"kernel: {parts}"
    line += "".join(f"; no {name}: {reason}" for name, reason in (shape.missing or {}).items())
    if shape.foretold:
        told = ", ".join(f"{1 - error:.2f} ({start})" for start, error in shape.foretold.items())
        line += f"; its shape foretells for three constants a skill on M of {shape.at_most}{told}"
    return [line]


def _line(rung: ComparedRung, best: Sequence[tuple[str, float | None]]) -> str:
    motion, skill = (rung.instantaneous or {}).get("M") or Motion(None, None), rung.score("M")
    others = (rung.score(q).value for q in ("F_centred", "residual_class", "H2"))
    numbers = (motion.cosine, motion.error, skill.value, skill.error, *others)
    label = rung.name + (" as trained" if rung.modifications else "")
    # By skill as well: a rung is also run with some of the modifications alone, and these are not on the frontier.
    mark = "*" if (label, skill.value) in best else " "
    scores = "".join(f"{_number(x):>11}" for x in numbers)
    return f" {mark}{rung.name:<18}{rung.constants:>12}{scores}  {', '.join(rung.modifications)}".rstrip()


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}g}"
