"""Several compared runs that differ in their seed alone: every score over the seeds, the cheapest rung of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs.border.reading import read_json, reading
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.ladder.export import QUANTITIES, short
from ntkflow_validation.runs.rundir import COMPARISON, REPEAT, RunDirectory, first_difference

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
        comparison: as `export.short` leaves it.
    """

    name: str
    seed: int
    config: Json
    comparison: Json

    @property
    def windows(self) -> dict[str, Json]:
        """By name; "step N" has another N in every run and is called middle."""
        found = self.comparison["windows"]
        return {w["name"] if w["name"] in ("early", "late") else "middle": w for w in found}


def read(path: Path | str) -> SeedRun:
    """A run directory that was compared, or what `ntkflow validate frontier --to` wrote of one.

    Raises:
        InputError: there is no comparison in it, it does not say of which configuration, or has several middle windows.
    """
    path = Path(path)
    if path.is_dir():
        run = RunDirectory.open(path)
        comparison = run.compared("runs")
        with reading("runs", path / COMPARISON, "a comparison", REPEAT):
            comparison = short(comparison)
        config, name = run.config.to_dict(), run.path.resolve().name
    else:
        comparison, name = _document(path), path.stem.removesuffix("-ladder")
        # Complete, also where the file is older than one of its settings.
        config = RunConfig.from_dict(comparison["config"]).to_dict()
    between = [w["name"] for w in comparison["windows"] if w["name"] not in ("early", "late")]
    if len(between) > 1:
        raise InputError(
            "runs",
            path,
            f"has several windows between early and late ({', '.join(between)})",
            "keep one of them",
        )
    found = SeedRun(name, config["seed"], {k: v for k, v in config.items() if k != "seed"}, comparison)
    # Put beside itself, so that whatever is wrong with it is said here, with its name.
    with reading("runs", path, "a comparison", REPEAT):
        for window, content in found.windows.items():
            _window(window, (found.seed, found.seed + 1), (content, content))
    return found


def _document(path: Path) -> Json:
    found = read_json(
        path, "runs", "give a run directory", {"windows?": [{"name": str, "rungs": [{"name": str}]}]}
    )
    # What this module writes has windows too, but of several versions and without a seed.
    if not found.get("windows") or not {"config", "version"} <= set(found):
        raise InputError(
            "runs",
            path,
            "holds no windows with their configuration",
            "write it by `ntkflow validate frontier --to`",
        )
    return found


def over_seeds(runs: Sequence[SeedRun]) -> Json:
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
    seeds = [run.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise InputError("runs", seeds, "repeat a seed: the same run again says nothing", REMEDY)
    names = [name for name in ("early", "middle", "late") if any(name in run.windows for run in runs)]
    return {
        "seeds": seeds,
        "runs": [run.name for run in runs],
        "versions": [run.comparison["version"] for run in runs],
        "meaning": MEANING,
        "design_seed": DESIGN_SEED,
        "config": runs[0].config,
        "windows": [_window(name, seeds, [run.windows.get(name) for run in runs]) for name in names],
    }


def _window(name: str, seeds: Sequence[int], windows: Sequence[Json | None]) -> Json:
    def of_each(take: Any) -> list[Any]:
        return [None if w is None else take(w) for w in windows]

    rungs = [{} if w is None else {_key(r): r for r in w["rungs"]} for w in windows]
    costs = [{} if w is None else {_ends(c): c for c in w["attribution"]} for w in windows]
    return {
        "name": name,
        "steps": of_each(lambda w: [w["step"], w["last_step"]]),
        "loss": of_each(lambda w: [w["loss"]["first"], w["loss"]["last"]]),
        "cheapest": of_each(lambda w: w["cheapest"]),
        "threshold": next(w["threshold"] for w in windows if w is not None),
        "rungs": [_rung(key, seeds, [r.get(key) for r in rungs]) for key in _union(rungs)],
        "attribution": [_cost(ends, [c.get(ends) for c in costs]) for ends in _union(costs)],
    }


def _key(rung: Mapping[str, Any]) -> tuple[str, ...]:
    return rung["name"], *rung["modifications"]


def _ends(cost: Mapping[str, Any]) -> tuple[str, ...]:
    return cost["assumption"], cost["from"], cost["to"]


def _union(tables: Sequence[Mapping[tuple[str, ...], Any]]) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(key for table in tables for key in table))


