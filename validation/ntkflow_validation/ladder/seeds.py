"""Several compared runs that differ in their seed alone: every score over the seeds, the cheapest rung of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs.border.records import INLINE, SPARSE, key
from ntkflow_validation.config.recorded import config_of
from ntkflow_validation.ladder.export import QUANTITIES, KeptRun, KeptRung, KeptWindow, read_kept, short
from ntkflow_validation.runs.compared import Numbers
from ntkflow_validation.runs.documents import first_difference
from ntkflow_validation.runs.rundir import RunDirectory

T = TypeVar("T")
K = TypeVar("K")

PARTS = ("M", "within", "off_row_space")
# Rungs that follow the residual were designed while looking at runs of this seed: the others are untouched data.
DESIGN_SEED = 0
DESIGNED = ("rayleigh", "krylov-", "residual-", "components")
REMEDY = "train with --seed, then `ntkflow validate compare`"
MEANING = {
    "values": "one for each seed, in the order of `seeds`; null where the rung was refused or the window is missing",
    "mean, sd": "over seeds, sd with n - 1; null unless every seed has a value",
    "untouched": f"mean over the seeds other than {DESIGN_SEED}, for rungs that were designed while looking at runs "
    f"of seed {DESIGN_SEED}: {', '.join(name + '*' * name.endswith('-') for name in DESIGNED)}",
    "windows": "matched by name; `middle` is whatever lies between early and late, at other steps for other seeds",
}


@dataclass(frozen=True, eq=False)
class SeedRun:
    """One compared run.

    Attributes:
        name: of its directory or file.
        seed: its seed.
        config: everything else that it was configured with.
        comparison: without its series.
    """

    name: str
    seed: int
    config: Json
    comparison: KeptRun

    @property
    def windows(self) -> dict[str, KeptWindow]:
        """By name; "step N" has another N in every run and is called middle."""
        return {w.name if w.name in ("early", "late") else "middle": w for w in self.comparison.windows}


@dataclass(frozen=True)
class Spread:
    """A score over seeds.

    Attributes:
        values: one for each seed.
        mean, sd: over them; None unless every seed has a value.
    """

    values: Numbers
    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class HeldOut(Spread):
    """Of a rung that was designed on a seed: also the mean without that seed."""

    untouched: float | None


@dataclass(frozen=True)
class SeedRung:
    """A rung over seeds; each of its lists has an entry for each of them."""

    name: str
    modifications: tuple[str, ...]
    constants: tuple[int | None, ...]
    skill: Mapping[str, Spread]
    refused: str | None = field(default=None, metadata=SPARSE)
    instantaneous: Mapping[str, Mapping[str, Spread]] | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class SeedCost:
    """What an assumption costs over seeds; see `Cost`."""

    assumption: str
    start: str = field(metadata=key("from"))
    end: str = field(metadata=key("to"))
    over: Spread = field(metadata=INLINE)


@dataclass(frozen=True)
class SeedWindow:
    """The windows of one name; each of its lists has an entry for each seed."""

    name: str
    steps: tuple[tuple[int, int] | None, ...]
    loss: tuple[tuple[float | None, float | None] | None, ...]
    cheapest: tuple[str | None, ...]
    threshold: float
    rungs: tuple[SeedRung, ...]
    attribution: tuple[SeedCost, ...]


@dataclass(frozen=True)
class OverSeeds:
    """NAME-seeds.json."""

    command: str
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    versions: tuple[str, ...]
    meaning: Mapping[str, str]
    design_seed: int
    config: Json
    windows: tuple[SeedWindow, ...]


def read(path: Path | str) -> SeedRun:
    """A run directory that was compared, or what `ntkflow validate frontier --to` wrote of one.

    Raises:
        InputError: there is no comparison in it, it does not say of which configuration, or has several middle windows.
    """
    path = Path(path)
    if path.is_dir():
        run = RunDirectory.open(path)
        comparison = short(run.compared("runs"))
        config, name, remedy = run.config, run.path.resolve().name, "run `ntkflow validate compare` first"
    else:
        kept = read_kept(
            path, "runs", "give a run directory, or what `ntkflow validate frontier --to` writes"
        )
        # Complete, also where the file is older than one of its settings.
        name, remedy = path.stem.removesuffix("-ladder"), "write it by `ntkflow validate frontier --to`"
        if kept.config is None:
            raise InputError("runs", path, "does not say of which configuration it is", remedy)
        comparison, config = kept.run, config_of(kept.config)
    if comparison is None or not comparison.windows:
        raise InputError("runs", path, "has no comparison", remedy)
    between = [w.name for w in comparison.windows if w.name not in ("early", "late")]
    if len(between) > 1:
        several = f"has several windows between early and late ({', '.join(between)})"
        raise InputError("runs", path, several, "keep one of them")
    settings = config.stated()
    if "seed" not in settings:
        raise InputError("runs", path, "was recorded from another program, and has no seed", REMEDY)
    return SeedRun(name, settings.pop("seed"), settings, comparison)


def over_seeds(runs: Sequence[SeedRun]) -> OverSeeds:
    """All scores over the seeds.

    Raises:
        InputError: fewer than two runs, a seed twice, or runs that differ in more than the seed.
    """
    if len(runs) < 2:
        raise InputError("runs", len(runs), "must be at least two, of different seeds", REMEDY)
    for run in runs[1:]:
        other = first_difference(runs[0].config, run.config)
        if other is not None:
            raise InputError(
                "runs", run.name, f"differs from {runs[0].name} in {other}", "give runs of one recipe"
            )
    seeds = tuple(run.seed for run in runs)
    if len(set(seeds)) < len(seeds):
        raise InputError("runs", list(seeds), "repeat a seed: the same run again says nothing", REMEDY)
    names = [name for name in ("early", "middle", "late") if any(name in run.windows for run in runs)]
    return OverSeeds(
        command=f"ntkflow validate seeds {' '.join(run.name for run in runs)}",
        seeds=seeds,
        runs=tuple(run.name for run in runs),
        versions=tuple(run.comparison.version for run in runs),
        meaning=MEANING,
        design_seed=DESIGN_SEED,
        config=runs[0].config,
        windows=tuple(_window(name, seeds, [run.windows.get(name) for run in runs]) for name in names),
    )


def _window(name: str, seeds: Sequence[int], windows: Sequence[KeptWindow | None]) -> SeedWindow:
    def of_each(take: Callable[[KeptWindow], T]) -> tuple[T | None, ...]:
        return tuple(None if w is None else take(w) for w in windows)

    rungs = [{} if w is None else {(r.name, *r.modifications): r for r in w.all_rungs} for w in windows]
    costs = [{} if w is None else {(c.assumption, c.start, c.end): c for c in w.attribution} for w in windows]
    return SeedWindow(
        name=name,
        steps=of_each(lambda w: (w.step, w.last_step)),
        loss=of_each(lambda w: (w.loss.first, w.loss.last)),
        cheapest=of_each(lambda w: w.cheapest),
        threshold=next(w.threshold for w in windows if w is not None),
        rungs=tuple(_rung(name, seeds, [r.get(name) for r in rungs]) for name in _union(rungs)),
        attribution=tuple(
            SeedCost(*ends, spread([c[ends].cost if ends in c else None for c in costs]))
            for ends in _union(costs)
        ),
    )


def _union(tables: Sequence[Mapping[K, object]]) -> list[K]:
    return list(dict.fromkeys(name for table in tables for name in table))


def _rung(names: tuple[str, ...], seeds: Sequence[int], found: Sequence[KeptRung | None]) -> SeedRung:
    name, *modifications = names
    held = seeds if name.startswith(DESIGNED) else None
    reasons = {r.refused for r in found if r and r.refused}
    # What is said of the start stands with the flow alone, since it is the same for its modifications.
    parts = () if modifications else PARTS
    instant = {
        part: {of: spread([_instant(r, part, of) for r in found], held) for of in ("cosine", "error")}
        for part in parts
    }
    return SeedRung(
        name=name,
        modifications=tuple(modifications),
        constants=tuple(None if r is None else r.constants for r in found),
        skill={q: spread([_skill(r, q) for r in found], held) for q in QUANTITIES},
        refused="; ".join(sorted(reasons)) or None,
        instantaneous=instant or None,
    )


def _skill(rung: KeptRung | None, quantity: str) -> float | None:
    return rung.skill.get(quantity, (None, None))[0] if rung and rung.skill else None


def _instant(rung: KeptRung | None, part: str, of: str) -> float | None:
    motion = (rung.start.instantaneous or {}).get(part) if rung and rung.start else None
    return (motion.cosine if of == "cosine" else motion.error) if motion else None


def spread(values: Sequence[float | None], seeds: Sequence[int] | None = None) -> Spread:
    """Values, mean and standard deviation; with `seeds` the mean without the seed that was looked at."""
    known = [v for v in values if v is not None]
    # A mean over the seeds that happen to have a value would be of other networks from one rung to the next.
    whole = len(known) == len(values)
    mean, sd = (_short(np.mean(known)), _short(np.std(known, ddof=1))) if whole else (None, None)
    if seeds is None or DESIGN_SEED not in seeds:
        return Spread(tuple(values), mean, sd)
    others = [v for v, seed in zip(values, seeds, strict=True) if seed != DESIGN_SEED]
    rest = [v for v in others if v is not None]
    return HeldOut(tuple(values), mean, sd, _short(np.mean(rest)) if len(rest) == len(others) else None)


def _short(value: float | np.floating) -> float:
    return float(f"{value:.4g}")


def table(found: OverSeeds) -> list[str]:
    """Lines: for each window the cheapest rung of each seed, then every rung's skill on M by seed and over seeds."""
    seeds, lines = found.seeds, []
    for window in found.windows:
        spans = [f"{s}: {_span(at)}" for s, at in zip(seeds, window.steps, strict=True)]
        lines.append(f"{window.name}: steps by seed {', '.join(spans)}")
        cheapest = ", ".join(f"{s}: {c or 'none'}" for s, c in zip(seeds, window.cheapest, strict=True))
        lines.append(f"  cheapest with skill {window.threshold} by seed: {cheapest}")
        each = "".join(f"{f'seed {s}':>9}" for s in seeds)
        means = "".join(f"{f'{name}, mean +- sd':>18}" for name in ("Fc", "Rc", "H2"))
        head = f"{each}{'M, mean +- sd':>18}{'untouched':>11}{means}{'cos dM, mean +- sd':>20}"
        lines.append(f"  {'rung':<24}{'constants':>12}{head}")
        lines += [_line(rung) for rung in window.rungs if any(v is not None for v in rung.skill["M"].values)]
        lines.append("  what each assumption costs in skill on M, mean +- sd over seeds:")
        lines += [
            f"    {_mean(cost.over):>16}  {cost.assumption} ({cost.end})" for cost in window.attribution
        ]
    return lines


def _line(rung: SeedRung) -> str:
    cosine = rung.instantaneous["M"]["cosine"] if rung.instantaneous else None
    constants = list(dict.fromkeys(c for c in rung.constants if c is not None))
    count = str(constants[0]) if len(constants) == 1 else f"{min(constants)}-{max(constants)}"
    M = rung.skill["M"]
    others = "".join(f"{_mean(rung.skill[q]):>18}" for q in ("F_centred", "residual_class", "H2"))
    each = "".join(f"{_number(v):>9}" for v in M.values)
    untouched = _number(M.untouched if isinstance(M, HeldOut) else None)
    scores = f"{each}{_mean(M):>18}{untouched:>11}{others}{_mean(cosine):>20}"
    return f"  {rung.name:<24}{count:>12}{scores}  {', '.join(rung.modifications)}".rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _mean(found: Spread | None) -> str:
    return "-" if found is None or found.mean is None else f"{found.mean:.3g} +- {found.sd:.2g}"


def _span(steps: tuple[int, int] | None) -> str:
    return "none" if steps is None else f"{steps[0]} to {steps[1]}"
