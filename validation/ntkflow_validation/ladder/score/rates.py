"""Decay rates of the residual's three components, of the run and of a prediction, fitted in the same way."""

from dataclasses import dataclass

import numpy as np

from ntkflow._types import Times

COMPONENTS = {"global": "residual_global", "class": "residual_class", "individual": "residual_individual"}


@dataclass(frozen=True)
class Rate:
    """A rate with two standard errors to either side.

    Attributes:
        value: minus the slope of log norm over flow time.
        low, high: the range.
    """

    value: float
    low: float
    high: float


def fitted(times: Times, norms: np.ndarray) -> Rate | None:
    """Least-squares rate of an exponential through all points; None where a norm is zero or points are few."""
    # Two points fit any exponential, and say nothing of its error.
    if len(times) < 3 or not np.all(np.isfinite(norms)) or np.any(norms <= 0):
        return None
    t, y = times - times.mean(), np.log(norms)
    slope = float(t @ y / (t @ t))
    rest = y - y.mean() - slope * t
    # As if points erred independently; those of one trajectory err together, and the true range is rather wider.
    error = float(np.sqrt(rest @ rest / (len(t) - 2) / (t @ t)))
    return Rate(-slope, -slope - 2 * error, -slope + 2 * error)
