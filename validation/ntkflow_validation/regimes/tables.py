"""The tables of the study, in Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ntkflow_validation.regimes import convolutional
from ntkflow_validation.regimes.document import LAST, LOG_NC1, RegimeRun, by_place
from ntkflow_validation.regimes.expected import (
    ANALYTIC,
    BLOCK,
    CLASSES,
    EXPECTED,
    TRACED,
    Expectation,
    errors,
    explained,
    start_of,
)

TITLES = {
    "digits": "digits",
    "fashion-mnist": "Fashion-MNIST",
    "equalised": "digits, class means equalised",
    "collapsed": "features of a collapsed network",
    "flat": "flat",
    "pooled": "pooled",
}
RUNGS = {
    BLOCK: "three constants",
    CLASSES: "class constants",
    TRACED: "traced kernel",
    ANALYTIC: "analytic kernel",
}
BASELINES = {
    "constant-velocity": "constant velocity",
    "frozen-features": "frozen features",
    "no-class-structure": "no class structure",
}
VERDICTS = {True: "yes", False: "**no**", None: "not run"}

Of = Callable[[RegimeRun], float]


@dataclass(frozen=True)
class Part:
    """What is told of the runs of a part of the study.

    Attributes:
        heading: of what tells its kinds of runs apart.
        expected: what was stated of them.
        rungs: that were asked of them, with titles.
        has_limit: whether their kernel is known at infinite width.
    """

    heading: str
    expected: tuple[Expectation, ...]
    rungs: Mapping[str, str]
    has_limit: bool


MLPS = Part("inputs", EXPECTED, RUNGS, has_limit=True)
CONVOLUTIONAL = Part(
    "readout",
    convolutional.EXPECTED,
    {
        BLOCK: RUNGS[BLOCK],
        CLASSES: RUNGS[CLASSES],
        convolutional.NEURONS: "class constants of every neuron",
        TRACED: RUNGS[TRACED],
        convolutional.WHOLE: "whole tensor",
    },
    has_limit=False,
)


def tables(runs: Sequence[RegimeRun], part: Part = MLPS) -> str:
    """All of them; means and standard deviations over seeds."""
    head, rungs = part.heading, dict(part.rungs)
    frozen = {"frozen-features": BASELINES["frozen-features"]}
    parts = (
        _expected(runs, part),
        _places("Skill on the centred class means M", runs, _skills("M", {**rungs, **BASELINES}), head),
        *([_places("Infinite width, and steps", runs, _ceilings(), head)] if part.has_limit else []),
        _places("Skill on deviations within classes H2", runs, _skills("H2", rungs), head),
        _places("Skill on W", runs, _skills("W", {**rungs, **frozen}), head),
        _places("NC1, and skill on its logarithm", runs, _collapse(rungs), head),
        _places("The kernel at the start", runs, _shapes(part.has_limit), head),
        _law(runs),
    )
    return "\n".join(parts)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"### {title}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ""])


def _expected(runs: Sequence[RegimeRun], part: Part) -> str:
    # Of the widest, if that is the same in all rows.
    every = {e.width for e in part.expected}
    rows = [
        (
            TITLES[e.kind],
            f"{e.gamma:g}",
            *([] if len(every) == 1 else [str(e.width)]),
            e.words,
            e.said,
            spread(e.seeds(runs)),
            str(len(e.seeds(runs))),
            VERDICTS[e.holds(runs)],
        )
        for e in part.expected
    ]
    of = (f"quantity, width {max(every)}",) if len(every) == 1 else ("width", "quantity")
    head = (part.heading, "gamma", *of, "stated beforehand", "came out", "seeds", "holds")
    return _table("Expected, and what came out", head, rows)


def _places(title: str, runs: Sequence[RegimeRun], columns: dict[str, Of], heading: str) -> str:
    head = (heading, "gamma", "width", "seeds", "until", *columns)
    rows = [
        (
            TITLES[kind],
            f"{gamma:g}",
            str(width),
            str(len(seeds)),
            share or "-",
            *(spread(_each(of, seeds)) for of in columns.values()),
        )
        for (kind, gamma, width), share, seeds in in_order(runs)
    ]
    return _table(title, head, rows)


def in_order(
    runs: Sequence[RegimeRun],
) -> list[tuple[tuple[str, float, int], str | None, list[RegimeRun]]]:
    """Settings as pages show them: small starts first, kinds as in `TITLES`, narrow before wide.

    Seeds whose scores stop at different shares of the class residual are apart: they are of different windows.
    """
    known = list(TITLES)
    places = sorted(by_place(runs).items(), key=lambda p: (-p[0][1], known.index(p[0][0]), p[0][2]))
    found = []
    for place, seeds in places:
        shares = sorted({run.share for run in seeds}, key=lambda share: (share != LAST, share or ""))
        found += [(place, share, [run for run in seeds if run.share == share]) for share in shares]
    return found


def _each(of: Of, seeds: Sequence[RegimeRun]) -> np.ndarray:
    values = np.array([of(run) for run in seeds], dtype=np.float64)
    return values[np.isfinite(values)]


def spread(values: np.ndarray) -> str:
    """Mean and standard deviation over seeds."""
    if not values.size:
        return "-"
    # + 0: no number is minus nothing.
    mean = f"{round(values.mean(), 3) + 0:.3f}" if abs(values.mean()) < 10 else f"{values.mean():.3g}"
    return mean if values.size == 1 else f"{mean} ± {values.std(ddof=1):.2g}"


def _skills(quantity: str, names: dict[str, str]) -> dict[str, Of]:
    def of(name: str) -> Of:
        return lambda run: run.skill(name, quantity)

    return {title: of(name) for name, title in names.items()}


def _ceilings() -> dict[str, Of]:
    def above(name: str) -> Of:
        return lambda run: run.ceiling.get(name, float("nan"))

    def stepped(run: RegimeRun) -> float:
        found = run.rungs.get(TRACED)
        value = None if found is None else found.stepped
        return float("nan") if value is None else value

    return {
        "three constants at infinite width": above(BLOCK),
        "class constants at infinite width": above(CLASSES),
        "traced kernel with the training's own steps": stepped,
    }


def _collapse(rungs: Mapping[str, str]) -> dict[str, Of]:
    def of(name: str) -> Of:
        return lambda run: run.skill(name, LOG_NC1)

    def last(run: RegimeRun) -> float:
        return float("nan") if run.NC1_final is None else run.NC1_final

    start: dict[str, Of] = {
        "NC1 at the start": lambda run: run.NC1[0] if run.NC1 and run.NC1[0] is not None else float("nan"),
        "where scores stop": lambda run: run.NC1_end,
        "at the end of the training": last,
    }
    # Features that stand still leave NC1 where it is: of these nothing is to be said.
    moving = {name: title for name, title in BASELINES.items() if name != "frozen-features"}
    return start | {f"ln NC1, {title}": of(name) for name, title in {**rungs, **moving}.items()}


def _shapes(of_units: bool) -> dict[str, Of]:
    def of(name: str) -> Of:
        def value(run: RegimeRun) -> float:
            found = None if run.shape is None else getattr(run.shape, name)
            return float("nan") if found is None else found

        return value

    def scaled(run: RegimeRun) -> float:
        n: int = run.settings["model"]["features"]
        return float(of("iso")(run) ** 2 * run.width / n)

    return {
        "cv": of("cv"),
        "leak": of("leak"),
        "iso": of("iso"),
        # Of networks whose width is the number of units before the readout.
        **({"iso^2 w/n": scaled} if of_units else {}),
        "drift": of("drift"),
        "residual of the blocks": of("block_residual"),
    }


def _law(runs: Sequence[RegimeRun]) -> str:
    rows = []
    for gamma in sorted({run.gamma for run in runs}, reverse=True):
        _, seen, told = errors(runs, gamma)
        if len(seen):
            off = told - seen
            rows.append(
                (
                    f"{gamma:g} ({start_of(gamma)})",
                    str(len(seen)),
                    f"{explained(seen, told):.2f}",
                    f"{np.median(np.abs(off)):.3f}",
                    f"{np.abs(off).max():.3f}",
                    f"{off.mean():+.3f}",
                )
            )
    head = (
        "gamma",
        "runs",
        "R^2 of the law as it stands",
        "median error",
        "largest",
        "mean (foretold less observed)",
    )
    return _table("Error of three constants on M: the law of cv, leak and iso", head, rows)
