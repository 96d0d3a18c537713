"""Outcome against prediction: to how many digits a finished run agrees with the theory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import limits, rates
from ntkflow._types import Json
from ntkflow.kernels import BlockKernel
from ntkflow.prediction import Prediction

if TYPE_CHECKING:
    from ntkflow.solution import Solution

# The limits are those at zero loss; a run that stopped before it says nothing of them.
NEAR_ZERO_LOSS = 1e-4


@dataclass(frozen=True)
class Agreement:
    """One comparison: the relative error of a prediction, and what was compared.

    Attributes:
        quantity: what was predicted.
        error: relative error; of a bound, by how much it was broken, 0 when it held.
        sentence: both sides and the source.
        bound: whether the prediction is an inequality.
    """

    quantity: str
    error: float
    sentence: str
    bound: bool = False

    @property
    def digits(self) -> float:
        """Number of digits that agree, at most 16."""
        return round(float(min(16.0, -np.log10(max(self.error, 1e-17)))), 1)

    def as_dict(self) -> Json:
        """Plain values for summary.json."""
        return {**vars(self), "digits": self.digits}


def compare(solution: "Solution", prediction: Prediction) -> list[Agreement]:
    """All comparisons that make sense for this run; empty when the theory predicts nothing it reached."""
    series = solution.series
    fitted = bool(series["loss"][-1] <= NEAR_ZERO_LOSS * series["loss"][0])
    lines: list[Agreement] = []
    if fitted and (prediction.limit is not None or prediction.facts.zero_E):
        lines += _limits(solution, prediction)
    lines += _bounds(solution, prediction)
    if prediction.algebraic:
        lines += _tail(solution)
    elif (rate := _fitted_rate(solution)) is not None:
        lines.append(rate)
    return lines


def _limits(solution: "Solution", prediction: Prediction) -> Iterator[Agreement]:
    problem = solution.problem
    assert isinstance(problem.kernel, BlockKernel)
    thin, _ = solution.thin(-1)
    expected, known = prediction.limit, "known from the initial state (theory 5.4, 5.5)"
    if expected is None:
        expected, known = (
            limits.zero_invariant(problem.sizes, problem.kernel, thin.b),
            "for E = 0 and the final biases (58)",
        )
    for name, observed, predicted in (
        ("W W^T", thin.W @ thin.W.T, expected.X),
        ("H1^T H1", thin.H1.T @ thin.H1, expected.G),
    ):
        error = float(np.linalg.norm(observed - predicted) / np.linalg.norm(predicted))
        yield Agreement(name, error, f"limit {known}")


def _bounds(solution: "Solution", prediction: Prediction) -> Iterator[Agreement]:
    """By how much the bounds that hold for all time are broken: 0 when they hold."""
    tr_S = solution.series["tr_S"]
    floor = prediction.floor_tr_S
    if prediction.conditions["NC1"].verdict == "no" and floor > 0:
        broken = max(0.0, float((floor - tr_S).max()) / floor)
        yield Agreement(
            "floor of tr S",
            broken,
            f"tr S ends at {tr_S[-1]:.4g}, above {floor:.4g} (theory 3.5)",
            bound=True,
        )
    if prediction.ceiling is not None and tr_S[0] > 0:
        ceiling = prediction.ceiling.trace_at(solution.times)
        broken = max(0.0, float(((tr_S - ceiling) / ceiling).max()))
        yield Agreement(
            "ceiling of tr S", broken, "E >= 0 guarantees at least a fall like 1/t (theory 3.6)", bound=True
        )


def _tail(solution: "Solution") -> Iterator[Agreement]:
    """Slope of 1/tr S over the last half of the time against 2m, once the loss is small."""
    problem, t, tr_S = solution.problem, solution.times, solution.series["tr_S"]
    assert isinstance(problem.kernel, BlockKernel)
    late = np.flatnonzero(t >= t[-1] / 2)
    slowest = rates.class_rate(problem.sizes, problem.kernel)
    if len(late) < 2 or t[-1] * slowest < 50:
        return
    first = late[0]
    slope = (1 / tr_S[-1] - 1 / tr_S[first]) / (t[-1] - t[first])
    law = 2 * problem.sizes.per_class
    yield Agreement(
        "tail of tr S", abs(slope / law - 1), f"1/tr S rises by {slope:.6g} per time, 2m = {law} (theory 7.3)"
    )


def _fitted_rate(solution: "Solution") -> Agreement | None:
    """Decay rate of NC1 over its last decade against mu_single times the eigenvalue of W W^T that governs it."""
    problem = solution.problem
    assert isinstance(problem.kernel, BlockKernel)
    nc1, t = solution.series["NC1_frobenius"], solution.times
    window = (nc1 <= 30 * nc1[-1]) & (nc1 > 0) & (nc1 < 1e-2 * nc1[0])
    if window.sum() < 4:
        return None
    fitted = -float(np.polyfit(t[window], np.log(nc1[window]), 1)[0])
    thin, _ = solution.thin(-1)
    U, s, _ = np.linalg.svd(thin.L, full_matrices=False)
    values = np.linalg.norm(thin.W @ U[:, s > 0.5 * s[0]], axis=0) ** 2
    rate = problem.kernel.eigenvalues(problem.sizes).mu_single * float(values.mean())
    sentence = (
        f"fitted {fitted:.6g} against mu_single w = {rate:.6g}, w the eigenvalue of W^T W there (theory 7.2)"
    )
    return Agreement("decay rate of NC1", abs(fitted / rate - 1), sentence)
