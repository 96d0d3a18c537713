"""Whether one factor on all times explains a misfit: a clock that takes the loss or the momentum for another.

W and b obey dW/dt = -R H^T and db/dt = -R 1 whatever the kernel, so how far they went tells how much time went by.
"""

from collections.abc import Callable

import numpy as np

from ntkflow.fitting.observed import Observed
from ntkflow.problem.state import State

# What is left of the motion below this is accuracy, and no clock is to blame.
PRECISE = 1e-3
# A factor closer to 1 may be the spacing of the observations; one that explains less of W's path is no clock.
DIFFERS, AGREES = 0.1, 0.9
# By how much the right time has to do better to be worth a sentence, and how near a common cause has to be.
BETTER, NEAR = 0.5, 0.25
MOMENTA = (0.9, 0.95, 0.99, 0.5)


def hint(
    observed: Observed, misfit: float, refitted: Callable[[Observed], float], train_bias: bool = True
) -> str | None:
    """A sentence where times multiplied by one factor fit much better, with that factor and what it may come from.

    Args:
        observed: the states and their times.
        misfit: of the fit to them.
        refitted: the misfit of a fit to others.
        train_bias: whether b moves, and tells the time too.
    """
    if misfit < PRECISE:
        return None
    found = factor(observed, train_bias)
    if found is None or abs(np.log(found)) < DIFFERS:
        return None
    tried = {value: refitted(_scaled(observed, value)) for value in (found, *_near(found, observed))}
    best = min(tried, key=lambda value: tried[value])
    if not tried[best] <= BETTER * misfit:
        return None
    said = (
        f"the clock looks wrong: with all times multiplied by {best:.4g} what is left of the motion falls from "
        f"{misfit:.2g} to {tried[best]:.2g}"
    )
    cause = _causes(observed).get(best)
    return (
        f"{said}; a likely cause is {cause}" if cause else f"{said}; common causes are {', '.join(_GENERAL)}"
    )


def factor(observed: Observed, train_bias: bool = True) -> float | None:
    """Path of (W, b) over the path that their own equations give in the times said; None where these disagree in shape."""
    from scipy.interpolate import make_interp_spline

    pulls = np.stack([_pull(state, observed.sizes.Y, train_bias) for state in observed.states])
    spline = make_interp_spline(observed.times, pulls, k=min(3, len(observed.times) - 1)).antiderivative()
    told = -np.diff(spline(observed.times), axis=0)
    seen = np.diff(np.stack([_moving(s.W, s.b, train_bias) for s in observed.states]), axis=0)
    both, of_told, of_seen = (float(np.sum(a * b)) for a, b in ((seen, told), (told, told), (seen, seen)))
    if both <= AGREES * np.sqrt(of_told * of_seen) or of_told == 0:
        return None
    # From the lengths and the shape: the least squares of either on the other, in the middle.
    return float(np.sqrt(of_seen / of_told))


def _pull(state: State, Y: np.ndarray, train_bias: bool) -> np.ndarray:
    R = state.logits - Y
    return _moving(R @ state.H.T, R.sum(axis=1), train_bias)


def _moving(W: np.ndarray, b: np.ndarray, train_bias: bool) -> np.ndarray:
    return (np.column_stack([W, b]) if train_bias else W).ravel()


def _scaled(observed: Observed, value: float) -> Observed:
    return Observed(observed.times * value, observed.states, observed.sizes)


_GENERAL = (
    "the 1/2 in the loss (a factor 2)",
    "a mean over outputs (a factor C) or over samples (N)",
    "momentum mu (a factor 1/(1 - mu))",
)


def _causes(observed: Observed) -> dict[float, str]:
    C, N = float(observed.sizes.C), float(observed.sizes.N)
    found = {
        2.0: "the 1/2 in the loss: it is not there, as in torch.nn.MSELoss (loss='squared')",
        0.5: "the 1/2 in the loss: it is there (loss='half-squared')",
        C: "the mean over outputs: the loss has none (reduction='batch-mean')",
        1 / C: "the mean over outputs: the loss has one (reduction='mean')",
        N: "the mean over samples: the loss is a sum (reduction='sum')",
        1 / N: "the mean over samples: the loss is one (reduction='batch-mean' or 'mean')",
        N * C: "the mean over samples and outputs: the loss is a sum (reduction='sum')",
        1 / (N * C): "the mean over samples and outputs: the loss is one (reduction='mean')",
    }
    for mu in MOMENTA:
        found.setdefault(1 / (1 - mu), f"momentum: {mu:g} makes a step 1/(1 - mu) as long (momentum={mu:g})")
        found.setdefault(1 - mu, f"momentum: there is none where the clock has {mu:g}")
    return found


def _near(value: float, observed: Observed) -> list[float]:
    """Factors of common causes near one, the nearest first, two at most."""
    away = {cause: abs(np.log(cause / value)) for cause in _causes(observed)}
    return sorted((cause for cause in away if away[cause] < NEAR), key=lambda cause: away[cause])[:2]
