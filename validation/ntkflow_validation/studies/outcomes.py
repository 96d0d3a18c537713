"""What is read from the runs of an experiment: for every expectation the numbers that it is about."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ntkflow_validation.studies.document import StudyRun, WindowRow
from ntkflow_validation.studies.expectations import Values

# NC1_tirer below which a network counts as collapsed, and the share of its start to which invisible variability is foretold.
COLLAPSED, SEEN = 0.05, 0.01
NAN = float("nan")


def series(run: StudyRun, name: str) -> np.ndarray:
    """A series as an array, NaN where there is no number; all NaN where the run has none."""
    values = run.series.get(name, (None,) * len(run.steps))
    return np.array([NAN if v is None else v for v in values], dtype=np.float64)


def times(run: StudyRun) -> np.ndarray:
    """Flow times of the snapshots."""
    return np.array([NAN if t is None else t for t in run.times], dtype=np.float64)


def crossing(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Where y falls below a level for good, on straight lines of ln y against x; NaN where it does not."""
    above = np.flatnonzero(~(y < level))
    if not len(above) or above[-1] == len(y) - 1:
        return NAN
    i = above[-1]
    a, b = np.log(y[i]), np.log(y[i + 1])
    return float(x[i] + (np.log(level) - a) / (b - a) * (x[i + 1] - x[i]))


def foretold_NC1(run: StudyRun, told: np.ndarray) -> np.ndarray:
    """NC1_tirer with a foretold invisible variability in place of the observed one; all else of it is as observed."""
    visible, invisible = series(run, "visible"), series(run, "invisible")
    found: np.ndarray = series(run, "NC1") * (visible + told) / (visible + invisible)
    return found


def forgetting(runs: Sequence[StudyRun]) -> dict[str, Values]:
    """Of the MLP, of ResNet8 and of ResNet8 with a linear readout."""
    mlp, linear, pooled = (_part(runs, part) for part in ("mlp", "resnet8-linear", "resnet8"))
    decayed = [r for r in mlp if r.value]
    return {
        "mlp_Q": {r.name: float(np.max(series(r, "Q_error"))) for r in mlp},
        "mlp_laws": {r.name: max(law.error for law in r.laws) for r in mlp},
        "mlp_invisible": {r.name: foretold_ratio(r, series(r, "foretold")) for r in mlp if r.value <= 1},
        "mlp_invisible_fast": {r.name: foretold_ratio(r, series(r, "foretold")) for r in mlp if r.value > 1},
        "mlp_time": {r.name: time_ratio(r, series(r, "foretold")) for r in decayed if r.value <= 2},
        "mlp_clock": {
            r.name: r.value * crossing(times(r), series(r, "NC1"), COLLAPSED) for r in decayed if r.value <= 1
        },
        "mlp_undecayed": {r.name: r.last("NC1") for r in mlp if not r.value},
        "mlp_undecayed_visible": {r.name: r.last("NC1_visible") for r in mlp if not r.value},
        "mlp_strongest": {r.name: r.last("NC1") for r in mlp if r.value == 4},
        "mlp_floor": {
            r.name: r.floors[-1].foretold / (r.floors[-1].observed or NAN) for r in decayed if r.floors
        },
        "mlp_floor_slope": _slopes([r for r in decayed if r.value >= 0.5]),
        "linear_Q": {r.name: float(np.max(series(r, "Q_error"))) for r in linear},
        "linear_invisible": {r.name: foretold_ratio(r, series(r, "foretold")) for r in linear},
        "linear_undecayed": {r.name: r.last("NC1") for r in linear if not r.value},
        "linear_undecayed_visible": {r.name: r.last("NC1_visible") for r in linear if not r.value},
        "linear_decayed": {r.name: r.last("NC1") for r in linear if r.value >= 2},
        "resnet_laws": {r.name: _channels(r) for r in pooled if r.value},
        "resnet_undecayed": {r.name: r.last("NC1") for r in pooled if not r.value},
        "resnet_undecayed_visible": {r.name: r.last("NC1_visible") for r in pooled if not r.value},
        "resnet_decayed": {r.name: r.last("NC1") for r in pooled if r.value >= 2},
        "resnet_invisible": {
            r.name: r.last("invisible") / series(r, "invisible")[0] for r in pooled if r.value >= 2
        },
    }


def rowspace(runs: Sequence[StudyRun]) -> dict[str, Values]:
    """ResNet8 by the paper's recipe without decay, and with it."""
    without, decayed = [r for r in runs if not r.value], [r for r in runs if r.value]
    return {
        "accuracy": {r.name: r.last("accuracy_train") for r in without},
        "NC1": {r.name: r.last("NC1") for r in without},
        "NC1_visible": {r.name: r.last("NC1_visible") for r in without},
        "visible_share": {
            r.name: r.last("visible") / (r.last("visible") + r.last("invisible")) for r in without
        },
        "with_decay": {r.name: r.last("NC1") / _twin(r, without).last("NC1") for r in decayed},
        "with_decay_invisible": {
            r.name: r.last("invisible") / _twin(r, without).last("invisible") for r in decayed
        },
    }


