"""One window of a run: measure at its start, predict with every rung, score, attribute."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ntkflow._types import Times
from ntkflow.conserved import conserved
from ntkflow.errors import InputError
from ntkflow.state import State
from validation.compare import series
from validation.ladder import attribution, frontier
from validation.ladder.attribution import CARRIER, TOP, Cost, Key
from validation.ladder.descent import DECAY, MINIBATCH, MOMENTUM, STEP, Recipe, recipe_of
from validation.ladder.frontier import Point
from validation.ladder.linearised import FrozenOperator
from validation.ladder.measured import Cache, Measured
from validation.ladder.operators import KernelOperator
from validation.ladder.predictions import Prediction, as_trained, by_flow, kept
from validation.ladder.rungs import Rung, Spec, build
from validation.ladder.scores import Horizon, horizon, instantaneous
from validation.ladder.windows import Window

# Rungs whose steps are also taken with other draws of the batches.
MODIFIED = ("block", CARRIER)
# Steps up to which the linearised network also takes the training's own steps: each is a pass through it and back.
FEW_STEPS = 300
# nN above which the invariant of a rung is not evaluated: its operator has to be inverted.
INVARIANT_ROWS = 100_000

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Scored:
    """One prediction with its scores; what does not exist is None.

    Attributes:
        prediction: rung, modifications, states.
        instant: scores of dH at the start; the same for all modifications of a rung.
        horizon: scores over the window.
        predicted: named series along the prediction.
    """

    prediction: Prediction
    instant: dict[str, dict[str, float | None]] | None
    horizon: Horizon | None
    predicted: dict[str, np.ndarray]

    @property
    def key(self) -> Key:
        """Rung and modifications."""
        return self.prediction.key


@dataclass(frozen=True, eq=False)
class WindowResult:
    """All that is said of one window.

    Attributes:
        window: which.
        measured: the network at its start.
        times: flow times of its snapshots.
        states: the run's states there.
        observed: named series of the run.
        scored: every prediction.
        costs: attribution.
        points: frontier.
        finite_difference: scores of dH against the difference of the first two snapshots, by rung.
    """

    window: Window
    measured: Measured
    times: Times
    states: Sequence[State]
    observed: dict[str, np.ndarray]
    scored: list[Scored]
    costs: list[Cost]
    points: list[Point]
    finite_difference: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)

    def of(self, name: str, modifications: tuple[str, ...] = ()) -> Scored | None:
        """One prediction, if it was made."""
        return next((s for s in self.scored if s.key == (name, modifications)), None)


def compare_window(
    window: Window,
    measured: Measured,
    times: Times,
    states: Sequence[State],
    specs: Sequence[Spec],
    report: Report,
    ensemble: int,
) -> WindowResult:
    """Predict one window with every rung and score it.

    Args:
        window: its snapshots.
        measured: the network at the first of them.
        times: their flow times.
        states: the run's states.
        specs: rungs.
        report: progress.
        ensemble: other draws of the batches.
    """
    sizes, first = measured.sizes, states[0]
    probe_times = times / measured.share
    recipe = recipe_of(measured.config, window.steps, measured.share, measured.momentum, measured.shrinking)
    R, W = measured.residual, first.W
    moved = measured.share * measured.observed_motion
    secant = (states[1].H - first.H) / (probe_times[1] - probe_times[0])
    scored, differences = [], {}
    for i, spec in enumerate(specs):
        rung = build(spec, measured)
        instant = None
        if rung.operator is not None:
            dH = -rung.operator.pull(W, R)
            instant = instantaneous(dH, moved, measured.basis, sizes)
            differences[spec.name] = instantaneous(dH, secant, measured.basis, sizes)
        for prediction in _predictions(rung, first, probe_times, recipe, ensemble, measured.cache):
            scored.append(_score(prediction, instant, states, measured))
        report(f"predicting {window.name}", i + 1, len(specs))
    horizons = {s.key: s.horizon for s in scored if s.horizon is not None}
    costs = attribution.attribute(horizons, _growing(recipe), measured.coupled)
    whole = (_growing(recipe) or [()])[-1]
    points = [_point(s) for s in scored if s.horizon is not None and s.key[1] in ((), whole)]
    return WindowResult(
        window,
        measured,
        times,
        states,
        series(states, sizes),
        scored,
        costs,
        frontier.frontier(points),
        differences,
    )


def _predictions(
    rung: Rung, first: State, times: Times, recipe: Recipe, ensemble: int, cache: Cache
) -> list[Prediction]:
    if isinstance(rung.operator, FrozenOperator):
        key = "-".join([rung.spec.name, *(str(step) for step in recipe.steps)])
        return _costly(rung, first, times, recipe, key, cache)
    found = [by_flow(rung, first, times)]
    growing = _growing(recipe)
    if rung.operator is None or not growing:
        return found
    if rung.spec.name == CARRIER:
        # Attribution needs every modification on one rung; the others are run with all of them.
        found += [as_trained(rung, first, recipe.only(part), 0) for part in growing[:-1]]
    return [*found, as_trained(rung, first, recipe, ensemble if rung.spec.name in MODIFIED else 0)]


def _costly(
    rung: Rung, first: State, times: Times, recipe: Recipe, key: str, cache: Cache
) -> list[Prediction]:
    """The flow, and the training's own steps over a short window, each kept: both pass through the network."""
    found = [kept(by_flow, rung, first, times, key=f"flow-{key}", cache=cache)]
    if rung.spec.name == TOP and len(recipe.eta) <= FEW_STEPS:
        found.append(kept(as_trained, rung, first, recipe, 0, key=f"trained-{key}", cache=cache))
    return found


