"""Outcome against prediction: to how many digits a finished run agrees with the theory."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ntkflow._types import Json
from ntkflow.kernels import BlockKernel
from ntkflow.prediction import Prediction, limit

if TYPE_CHECKING:
    from ntkflow.solution import Solution

# The limits are those at zero loss; a run that stopped before it says nothing of them.
NEAR_ZERO_LOSS = 1e-4


@dataclass(frozen=True)
class Agreement:
    """One comparison: the relative error of a prediction, and what was compared."""

    quantity: str
    error: float
    sentence: str

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
    lines = []
    if series["loss"][-1] <= NEAR_ZERO_LOSS * series["loss"][0] and prediction.zero_invariant:
        lines += _limits(solution)
    if (rate := _fitted_rate(solution)) is not None:
        lines.append(rate)
    return lines


def _limits(solution: "Solution") -> list[Agreement]:
    problem = solution.problem
    assert isinstance(problem.kernel, BlockKernel)
    thin, _ = solution.thin(-1)
    expected = limit(problem.sizes, problem.kernel, thin.b)
    return [
        Agreement(name, _relative(observed, predicted), f"limit for E = 0 and the final biases, {source}")
        for name, observed, predicted, source in (
            ("W W^T", thin.W @ thin.W.T, expected.X, "eq. (58)"),
            ("H1^T H1", thin.H1.T @ thin.H1, expected.G, "theory 5.2"),
        )
    ]


def _relative(observed: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.linalg.norm(observed - predicted) / np.linalg.norm(predicted))


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
        f"fitted {fitted:.4g} against mu_single w = {rate:.4g}, w the eigenvalue of W^T W there (theory 7.2)"
    )
    return Agreement("decay rate of NC1", abs(fitted / rate - 1), sentence)