def normalised(runs: Sequence[StudyRun]) -> dict[str, Values]:
    """Filters before a normalisation and the class eigenvalue of the kernel, over decays and rates."""
    products = {r.name: kernel_times_filters(r)[1] for r in runs}
    grown = {r.name: r.kernels[-1].mu_c / r.kernels[0].mu_c for r in runs}
    norms = {r.name: series(r, "filters") for r in runs}
    undecayed = [r for r in runs if not r.value]
    fast = [r for r in runs if r.value and rate(r) == rate(undecayed[0])]
    return {
        "product": {
            f"{name}, {edge.__name__}": float(edge(v))
            for name, v in products.items()
            for edge in (np.min, np.max)
        },
        "closes": {name: abs(float(np.log(v[-1]) / np.log(grown[name]))) for name, v in products.items()},
        "undecayed_norm": {
            name: norms[name][-1] / norms[name][0] for name in norms if name in {r.name for r in undecayed}
        },
        "norm": {r.name: _norm_ratio(r, _twin(r, undecayed)) for r in fast},
        "clock": {r.name: _at_collapse(r) for r in fast},
        "clock_spread": _spread(fast),
        "slow": {r.name: r.last("NC1") for r in runs if r.value and rate(r) < rate(undecayed[0])},
    }


def weighted(runs: Sequence[StudyRun]) -> dict[str, Values]:
    """Three constants averaged over neurons, over the row space of W, and weighted by W, in each window."""

    def skill(window: WindowRow, rung: str, quantity: str) -> float:
        found = window.skill.get(rung, {}).get(quantity)
        return NAN if found is None else found

    def gain(rung: str, quantity: str, keep: Callable[[int], bool]) -> Values:
        return {
            f"{r.name}, window {i + 1}": skill(w, rung, quantity) - skill(w, "block", quantity)
            for r in runs
            for i, w in enumerate(r.windows)
            if keep(i)
        }

    return {
        "early_W": gain("weighted-block", "W", lambda i: i == 0),
        "early_M": gain("weighted-block", "M", lambda i: i == 0),
        "later_M": gain("weighted-block", "M", lambda i: i > 0),
        "later_W": gain("weighted-block", "W", lambda i: i > 0),
        "good_M": {
            f"{r.name}, window {i + 1}": skill(w, "weighted-block", "M")
            for r in runs
            for i, w in enumerate(r.windows)
        },
    }


def kernel_times_filters(run: StudyRun) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which kernels were measured, and mu_c sum |w|^2 there over its start."""
    filters = dict(zip(run.steps, series(run, "filters"), strict=True))
    steps = np.array([k.step for k in run.kernels])
    found = np.array([k.mu_c * filters[k.step] for k in run.kernels])
    return steps, found / found[0]


def _part(runs: Iterable[StudyRun], part: str) -> list[StudyRun]:
    return [r for r in runs if r.group.startswith(f"{part}-lambda")]


def _twin(run: StudyRun, others: Iterable[StudyRun]) -> StudyRun:
    return next(r for r in others if r.seed == run.seed)


def foretold_ratio(run: StudyRun, told: np.ndarray) -> float:
    """Invisible variability that is foretold over what is seen, as far as that is at a share of its start.

    The geometric mean over snapshots.
    """
    seen = series(run, "invisible")
    kept = seen >= SEEN * seen[0]
    return float(np.exp(np.mean(np.log(told[kept] / seen[kept]))))


def time_ratio(run: StudyRun, told: np.ndarray) -> float:
    """Time at which NC1 falls below the level, by a foretold invisible variability over observed."""
    t = times(run)
    return crossing(t, foretold_NC1(run, told), COLLAPSED) / crossing(t, series(run, "NC1"), COLLAPSED)


def _slopes(runs: Sequence[StudyRun]) -> Values:
    """Exponent of the floor in lambda, by seed."""
    found = {}
    for seed in sorted({r.seed for r in runs}):
        own = [r for r in runs if r.seed == seed]
        if len(own) > 1:
            x, y = np.log([r.value for r in own]), np.log([r.last("NC1") for r in own])
            found[f"seed {seed}"] = float(np.polyfit(x, y, 1)[0])
    return found


def _channels(run: StudyRun) -> float:
    """Error of the laws of the residual stream's channels, over what they would miss if they were constant.

    The median over families.
    """
    rows = [law for law in run.laws if law.name.startswith("residual channel")]
    return float(np.median([law.error / law.error_if_constant for law in rows])) if rows else NAN


def rate(run: StudyRun) -> float:
    """The learning rate."""
    found: float = run.settings["training"].get("learning_rate", 0.5)
    return found


def _at_collapse(run: StudyRun) -> float:
    """int lambda dt where NC1 falls below a tenth."""
    return crossing(np.array(run.decay, dtype=np.float64), series(run, "NC1"), 0.1)


def _norm_ratio(run: StudyRun, undecayed: StudyRun) -> float:
    """Sum of |w|^2 at the end over that which the flow's decay makes of the undecayed twin's."""
    left = np.exp(-2 * (run.decay[-1] or 0.0))
    return run.last("filters") / (undecayed.last("filters") * float(left))


def _spread(runs: Sequence[StudyRun]) -> Values:
    """Largest over smallest int lambda dt at collapse, by seed."""
    found = {}
    for seed in sorted({r.seed for r in runs}):
        own = [_at_collapse(r) for r in runs if r.seed == seed]
        if len(own) > 1:
            found[f"seed {seed}"] = float(np.max(own) / np.min(own))
    return found
