"""Whether one factor on all times explains a misfit: a clock that takes the loss or the momentum for another.

W and b obey dW/dt = -R H^T and db/dt = -R 1 whatever the kernel, so how far they went tells how much time went by.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ntkflow._types import Vector
from ntkflow.fitting.observed import Observed
from ntkflow.problem.losses import MSE, SQUARED_ERROR, Loss, Smoothed
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

# What is left of the motion below this is accuracy, and no clock is to blame.
PRECISE = 1e-3
# A factor closer to 1 may be the spacing of the observations; one that explains less of W's path is no clock.
DIFFERS, AGREES = 0.1, 0.9
# By how much the right time has to do better to be worth a sentence, and how near a common cause has to be.
BETTER, NEAR, SAME = 0.5, 0.25, 0.02
MOMENTA = (0.9, 0.95, 0.99, 0.5)
# Of every second observation the factor is the same up to this share of its logarithm, or it is their spacing; with fewer
# observations than this it cannot be told.
SURE, FEWEST = 1 / 3, 5
# Finite steps, noise of batches and momentum's start move the factor of a real training, by tens of percent at most.
TRAINED = 0.4


@dataclass(frozen=True)
class Head:
    """The equations of W and b of a training, which no kernel enters.

    Attributes:
        train_bias: whether b moves, and tells the time too.
        loss: whose residual moves them.
        decay: rates of W and b.
        differs: logarithms of the factor closer to 0 than this are no sign of a wrong clock.
    """

    train_bias: bool = True
    loss: Loss = SQUARED_ERROR
    decay: tuple[float, float] = (0.0, 0.0)
    differs: float = DIFFERS

    @property
    def squares(self) -> bool:
        """Whether the loss is a sum over outputs, with a 1/2 and a mean of their own."""
        return isinstance(self.loss.loss if isinstance(self.loss, Smoothed) else self.loss, MSE)

    def pull(self, state: State, sizes: Sizes) -> Vector:
        """Minus the velocity of W and b, flat."""
        R = self.loss.residual(state.logits, sizes.Y)
        of_W, of_b = self.decay
        return self.moving(R @ state.H.T + of_W * state.W, R.sum(axis=1) + of_b * state.b)

    def moving(self, W: np.ndarray, b: np.ndarray) -> Vector:
        """What moves of W and b, flat."""
        found: Vector = (np.column_stack([W, b]) if self.train_bias else W).ravel()
        return found


def hint(
    observed: Observed, misfit: float, refitted: Callable[[Observed], float], head: Head | None = None
) -> str | None:
    """A sentence where times multiplied by one factor explain much of what is left, with that factor and what it may come from.

    Of all that is left, or, where a wrong kernel hides it there, of the path of W and b, which no kernel enters.

    Args:
        observed: the states and their times.
        misfit: of the fit to them.
        refitted: the misfit of a fit to others.
        head: how W and b move; None: by the squared error, without decay.
    """
    head = head or Head()
    if not misfit >= PRECISE:
        return None
    found = factor(observed, head)
    if found is None or abs(np.log(found)) < head.differs:
        return None
    tried = {value: refitted(_scaled(observed, value)) for value in (found, *_near(found, observed, head))}
    best = min(tried, key=lambda value: tried[value])
    # The factor is known to the accuracy of an interpolation: a cause that near is meant, and has to do better too.
    meant = [value for value in tried if value != found and abs(np.log(value / best)) < SAME]
    if meant and tried[meant[0]] <= BETTER * misfit:
        best = meant[0]
    if tried[best] <= BETTER * misfit:
        of = f"what is left of the motion falls from {misfit:.2g} to {tried[best]:.2g}"
    elif (of_head := _of_head(observed, found, list(tried), head)) is not None:
        best, of = of_head
        of = f"{of}; of all motion {tried[best]:.2g} is left, and {misfit:.2g} before, which is the kernel's"
    else:
        return None
    said = f"the clock looks wrong: with all times multiplied by {best:.4g} {of}"
    cause = _causes(observed, head).get(best)
    return (
        f"{said}; a likely cause is {cause}"
        if cause
        else f"{said}; common causes are {', '.join(_GENERAL[0 if head.squares else 2 :])}"
    )


def _of_head(
    observed: Observed, found: float, tried: Sequence[float], head: Head
) -> tuple[float, str] | None:
    """The factor, and what it explains of the path of W and b alone.

    None where that is little, or where every second observation says otherwise.
    """
    others = factor(Observed(observed.times[::2], observed.states[::2], observed.sizes), head)
    if len(observed.times) < FEWEST or others is None:
        return None
    unsure = abs(np.log(others / found))
    if unsure > SURE * abs(np.log(found)):
        return None
    # Of all motion the kernel hides which cause is meant: the nearest within what the interpolation tells.
    near = [value for value in tried if value != found and abs(np.log(value / found)) <= max(SAME, unsure)]
    value = near[0] if near else found
    seen, told = _paths(observed, head)
    before, after = (float(np.linalg.norm(seen - k * told) / np.linalg.norm(seen)) for k in (1.0, value))
    if not after <= BETTER * before:
        return None
    free = "" if found > 1 or any(head.decay) else " and no weight decay"
    return value, (
        f"what is left of the path of W and b, in whose equations no kernel{free} stands, falls from {before:.2g} "
        f"to {after:.2g}"
    )


def factor(observed: Observed, head: Head | None = None) -> float | None:
    """Path of (W, b) over the path that their own equations give in the times said; None where these disagree in shape."""
    seen, told = _paths(observed, head or Head())
    both, of_told, of_seen = (float(np.sum(a * b)) for a, b in ((seen, told), (told, told), (seen, seen)))
    if both <= AGREES * np.sqrt(of_told * of_seen) or of_told == 0:
        return None
    # From the lengths and the shape: the least squares of either on the other, in the middle.
    return float(np.sqrt(of_seen / of_told))


def _paths(observed: Observed, head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Moves of (W, b) between observations as they were seen, and as their own equations have them in the times said."""
    from scipy.interpolate import make_interp_spline

    pulls = np.stack([head.pull(state, observed.sizes) for state in observed.states])
    spline = make_interp_spline(observed.times, pulls, k=min(3, len(observed.times) - 1)).antiderivative()
    seen = np.diff(np.stack([head.moving(s.W, s.b) for s in observed.states]), axis=0)
    return seen, -np.diff(spline(observed.times), axis=0)


