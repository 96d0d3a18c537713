"""Every rung's prediction of a window: by the flow, and with what the training did besides."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ntkflow._types import Times
from ntkflow.errors import SolveError
from ntkflow.state import State
from validation.ladder.chebyshev import flow
from validation.ladder.descent import MINIBATCH, Recipe, descend
from validation.ladder.operators import Operator
from validation.ladder.rungs import Rung

# Draws of the batches, besides the training's own.
ENSEMBLE = 3


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one rung foretells.

    Attributes:
        rung: which.
        modifications: of the flow; empty for the flow itself.
        states: one for every time of the window; None if there is no prediction.
        members: the same for other draws of the batches, if there are batches.
        refused: why there is none.
    """

    rung: Rung
    modifications: tuple[str, ...]
    states: list[State] | None
    members: tuple[list[State], ...] = ()
    refused: str | None = None

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """Rung and modifications."""
        return self.rung.spec.name, self.modifications


def by_flow(
    rung: Rung, state: State, times: Times, progress: Callable[[float], object] = lambda _: None
) -> Prediction:
    """The gradient flow under a rung, at flow times of the observed samples."""
    return _guarded(rung, (), lambda operator: flow(operator, state, times, progress=progress))


def as_trained(rung: Rung, state: State, recipe: Recipe, ensemble: int = ENSEMBLE) -> Prediction:
    """The training's own steps under a rung; with minibatches the training's own ones, and an ensemble of others."""
    found = _guarded(rung, recipe.modifications, lambda operator: descend(operator, state, recipe))
    if found.states is None or MINIBATCH not in recipe.modifications:
        return found
    operator = rung.operator
    assert operator is not None
    members = tuple(descend(operator, state, recipe, recipe.seed + 1 + k) for k in range(ensemble))
    return Prediction(rung, recipe.modifications, found.states, members)


def _guarded(
    rung: Rung, modifications: tuple[str, ...], run: Callable[[Operator], list[State]]
) -> Prediction:
    if rung.operator is None:
        return Prediction(rung, modifications, None, refused=rung.refused)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return Prediction(rung, modifications, run(rung.operator))
    except SolveError as error:
        return Prediction(rung, modifications, None, refused=str(error))
