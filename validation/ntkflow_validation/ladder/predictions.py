"""Every rung's prediction of a window: by the flow, and with what the training did besides."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ntkflow._types import Times
from ntkflow.errors import SolveError
from ntkflow.problem.state import State
from ntkflow_validation.kernels.forecast import duration
from ntkflow_validation.ladder.cache import Cache
from ntkflow_validation.ladder.operators.base import Operator
from ntkflow_validation.ladder.operators.linearised import FrozenOperator
from ntkflow_validation.ladder.rungs import Rung
from ntkflow_validation.ladder.trajectories.chebyshev import TOLERANCE, FlowField, flow
from ntkflow_validation.ladder.trajectories.descent import MINIBATCH, Recipe, descend

# Steps that accuracy asks for over a window, and passes through the network at most.
STEPS_OF_A_WINDOW = 40
MOST_PASSES = 800
# float32 passes are no better.
FROZEN_TOLERANCE = 1e-4
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


def by_flow(rung: Rung, state: State, times: Times) -> Prediction:
    """The gradient flow under a rung, at flow times of the observed samples.

    Args:
        rung: which.
        state: where to start.
        times: of the predicted states, the first that of the start.
    """

    def run(operator: Operator) -> list[State]:
        frozen = isinstance(operator, FrozenOperator)
        tolerance = FROZEN_TOLERANCE if frozen else TOLERANCE
        return flow(operator, state, times, tolerance, rung.objective, rung.decay or (0.0, 0.0, 0.0))

    return _guarded(rung, (), run)


def by_costly_flow(
    rung: Rung,
    state: State,
    times: Times,
    key: str,
    cache: Cache,
    asked: bool = False,
    announce: Callable[[str], None] = lambda _: None,
) -> Prediction:
    """The flow of a rung that passes through the network, kept; refused where that takes more than `MOST_PASSES`.

    Whether it is refused, and in what words, depends on the rung and on `asked` alone, not on what was kept: how long
    it would take is told, and does not stand in the result.

    Args:
        rung: which.
        state: where to start.
        times: of the predicted states, the first that of the start.
        key: name in the file.
        cache: the file.
        asked: run it all the same.
        announce: told what it takes, in time too.
    """
    operator = rung.operator
    assert isinstance(operator, FrozenOperator)
    (found,) = cache.get((f"{key}-passes",), lambda: (np.array(_passes(operator, state, times)),))
    passes = int(found)
    if passes > MOST_PASSES:
        needed = f"some {passes} passes through the network"
        announce(f"{rung.spec.name}: {needed}, about {duration(passes * _pass(operator, state))}")
        if not asked:
            refused = (
                f"the flow is so stiff that it needs {needed}; name {rung.spec.name} in --rungs to run it"
            )
            return Prediction(rung, (), None, refused=refused)
    return kept(by_flow, rung, state, times, key=key, cache=cache)


def _passes(operator: FrozenOperator, state: State, times: Times) -> int:
    """Passes through the network that the stabilised integrator takes over a window."""
    rate = FlowField(operator, operator.sizes).rate((state.H, state.W, state.b))
    return int(np.sqrt(1.54 * STEPS_OF_A_WINDOW * rate * (times[-1] - times[0])))


def _pass(operator: Operator, state: State) -> float:
    """Seconds of one application; its functions are compiled by now."""
    began = time.perf_counter()
    operator.act(state.H)
    return time.perf_counter() - began


def as_trained(rung: Rung, state: State, recipe: Recipe, ensemble: int = ENSEMBLE) -> Prediction:
    """The training's own steps under a rung; with minibatches the training's own ones, and an ensemble of others."""
    if rung.decay is not None:
        recipe = replace(recipe, decay=rung.decay)
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


def kept(
    run: Callable[..., Prediction], rung: Rung, first: State, *arguments: Any, key: str, cache: Cache
) -> Prediction:
    """A prediction from the file, or made and put there; refusals are made again.

    H is kept, and handed out, to float32: the same whether it was in the file or not.

    Args:
        run: `by_flow` or `as_trained`.
        rung: the rung.
        first: where to start.
        arguments: the others of `run`.
        key: name in the file.
        cache: the file.
    """
    names = tuple(f"{key}-{part}" for part in ("H", "W", "b"))
    if not cache.has(*names):
        found = run(rung, first, *arguments)
        if found.states is None:
            return found
        for name, part in zip(names, ("H", "W", "b"), strict=True):
            stack = np.stack([getattr(state, part) for state in found.states])
            cache.put(name, stack.astype(np.float32) if part == "H" else stack)
    parts = zip(*(array.astype(np.float64) for array in cache.get(names, tuple)), strict=True)
    states = [State(H.copy(), W.copy(), b.copy()) for H, W, b in parts]
    return Prediction(rung, arguments[0].modifications if run is as_trained else (), states)