def _scaled(observed: Observed, value: float) -> Observed:
    return Observed(observed.times * value, observed.states, observed.sizes)


_GENERAL = (
    "the 1/2 in the loss (a factor 2)",
    "a mean over outputs (a factor C)",
    "a mean over samples (a factor N)",
    "momentum mu (a factor 1/(1 - mu))",
)


def _causes(observed: Observed, head: Head) -> dict[float, str]:
    C, N = float(observed.sizes.C), float(observed.sizes.N)
    of_squares = {
        2.0: "the 1/2 in the loss: it is not there, as in torch.nn.MSELoss (loss='squared')",
        0.5: "the 1/2 in the loss: it is there (loss='half-squared')",
        C: "the mean over outputs: the loss has none (reduction='batch-mean')",
        1 / C: "the mean over outputs: the loss has one (reduction='mean')",
        N * C: "the mean over samples and outputs: the loss is a sum (reduction='sum')",
        1 / (N * C): "the mean over samples and outputs: the loss is one (reduction='mean')",
    }
    found = {
        N: "the mean over samples: the loss is a sum (reduction='sum')",
        1 / N: "the mean over samples: the loss is one (reduction='batch-mean' or 'mean')",
        **(of_squares if head.squares else {}),
    }
    for mu in MOMENTA:
        found.setdefault(1 / (1 - mu), f"momentum: {mu:g} makes a step 1/(1 - mu) as long (momentum={mu:g})")
        found.setdefault(1 - mu, f"momentum: there is none where the clock has {mu:g}")
    return found


def _near(value: float, observed: Observed, head: Head) -> list[float]:
    """Factors of common causes near one, the nearest first, two at most."""
    away = {cause: abs(np.log(cause / value)) for cause in _causes(observed, head)}
    return sorted((cause for cause in away if away[cause] < NEAR), key=lambda cause: away[cause])[:2]
