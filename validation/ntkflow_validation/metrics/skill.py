"""Skill: how much better a prediction is than assuming that nothing changes."""

from collections.abc import Mapping, Sequence
from typing import cast, overload

import numpy as np
from numpy.typing import ArrayLike

from ntkflow.errors import InputError
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow_validation.metrics.compare import QUANTITIES, quantities, ratio


@overload
def skill(predicted: Sequence[State], observed: Sequence[State], sizes: Sizes) -> Mapping[str, float]: ...
@overload
def skill(predicted: ArrayLike, observed: ArrayLike) -> float: ...
def skill(
    predicted: ArrayLike | Sequence[State], observed: ArrayLike | Sequence[State], sizes: Sizes | None = None
) -> float | Mapping[str, float]:
    """Skill of a prediction: 1 - sum |predicted - observed|^2 / sum |observed - observed[0]|^2 over all later times.

    1 is perfect, 0 no better than assuming that nothing changes, negative worse than that; NaN where nothing changed.
    It is the score of `ntkflow validate compare`.

    Args:
        predicted: values at some times, the first axis is time, (T, ...); or a state for each time.
        observed: the same as it was observed; [0] is where the prediction started.
        sizes: of the states.

    Returns:
        A number; of states one for each quantity of `ntkflow_validation.metrics.compare.quantities`.

    Raises:
        InputError: the two do not have the same shape, or fewer than two times.

    >>> skill([1.0, 2.0, 3.5], [1.0, 2.0, 4.0])
    0.975
    """
    if isinstance(observed, Sequence) and len(observed) and isinstance(observed[0], State):
        return _of_states(cast(Sequence[State], predicted), cast(Sequence[State], observed), sizes)
    a, b = np.asarray(predicted, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if a.shape != b.shape or a.ndim == 0 or len(a) < 2:
        raise InputError(
            "predicted",
            f"array of shape {a.shape}",
            f"must have the shape of what was observed, {b.shape}, and two times at least",
            "predict at the observed times",
        )
    return float(ratio(np.sum((a[1:] - b[1:]) ** 2), np.sum((b[1:] - b[0]) ** 2)))


def _of_states(
    predicted: Sequence[State], observed: Sequence[State], sizes: Sizes | None
) -> Mapping[str, float]:
    if sizes is None:
        raise InputError(
            "sizes", None, "tells which samples of a state are of a class", "give it beside states"
        )
    if len(predicted) != len(observed):
        raise InputError(
            "predicted", f"{len(predicted)} states", f"must be {len(observed)}", "predict these times"
        )
    seen, told = ([quantities(state, sizes) for state in states] for states in (observed, predicted))
    return {
        name: skill(np.stack([q[name] for q in told]), np.stack([q[name] for q in seen]))
        for name in QUANTITIES
    }