def _growing(recipe: Recipe) -> list[tuple[str, ...]]:
    """Modifications added one after the other; steps without their momentum may be unstable and are left out."""
    present = recipe.modifications
    order = [name for name in (STEP, MOMENTUM, DECAY, MINIBATCH) if name in present]
    if MOMENTUM in order:
        return [tuple(order[: i + 1]) for i in range(1, len(order))]
    return [tuple(order[: i + 1]) for i in range(len(order))]


def _score(
    prediction: Prediction,
    instant: dict[str, dict[str, float | None]] | None,
    states: Sequence[State],
    measured: Measured,
) -> Scored:
    if prediction.states is None:
        return Scored(prediction, instant, None, {})
    sizes = measured.sizes
    return Scored(
        prediction, instant, horizon(states, prediction.states, sizes), series(prediction.states, sizes)
    )


def _point(scored: Scored) -> Point:
    assert scored.horizon is not None
    skill, rung = scored.horizon.skill("M"), scored.prediction.rung
    return Point(
        rung.spec.name,
        rung.constants,
        skill.value,
        skill.error,
        trained=bool(scored.prediction.modifications),
    )


def invariant_ratios(rung: Rung, measured: Measured, last: State) -> dict[str, float | None]:
    """|E(t) - E(0)| of the run over |E(0)|, and over the norms of E's terms: the first flatters (theory 14)."""
    operator = rung.operator
    nothing: dict[str, float | None] = {"relative_to_E0": None, "relative_to_terms": None}
    known = isinstance(operator, KernelOperator) and operator.kernel.rung in ("block", "sample", "kronecker")
    if not known or measured.sizes.n * measured.sizes.N > INVARIANT_ROWS:
        return nothing
    assert isinstance(operator, KernelOperator)
    try:
        quantity = conserved(operator.kernel, measured.sizes)
    except InputError:
        return nothing
    before, after = quantity.values(measured.state), quantity.values(last)
    size = float(np.linalg.norm(before))
    return {
        "relative_to_E0": float(np.linalg.norm(after - before)) / size if size else None,
        "relative_to_terms": quantity.drift(measured.state, last),
    }


def ensemble_band(
    members: Sequence[Mapping[str, np.ndarray]], name: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and standard deviation around it of a series over draws of the batches, as low and high."""
    if len(members) < 2:
        return None
    values = np.stack([member[name] for member in members])
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    return mean - spread, mean + spread