def _rung(key: tuple[str, ...], seeds: Sequence[int], found: Sequence[Json | None]) -> Json:
    held = seeds if key[0].startswith(DESIGNED) else None
    base = {
        "name": key[0],
        "modifications": list(key[1:]),
        "constants": [None if r is None else r["constants"] for r in found],
        "skill": {q: spread([_skill(r, q) for r in found], held) for q in QUANTITIES},
    }
    reasons = {r["refused"] for r in found if r and r["refused"]}
    if reasons:
        base["refused"] = "; ".join(sorted(reasons))
    if key[1:]:
        return base
    instant = {
        part: {of: spread([_instant(r, part, of) for r in found], held) for of in ("cosine", "error")}
        for part in PARTS
    }
    return {**base, "instantaneous": instant}


def _skill(rung: Json | None, quantity: str) -> float | None:
    return rung["skill"][quantity][0] if rung and rung["skill"] else None


def _instant(rung: Json | None, part: str, of: str) -> float | None:
    motion = rung["instantaneous"][part] if rung and rung["instantaneous"] else None
    return motion[of] if motion else None


def _cost(ends: tuple[str, ...], found: Sequence[Json | None]) -> Json:
    return {
        **dict(zip(("assumption", "from", "to"), ends, strict=True)),
        **spread([None if c is None else c["cost"] for c in found]),
    }


def spread(values: Sequence[float | None], seeds: Sequence[int] | None = None) -> Json:
    """Values, mean and standard deviation; with `seeds` the mean without the seed that was looked at."""
    known = [v for v in values if v is not None]
    whole = len(known) == len(values)
    found: Json = {
        "values": list(values),
        "mean": _short(np.mean(known)) if whole else None,
        "sd": _short(np.std(known, ddof=1)) if whole else None,
    }
    if seeds is not None and DESIGN_SEED in seeds:
        others = [v for v, seed in zip(values, seeds, strict=True) if seed != DESIGN_SEED]
        found["untouched"] = _short(np.mean(others)) if None not in others else None  # type: ignore[arg-type]
    return found


def _short(value: Any) -> float:
    return float(f"{value:.4g}")


def table(document: Json) -> list[str]:
    """Lines: for each window the cheapest rung of each seed, then every rung's skill on M by seed and over seeds."""
    seeds, lines = document["seeds"], []
    for window in document["windows"]:
        spans = [f"{s}: {_span(at)}" for s, at in zip(seeds, window["steps"], strict=True)]
        lines.append(f"{window['name']}: steps by seed {', '.join(spans)}")
        cheapest = ", ".join(f"{s}: {c or 'none'}" for s, c in zip(seeds, window["cheapest"], strict=True))
        lines.append(f"  cheapest with skill {window['threshold']} by seed: {cheapest}")
        each = "".join(f"{f'seed {s}':>9}" for s in seeds)
        head = f"{each}{'M, mean +- sd':>18}{'untouched':>11}{'H2, mean +- sd':>18}{'cos dM, mean +- sd':>20}"
        lines.append(f"  {'rung':<24}{'constants':>12}{head}")
        lines += [_line(rung) for rung in window["rungs"] if any(v is not None for v in _of(rung)["values"])]
        lines.append("  what each assumption costs in skill on M, mean +- sd over seeds:")
        lines += [
            f"    {_mean(cost):>16}  {cost['assumption']} ({cost['to']})" for cost in window["attribution"]
        ]
    return lines


def _of(rung: Json, quantity: str = "M") -> Json:
    found: Json = rung["skill"][quantity]
    return found


def _line(rung: Json) -> str:
    cosine = rung["instantaneous"]["M"]["cosine"] if "instantaneous" in rung else {"mean": None}
    constants = list(dict.fromkeys(c for c in rung["constants"] if c is not None))
    count = str(constants[0]) if len(constants) == 1 else f"{min(constants)}-{max(constants)}"
    found = _of(rung)
    each = "".join(f"{_number(v):>9}" for v in found["values"])
    untouched = _number(found.get("untouched"))
    scores = f"{each}{_mean(found):>18}{untouched:>11}{_mean(_of(rung, 'H2')):>18}{_mean(cosine):>20}"
    return f"  {rung['name']:<24}{count:>12}{scores}  {', '.join(rung['modifications'])}".rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _mean(found: Json) -> str:
    return "-" if found["mean"] is None else f"{found['mean']:.3g} +- {found['sd']:.2g}"


def _span(steps: Sequence[int] | None) -> str:
    return "none" if steps is None else f"{steps[0]} to {steps[1]}"
