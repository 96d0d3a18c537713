"""One window of a run: measure at its start, predict with every rung, score, attribute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ntkflow._types import Times
from ntkflow.problem.state import State
from ntkflow.progress import Progress
from ntkflow_validation.ladder.measured import Measured
from ntkflow_validation.ladder.nulls import baselines
from ntkflow_validation.ladder.operators.linearised import FrozenOperator
from ntkflow_validation.ladder.predictions import (
    Prediction,
    as_trained,
    by_costly_flow,
    by_flow,
    kept,
)
from ntkflow_validation.ladder.rungs import Rung, Spec, build
from ntkflow_validation.ladder.score import attribution, frontier
from ntkflow_validation.ladder.score.attribution import CARRIER, TOP, Key
from ntkflow_validation.ladder.score.invariants import Invariant, invariant_of
from ntkflow_validation.ladder.score.scores import Horizon, horizon, instantaneous
from ntkflow_validation.ladder.score.windows import Window
from ntkflow_validation.ladder.trajectories.chebyshev import flow
from ntkflow_validation.ladder.trajectories.descent import (
    DECAY,
    MINIBATCH,
    MOMENTUM,
    NOMINAL,
    STEP,
    Recipe,
)
from ntkflow_validation.metrics.clock_hint import clock_hint
from ntkflow_validation.metrics.compare import series
from ntkflow_validation.runs.compared import Conserved, Cost, Motion, Point

# Rungs whose steps are also taken with other draws of the batches.
MODIFIED = ("block", CARRIER)
# Steps up to which the linearised network also takes the training's own steps: each is a pass through it and back.
FEW_STEPS = 300


@dataclass(frozen=True, eq=False)
class Scored:
    """One prediction with its scores; what does not exist is None.

    Attributes:
        prediction: rung, modifications, states.
        instant: scores of dH at the start; the same for all modifications of a rung.
        horizon: scores over the window.
        predicted: named series along the prediction.
        draws: skill on M with each other draw of the batches.
    """

    prediction: Prediction
    instant: dict[str, Motion] | None
    horizon: Horizon | None
    predicted: dict[str, np.ndarray]
    draws: tuple[float, ...] = ()

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
        invariants: what each rung conserves.
        clock: a sentence where one factor on all times explains what is missed; None elsewhere.
        baselines: predictions that know nothing of the kernel, or nothing of classes in it.
    """

    window: Window
    measured: Measured
    times: Times
    states: Sequence[State]
    observed: dict[str, np.ndarray]
    scored: list[Scored]
    costs: list[Cost]
    points: list[Point]
    finite_difference: dict[str, dict[str, Motion]] = field(default_factory=dict)
    invariants: dict[str, Invariant] = field(default_factory=dict)
    clock: str | None = None
    baselines: list[Scored] = field(default_factory=list)

    def of(self, name: str, modifications: tuple[str, ...] = ()) -> Scored | None:
        """One prediction, if it was made."""
        return next((s for s in self.scored if s.key == (name, modifications)), None)


def compare_window(
    window: Window,
    measured: Measured,
    times: Times,
    states: Sequence[State],
    specs: Sequence[Spec],
    report: Progress,
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
    recipe = measured.recipe(window.steps)
    R, W = measured.residual, first.W
    moved = measured.share * measured.observed_motion
    secant = (states[1].H - first.H) / (probe_times[1] - probe_times[0])
    scored, differences, invariants = [], {}, {}
    for i, spec in enumerate(specs):
        rung = build(spec, measured)
        instant = None
        if rung.operator is not None:
            dH = -rung.operator.pull(W, R)
            instant = instantaneous(dH, moved, measured.basis, sizes)
            differences[spec.name] = instantaneous(dH, secant, measured.basis, sizes)
            invariants[spec.name] = invariant_of(rung.operator, first, sizes)
        nominal = _nominal(rung, first, window, probe_times, measured)
        for prediction in [*_predictions(rung, first, probe_times, recipe, ensemble, measured), *nominal]:
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
        series(states, sizes, measured.objective),
        scored,
        costs,
        frontier.frontier(points),
        differences,
        invariants,
        _clock_hint(scored, states, probe_times, recipe, measured),
        [_score(p, None, states, measured) for p in baselines(measured, first, probe_times, moved)],
    )


