"""What made NC1 smaller, and what is foretold without Q: read of the runs afterwards, nothing was stated of it."""

from collections.abc import Mapping, Sequence

import numpy as np

from ntkflow_validation.studies.document import StudyRun
from ntkflow_validation.studies.outcomes import SEEN, foretold_ratio, rate, series, time_ratio

# By run, then a number; NaN where there is none.
Values = Mapping[str, float]


def forgotten(run: StudyRun, rate: float = 2.0) -> np.ndarray:
    """A baseline of what Q foretells: the invisible variability of the start, times e^(-rate int lambda dt), and nothing else."""
    found: np.ndarray = series(run, "invisible")[0] * np.exp(-rate * np.array(run.decay, dtype=np.float64))
    return found


def baselines(runs: Sequence[StudyRun]) -> dict[str, Values]:
    """What Q of the start foretells beside baselines: of the invisible variability, and of the time of collapse.

    Three know nothing of Q: the start times the clock of Q, the same twice as fast (the activations below decay too), and the
    activations as they are with a Q that is kept, not forgotten.
    """
    own = [run for run in runs if "foretold" in run.series]
    told = {
        "from Q(0)": {r.name: series(r, "foretold") for r in own},
        "e^(-2λt)": {r.name: forgotten(r) for r in own},
        "e^(-4λt)": {r.name: forgotten(r, 4.0) for r in own},
        "Q(0) kept": {
            r.name: series(r, "foretold") * np.exp(2 * np.array(r.decay, dtype=np.float64)) for r in own
        },
    }
    timed = [r for r in own if r.value]
    return {
        **{
            f"over seen, {word}": {r.name: foretold_ratio(r, of[r.name]) for r in own}
            for word, of in told.items()
        },
        **{
            f"furthest off, {word}": {r.name: furthest(r, of[r.name]) for r in own}
            for word, of in told.items()
        },
        **{
            f"time, {word}": {r.name: time_ratio(r, told[word][r.name]) for r in timed}
            for word in list(told)[:3]
        },
    }


def furthest(run: StudyRun, told: np.ndarray) -> float:
    """The ratio of foretold to seen that is furthest from 1, as far as the invisible variability is at a share of its start."""
    seen = series(run, "invisible")
    kept = seen >= SEEN * seen[0]
    ratios = told[kept] / seen[kept]
    return float(ratios[np.argmax(np.abs(np.log(ratios)))])


def fallen(runs: Sequence[StudyRun]) -> dict[str, Values]:
    """By what factor NC1 fell, and which share of that, in logarithms, is the variability within classes, tr S.

    NC1_tirer is tr S over that between classes; the rest of its fall is class means that move apart. Both depend on the scale of
    H, which NC1 does not see: a share is not of NC1 alone. From the start of a run to its end; and at the ends, against the run
    of the same seed without decay.
    """
    return {
        "NC1 at the start over its end": {r.name: _ratio(r, r, "NC1", 0) for r in runs},
        "share of tr S in that fall": {r.name: _share(r, r, 0) for r in runs},
        "NC1 without decay over with": {r.name: _ratio(r, t, "NC1", -1) for r, t in _pairs(runs)},
        "share of tr S in that quotient": {r.name: _share(r, t, -1) for r, t in _pairs(runs)},
        "tr S between classes over no decay": {
            r.name: _ratio(r, t, "NC1", -1) / _within(r, t, -1) for r, t in _pairs(runs)
        },
    }


def _pairs(runs: Sequence[StudyRun]) -> list[tuple[StudyRun, StudyRun]]:
    """Runs with decay, each with the one of the same network, seed and rate that has none."""
    without = {_place(run): run for run in runs if not run.value}
    return [(run, without[_place(run)]) for run in runs if run.value and _place(run) in without]


def _place(run: StudyRun) -> tuple[str, int, float]:
    network = run.group.rpartition("-lambda")[0] or run.group.partition("-decay")[0]
    return network, run.seed, rate(run)


def _ratio(run: StudyRun, other: StudyRun, name: str, at: int) -> float:
    """How many times smaller a series is at the end than the other's at that place."""
    return float(series(other, name)[at] / series(run, name)[-1])


def _within(run: StudyRun, other: StudyRun, at: int) -> float:
    """The same of tr S within classes."""
    whole = [series(each, "visible") + series(each, "invisible") for each in (run, other)]
    return float(whole[1][at] / whole[0][-1])


def _share(run: StudyRun, other: StudyRun, at: int) -> float:
    fell = np.log(_ratio(run, other, "NC1", at))
    # Of what did not fall there are no shares.
    return float(np.log(_within(run, other, at)) / fell) if fell else float("nan")
