"""Scores with their uncertainty: which samples happened to be observed should not decide them.

Every score that averages over samples comes with a delete-a-group jackknife: the samples of each class are
dealt into `GROUPS` groups, and the score is computed again without each. W and b are not averages over
samples but have a row for each class: their scores come with a jackknife over classes, leaving out one row each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Features
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means, spread
from ntkflow_validation.metrics.compare import quantities, ratio
from ntkflow_validation.metrics.objective import PLAIN, Objective
from ntkflow_validation.runs.compared import NO_SKILL, Motion, Skill

# Every score is computed once more for each; a standard error is wanted to one digit.
GROUPS = 5
CENTRED = ("M", "H2", "F_centred", "W", "b", "residual_global", "residual_class", "residual_individual")
UNCENTRED = ("H1", "F")
# Scored over classes instead of samples.
BY_CLASS = ("W", "b")
PARTS = ("dH_means", "M", "global", "within", "row_space", "off_row_space")
# A part below this share of the whole dH is rounding: it has no direction, and nothing is predicted of it.
NOTHING = 1e-10

Replicates = Float64[np.ndarray, "k"]


@dataclass(frozen=True)
class Score:
    """A number and its standard error, over probe sets or, for `BY_CLASS`, over classes.

    Attributes:
        value: with all samples and classes.
        error: jackknife; None if there is none.
    """

    value: float
    error: float | None

    @property
    def written(self) -> Skill:
        """As documents have it: what does not exist is None."""
        return Skill(float(self.value), self.error) if np.isfinite(self.value) else NO_SKILL


def keep(sizes: Sizes, groups: int = GROUPS) -> list[np.ndarray]:
    """All samples, and all without each group in turn; empty groups are not left out."""
    within = np.concatenate([np.arange(m) for m in sizes.counts])
    # Two samples at least of each class in every group: classes of fewer than four have no groups, and scores no errors.
    count = min(groups, min(sizes.counts) // 2)
    left = [np.flatnonzero(within % count != g) for g in range(count)] if count > 1 else []
    return [np.arange(sizes.N), *left]


def subset(state: State, sizes: Sizes, kept: np.ndarray) -> tuple[State, Sizes]:
    """The state on some samples."""
    if len(kept) == sizes.N:
        return state, sizes
    small, small_sizes, _ = State.from_samples(state.H[:, kept], state.W, state.b, sizes.labels[kept])
    return small, small_sizes


def jackknife(values: Sequence[float]) -> Score:
    """The first value, and the error from the others, each without one of as many groups."""
    first, rest = float(values[0]), np.asarray(values[1:], dtype=np.float64)
    # A replicate without a score says that the score hangs on the samples left out: its error is not small but unknown.
    if len(rest) < 2 or not np.isfinite(rest).all():
        return Score(first, None)
    # Where a prediction runs away, squares leave double precision before the error does.
    size = float(np.abs(rest).max()) or 1.0
    apart = rest / size - np.mean(rest / size)
    error = size * float(np.sqrt((len(rest) - 1) / len(rest) * np.sum(apart**2)))
    return Score(first, error if np.isfinite(error) else None)


@dataclass(frozen=True, eq=False)
class Horizon:
    """How far a prediction is from the run, for every replicate: of samples, for `BY_CLASS` of classes.

    Attributes:
        errors: |predicted - observed|^2 by quantity, (replicates, T).
        changes: |observed - observed(t0)|^2, the same.
        norms: norms of the predicted quantities, the same; they are the predicted series.
    """

    errors: dict[str, Float64[np.ndarray, "k T"]]
    changes: dict[str, Float64[np.ndarray, "k T"]]
    norms: dict[str, Float64[np.ndarray, "k T"]]

    def replicates(self, name: str, last: int | None = None) -> Float64[np.ndarray, " k"]:
        """Pooled skill of every replicate: 1 - sum |pred - obs|^2 / sum |obs - obs(t0)|^2, up to the time `last`."""
        # Sums before the ratio: early times, of which nothing has moved yet, would otherwise weigh as much as all others.
        times = slice(1, None if last is None else last + 1)
        return ratio(self.errors[name][:, times].sum(axis=1), self.changes[name][:, times].sum(axis=1))

    def skill(self, name: str, last: int | None = None) -> Score:
        """Pooled over all times after the first, up to that of index `last`."""
        return jackknife(self.replicates(name, last).tolist())

    def skill_at(self, name: str) -> Float64[np.ndarray, " T"]:
        """At every time; NaN at the first."""
        return ratio(self.errors[name][0], self.changes[name][0])

    def band(self, name: str) -> tuple[Float64[np.ndarray, " T"], Float64[np.ndarray, " T"]] | None:
        """One standard error around the predicted norm of a quantity."""
        values = self.norms[name]
        scores = [jackknife(column.tolist()) for column in values.T]
        if any(score.error is None for score in scores):
            return None
        error = np.array([score.error for score in scores], dtype=np.float64)
        return values[0] - error, values[0] + error


def parts_of(state: State, sizes: Sizes, objective: Objective = PLAIN) -> dict[str, np.ndarray]:
    """What is scored over a horizon: `compare.quantities`, and the uncentred means H1 and outputs F.

    Residuals and outputs are divided by the root of the number of samples, so that subsets of them compare.
    """
    found = quantities(state, sizes, objective)
    root = np.sqrt(sizes.N)
    scaled = {k: v / root if k.startswith(("residual", "F", "H2")) else v for k, v in found.items()}
    return {**scaled, "H1": class_means(state.H, sizes), "F": state.logits / root}


def horizon(
    observed: Sequence[State], predicted: Sequence[State], sizes: Sizes, objective: Objective = PLAIN
) -> Horizon:
    """Compare two sequences of states at the same times, for all samples and without each group, and class."""
    names = [name for name in (*CENTRED, *UNCENTRED) if name not in BY_CLASS]
    tables: list[dict[str, list[list[float]]]] = [{name: [] for name in names} for _ in range(3)]
    errors, changes, norms = tables
    for kept in keep(sizes):
        seen = [parts_of(*subset(state, sizes, kept), objective) for state in observed]
        told = [parts_of(*subset(state, sizes, kept), objective) for state in predicted]
        for name in names:
            pairs = list(zip(seen, told, strict=True))
            errors[name].append([float(np.sum((b[name] - a[name]) ** 2)) for a, b in pairs])
            changes[name].append([float(np.sum((a[name] - seen[0][name]) ** 2)) for a in seen])
            norms[name].append([float(np.linalg.norm(b[name])) for b in told])
    for name in BY_CLASS:
        a, b = (np.stack([getattr(s, name) for s in states]) for states in (observed, predicted))
        for table, values in zip(tables, (b - a, a - a[0], b), strict=True):
            table[name] = _without_each_row(values)
        norms[name] = [np.sqrt(row).tolist() for row in norms[name]]
    return Horizon(*({k: np.array(v, dtype=np.float64) for k, v in d.items()} for d in tables))


def _without_each_row(values: np.ndarray) -> list[list[float]]:
    """Sums of squares at every time, (T,) each: of all rows, then without each row in turn."""
    squares = (values**2).reshape(*values.shape[:2], -1).sum(axis=2)
    return [
        squares.sum(axis=1).tolist(),
        *(np.delete(squares, c, axis=1).sum(axis=1).tolist() for c in range(squares.shape[1])),
    ]


def instantaneous(
    predicted: Features, observed: Features, basis: Float64[np.ndarray, "r n"], sizes: Sizes
) -> dict[str, Motion]:
    """Cosine and relative error of a predicted dH, part by part.

    Args:
        predicted: -Op[W^T R].
        observed: how the features moved, to first order.
        basis: orthonormal rows spanning the row space of W.
        sizes: of the samples.

    Returns:
        For each of `PARTS`: cosine, error = |predicted - observed| / |observed|, and their standard errors. A part that
        is rounding beside the whole (`NOTHING`) has no cosine, and no error where it was not observed: None.
    """
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in PARTS}
    for kept in keep(sizes):
        counts = np.bincount(sizes.labels[kept], minlength=sizes.C)
        small = (
            sizes if len(kept) == sizes.N else Sizes(C=sizes.C, m=tuple(int(c) for c in counts), n=sizes.n)
        )
        a, b = (split(dH[:, kept], basis, small) for dH in (observed, predicted))
        floors = [NOTHING * float(np.linalg.norm(dH[:, kept])) for dH in (observed, predicted)]
        for name in PARTS:
            rows[name].append(_agreement(a[name], b[name], *floors))
    found = {}
    for name, values in rows.items():
        cosine, error = (jackknife([v[i] for v in values]).written for i in range(2))
        found[name] = Motion(cosine.value, error.value, cosine.error, error.error)
    return found


def split(dH: Features, basis: Float64[np.ndarray, "r n"], sizes: Sizes) -> dict[str, np.ndarray]:
    """Class means; centred class means; global mean; within classes; in and out of the row space of W."""
    means = class_means(dH, sizes)
    inside = basis.T @ (basis @ dH)
    return {
        "dH_means": means,
        "M": means - means.mean(axis=1, keepdims=True),
        "global": means.mean(axis=1),
        "within": dH - spread(means, sizes),
        "row_space": inside,
        "off_row_space": dH - inside,
    }


def _agreement(
    observed: np.ndarray, predicted: np.ndarray, least_seen: float, least_told: float
) -> tuple[float, float]:
    size, other = float(np.linalg.norm(observed)), float(np.linalg.norm(predicted))
    if size <= least_seen:
        return float("nan"), float("nan")
    cosine = float(np.vdot(observed, predicted)) / (size * other) if other > least_told else float("nan")
    return cosine, float(np.linalg.norm(predicted - observed)) / size