def _clock_hint(
    scored: Sequence[Scored], states: Sequence[State], times: Times, recipe: Recipe, measured: Measured
) -> str | None:
    """Told from the best flow that costs no pass through the network: a wrong clock spoils all of them."""
    flows = [
        (skill.value, s.prediction)
        for s in scored
        if s.horizon is not None and not s.key[1] and np.isfinite((skill := s.horizon.skill("M")).value)
    ]
    free = [(value, p) for value, p in flows if not isinstance(p.rung.operator, FrozenOperator)]
    # Nor rungs whose kernel moves, or whose flow decays: what they miss is no clock's.
    still = [
        (value, p)
        for value, p in free
        if p.rung.operator is not None and not p.rung.operator.knots and p.rung.decay is None
    ]
    if not still:
        return None
    best = max(still, key=lambda pair: pair[0])[1]
    operator, predicted = best.rung.operator, best.states
    assert operator is not None
    assert predicted is not None
    return clock_hint(
        times - times[0],
        states,
        predicted,
        lambda other: flow(operator, states[0], other, objective=measured.objective),
        measured.sizes,
        measured.objective,
        (recipe.decay[0], recipe.decay[2]),
    )


def _predictions(
    rung: Rung, first: State, times: Times, recipe: Recipe, ensemble: int, measured: Measured
) -> list[Prediction]:
    if isinstance(rung.operator, FrozenOperator):
        key = "-".join([rung.spec.name, *(str(step) for step in recipe.steps)])
        return _costly(rung, first, times, recipe, key, measured)
    found = [by_flow(rung, first, times)]
    growing = _growing(recipe)
    if rung.operator is None or not growing:
        return found
    if rung.spec.name == CARRIER:
        # Attribution needs every modification on one rung; the others are run with all of them.
        found += [as_trained(rung, first, recipe.only(part), 0) for part in growing[:-1]]
    return [*found, as_trained(rung, first, recipe, ensemble if rung.spec.name in MODIFIED else 0)]


def _nominal(rung: Rung, first: State, window: Window, times: Times, measured: Measured) -> list[Prediction]:
    """The flow on a clock that ignores warm-up and drops of the rate, where there are any."""
    clock = measured.nominal(window.steps, times)
    if rung.spec.name not in MODIFIED or np.allclose(np.diff(clock), np.diff(times), rtol=1e-6, atol=0):
        return []
    return [replace(by_flow(rung, first, clock), modifications=(NOMINAL,))]


def _costly(
    rung: Rung, first: State, times: Times, recipe: Recipe, key: str, measured: Measured
) -> list[Prediction]:
    """The flow, and the training's own steps over a short window, each kept: both pass through the network."""
    cache, asked = measured.cache, rung.spec.name in measured.asked
    found = [by_costly_flow(rung, first, times, f"flow-{key}", cache, asked, measured.announce)]
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
    instant: dict[str, Motion] | None,
    states: Sequence[State],
    measured: Measured,
) -> Scored:
    if prediction.states is None:
        return Scored(prediction, instant, None, {})
    sizes, objective = measured.sizes, measured.objective
    members = tuple(
        horizon(states, member, sizes, objective).skill("M").value for member in prediction.members
    )
    found = horizon(states, prediction.states, sizes, objective)
    return Scored(prediction, instant, found, series(prediction.states, sizes, objective), members)


def _point(scored: Scored) -> Point:
    assert scored.horizon is not None
    skill, rung = scored.horizon.skill("M").written, scored.prediction.rung
    trained = bool(scored.prediction.modifications)
    name = f"{rung.spec.name} as trained" if trained else rung.spec.name
    return Point(name, rung.constants, skill.value, skill.error, trained=trained)


def conserved(scored: Scored, result: WindowResult) -> Conserved:
    """What the rung conserves, and how much of it moved: along the run, and along the prediction itself.

    Along a flow's own prediction nothing moves but by the integration; with steps, momentum and decay it does.
    """
    states = scored.prediction.states
    invariant = result.invariants.get(scored.prediction.rung.spec.name)
    if invariant is None or states is None:
        return Conserved()
    run, own = (invariant.ratios(result.measured.state, last) for last in (result.states[-1], states[-1]))
    return Conserved(invariant.of, invariant.reason, run, own)


def ensemble_band(
    members: Sequence[Mapping[str, np.ndarray]], name: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and standard deviation around it of a series over draws of the batches, as low and high."""
    if len(members) < 2:
        return None
    values = np.stack([member[name] for member in members])
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    return mean - spread, mean + spread
