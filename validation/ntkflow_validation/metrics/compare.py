"""Predicted against observed: one score for every quantity of the theory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkflow._types import Json, Times
from ntkflow.errors import InputError
from ntkflow.metrics.components import loss_components
from ntkflow.metrics.neural_collapse import measure_thin
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means, spread
from ntkflow.problem.thin import decompose
from ntkflow_validation.kernels.methods.components import split
from ntkflow_validation.metrics.objective import PLAIN, Objective

# Quantities with a skill; the docstring of `quantities` says what each is.
QUANTITIES = ("residual_global", "residual_class", "residual_individual", "M", "H2", "F_centred", "W", "b")


def ratio(error: Any, change: Any) -> np.ndarray:
    """1 - error/change of sums of squares: 1 is perfect, 0 no better than no change; NaN where nothing changed."""
    error, change = np.asarray(error, dtype=np.float64), np.asarray(change, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(change > 0, 1 - error / change, np.nan)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A predicted trajectory beside the observed one.

    Attributes:
        times: flow times, (T,); the first is that of the starting snapshot.
        observed: named series along the run, each (T,).
        predicted: the same series along the prediction.
        skill: for each of `QUANTITIES` its skill at each time, (T,); NaN at the first.
        pooled: for each the skill pooled over all times after the first.
    """

    times: Times
    observed: dict[str, np.ndarray]
    predicted: dict[str, np.ndarray]
    skill: dict[str, np.ndarray]
    pooled: dict[str, float]

    def to_dict(self) -> Json:
        """Plain values for files; NaN becomes None."""
        plain = {
            "times": self.times.tolist(),
            "observed": {k: _plain(v) for k, v in self.observed.items()},
            "predicted": {k: _plain(v) for k, v in self.predicted.items()},
            "skill": {k: _plain(v) for k, v in self.skill.items()},
        }
        return {**plain, "pooled": {k: _plain([v])[0] for k, v in self.pooled.items()}}


def compare(
    times: Times,
    observed: Sequence[State],
    predicted: Sequence[State],
    sizes: Sizes,
    objective: Objective = PLAIN,
) -> Comparison:
    """Score a prediction against the run it predicts.

    skill = 1 - |pred - obs|^2 / |obs - obs(t0)|^2: 1 is perfect, 0 no better than assuming
    that nothing changes. A quantity that did not change has no skill (NaN).

    Args:
        times: flow times, (T,).
        observed: states of the run at these times.
        predicted: states of the prediction at these times.
        sizes: their sizes.
        objective: of the training, whose residuals and losses are scored.

    Raises:
        InputError: the three sequences differ in length.
    """
    if not len(times) == len(observed) == len(predicted):
        raise InputError(
            "predicted",
            len(predicted),
            f"must have one state per time, {len(times)}",
            "solve at the observed times",
        )
    first = quantities(observed[0], sizes, objective)
    errors: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    changes: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    for seen, foretold in zip(observed, predicted, strict=True):
        a, b = quantities(seen, sizes, objective), quantities(foretold, sizes, objective)
        for name in QUANTITIES:
            errors[name].append(float(np.sum((b[name] - a[name]) ** 2)))
            changes[name].append(float(np.sum((a[name] - first[name]) ** 2)))
    skill = {name: ratio(errors[name], changes[name]) for name in QUANTITIES}
    pooled = {name: float(ratio(np.sum(errors[name][1:]), np.sum(changes[name][1:]))) for name in QUANTITIES}
    seen_along, told_along = (series(states, sizes, objective) for states in (observed, predicted))
    return Comparison(np.asarray(times, dtype=np.float64), seen_along, told_along, skill, pooled)


def quantities(state: State, sizes: Sizes, objective: Objective = PLAIN) -> dict[str, np.ndarray]:
    """What is scored.

    residual_global, residual_class, residual_individual: the three orthogonal parts of R (eqs. 16-18) as
    C x N matrices, half their squared norms are the parts of the loss; M: centred class means; H2: deviations
    from the class means, sqrt(m) H2 Q2^T of eq. (24); F_centred: outputs minus their mean over samples; W; b.
    """
    H1 = class_means(state.H, sizes)
    F = state.logits
    R = objective.residual(state, sizes)
    within, contrast, mean = split(R, sizes.labels)
    return {
        "residual_global": mean,
        "residual_class": contrast,
        "residual_individual": within,
        "M": H1 - H1.mean(axis=1, keepdims=True),
        "H2": state.H - spread(H1, sizes),
        "F_centred": F - F.mean(axis=1, keepdims=True),
        "W": state.W,
        "b": state.b,
    }


def series(states: Sequence[State], sizes: Sizes, objective: Objective = PLAIN) -> dict[str, np.ndarray]:
    """Losses, norms and NC metrics along a trajectory, each (T,)."""
    rows = [observables(state, sizes, objective) for state in states]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def observables(state: State, sizes: Sizes, objective: Objective = PLAIN) -> dict[str, float]:
    """Loss parts, norms of M, H2, W, b and the NC metrics of one state."""
    thin, frame = decompose(state, sizes, subspace=False)
    M = thin.H1 - thin.H1.mean(axis=1, keepdims=True)
    return {
        **(loss_components(thin, sizes.masses) if objective.plain else objective.losses(state, sizes)),
        "M_norm": float(np.linalg.norm(M)),
        "H2_norm": float(np.linalg.norm(thin.L) / np.sqrt(sizes.N / sizes.C)),
        "W_norm": float(np.linalg.norm(state.W)),
        "b_norm": float(np.linalg.norm(state.b)),
        **measure_thin(thin, frame),
    }


def _plain(values: Iterable[float]) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
