"""Whether one factor on all times explains what a prediction misses of a training: its clock, and no kernel."""

from collections.abc import Callable, Sequence

import numpy as np

from ntkflow._types import Times
from ntkflow.errors import SolveError
from ntkflow.fitting.observed import Observed
from ntkflow.fitting.wrong_clock import TRAINED, Head, hint
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow_validation.metrics.objective import Objective


def clock_hint(
    times: Times,
    observed: Sequence[State],
    predicted: Sequence[State],
    again: Callable[[Times], Sequence[State]],
    sizes: Sizes,
    objective: Objective,
    decay: tuple[float, float],
) -> str | None:
    """The sentence of `ntkflow.fitting.wrong_clock`, or None where the clock is not to blame.

    Args:
        times: of the states, in the clock of the observed samples, (T,).
        observed: states of the training.
        predicted: states of a prediction at these times.
        again: the same prediction at other times.
        sizes: of the states.
        objective: what the training minimises.
        decay: rates of W and b in this clock.
    """
    if len(times) < 2 or np.any(np.diff(times) <= 0):
        return None

    def refitted(other: Observed) -> float:
        try:
            return left(observed, again(other.times))
        except SolveError:
            return float("inf")

    head = Head(objective.biased, objective.loss, decay, TRAINED)
    return hint(Observed(times, tuple(observed), sizes), left(observed, predicted), refitted, head)


def left(observed: Sequence[State], predicted: Sequence[State]) -> float:
    """What a prediction leaves of the motion of H, W and b: 0 is exact, 1 as bad as no motion; NaN where nothing moved."""
    missed = moved = 0.0
    for seen, told in zip(observed, predicted, strict=True):
        for part in "HWb":
            there = getattr(seen, part)
            missed += float(np.sum((getattr(told, part) - there) ** 2))
            moved += float(np.sum((there - getattr(observed[0], part)) ** 2))
    return float(np.sqrt(missed / moved)) if moved else float("nan")
