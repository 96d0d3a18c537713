"""The steps that training took, under an operator in place of the network: momentum, decay, rate, minibatches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Features
from ntkflow.errors import LARGEST, SolveError
from ntkflow.problem.state import State
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.datasets.batches import batches_of
from ntkflow_validation.ladder.operators.base import Operator
from ntkflow_validation.metrics.objective import PLAIN, Objective
from ntkflow_validation.training.steps import flow_times, learning_rate, loss_scale

# What training did that the flow does not do, in the order in which it is added.
STEP, MOMENTUM, DECAY, MINIBATCH = "discrete step", "momentum", "decay", "minibatch"
# Not a modification of the flow but of its clock: what ignoring warm-up and drops of the rate would cost.
NOMINAL = "nominal rate"


@dataclass(frozen=True, eq=False)
class Recipe:
    """What one training did from one snapshot on, in units of the sum loss.

    Attributes:
        steps: optimiser steps at which states are wanted; the first is that of the snapshot.
        eta: step size of each step; none at all where they are not known, so that only the flow is predicted.
        beta: momentum.
        nesterov: its form.
        decay: rates (W, H, b); that of H is decay times how fast H shrinks with the body's parameters.
        velocity: momentum buffer (H, W, b) at the snapshot; None is rest.
        batches: function from a seed to the batches, one row of sample indices a step; None is full batch.
        seed: that of the training's own batches.
        objective: what is minimised.
    """

    steps: tuple[int, ...]
    eta: Float64[np.ndarray, " k"]
    beta: float = 0.0
    nesterov: bool = False
    decay: tuple[float, float, float] = (0.0, 0.0, 0.0)
    velocity: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    batches: Callable[[int], np.ndarray] | None = None
    seed: int = 0
    objective: Objective = PLAIN

    @property
    def times(self) -> Float64[np.ndarray, " k"]:
        """Flow time from the first snapshot to the start of each step, as `training.steps.flow_times` has it."""
        spans = self.eta * self._built_up / (1 - self.beta)
        return np.concatenate([[0.0], np.cumsum(spans)])[:-1]

    @property
    def _built_up(self) -> Float64[np.ndarray, " k"]:
        """The share of its final size that the velocity has reached in each step."""
        return 1 - self.beta ** (np.arange(len(self.eta)) + 1 + self.steps[0] + self.nesterov)

    @property
    def modifications(self) -> tuple[str, ...]:
        """Which ones there are."""
        if not len(self.eta):
            return ()
        present = ((STEP, True), (MOMENTUM, self.beta > 0), (DECAY, any(self.decay)))
        return tuple(name for name, there in (*present, (MINIBATCH, self.batches is not None)) if there)

    def only(self, kept: Sequence[str]) -> "Recipe":
        """The recipe with some modifications left out; without momentum a step is 1/(1 - beta) times longer."""
        recipe = self
        if MOMENTUM not in kept and self.beta:
            eta = self.eta * self._built_up / (1 - self.beta)
            recipe = replace(recipe, eta=eta, beta=0.0, nesterov=False, velocity=None)
        if DECAY not in kept:
            recipe = replace(recipe, decay=(0.0, 0.0, 0.0))
        return recipe if MINIBATCH in kept else replace(recipe, batches=None)


def recipe_of(
    config: RunConfig,
    steps: Sequence[int],
    samples_share: float,
    velocity: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    shrinking: float,
    objective: Objective = PLAIN,
) -> Recipe:
    """What a run's configuration says about its steps.

    Args:
        config: its learning rate must be a number.
        steps: snapshots, the first is the start.
        samples_share: s/m, samples observed of those trained on; below 1 the batches are not known.
        velocity: momentum buffers of H, W and b, in units of the differentiated loss.
        shrinking: rate at which H shrinks when the decaying parameters of the body shrink at rate 1.
        objective: what is minimised.
    """
    recipe, data, C = config.training, config.data, config.data.classes
    scale = loss_scale(recipe, data.samples, C)
    span = range(steps[0], steps[-1])
    eta = learning_rate(recipe, np.arange(steps[0], steps[-1]), data.mean_per_class) / scale / samples_share
    lw = scale * recipe.weight_decay * samples_share
    batches = None
    if recipe.batch_per_class and samples_share == 1:
        labels = np.repeat(np.arange(C), data.counts)

        def batches(seed: int) -> np.ndarray:
            return batches_of(labels, C, recipe.batch_per_class, seed, span)

    return Recipe(
        tuple(steps),
        eta,
        recipe.momentum,
        recipe.nesterov,
        (lw, lw * max(shrinking, 0.0), lw if recipe.decay_on == "all" else 0.0),
        None if velocity is None else tuple(scale * samples_share * v for v in velocity),  # type: ignore[arg-type]
        batches,
        config.seed,
        objective,
    )


def descend(operator: Operator, state: State, recipe: Recipe, seed: int | None = None) -> list[State]:
    """States at the recipe's steps.

    One step is x <- x - eta v, v <- beta v + g (Nesterov: x <- x - eta (g + beta v)), with
    g = (Op[W^T R] + lh H, R H^T + lw W, R 1 + lb b) and R weighted by N/B on the batch. An operator that moves is
    that of the flow time at which the step begins.

    Args:
        operator: the rung.
        state: where to start.
        recipe: what to do.
        seed: of the batches; by default the training's own.

    Raises:
        SolveError: the iteration left the finite numbers.
    """
    found, wanted = [state], set(recipe.steps)
    last = recipe.steps[0]
    with np.errstate(over="ignore", invalid="ignore"):
        for step, parts in _iterate(operator, state, recipe, recipe.seed if seed is None else seed):
            if step in wanted:
                if not all(np.abs(p).max(initial=0.0) <= LARGEST for p in parts):
                    raise SolveError(f"descent left the finite numbers between steps {last} and {step}")
                found.append(State(*(p.copy() for p in parts)))
                last = step
    return found


def _iterate(
    operator: Operator, state: State, recipe: Recipe, seed: int
) -> Iterator[tuple[int, list[np.ndarray]]]:
    sizes = operator.sizes
    rows = None if recipe.batches is None else recipe.batches(seed)
    parts = [state.H.copy(), state.W.copy(), state.b.copy()]
    velocity = [
        np.zeros_like(p) if recipe.velocity is None else recipe.velocity[i].copy()
        for i, p in enumerate(parts)
    ]
    for k, (eta, t) in enumerate(zip(recipe.eta, recipe.times, strict=True)):
        H, W, b = parts
        R = recipe.objective.of_outputs(W @ H + b[:, None], sizes)
        if rows is not None:
            weight = sizes.N / rows.shape[1]
            kept = np.zeros(sizes.N)
            kept[rows[k]] = weight
            R = R * kept
        pulls = [operator.pull(W, R, t), R @ H.T, recipe.objective.of_biases(R)]
        for i, rate in enumerate((recipe.decay[1], recipe.decay[0], recipe.decay[2])):
            if rate:
                pulls[i] = pulls[i] + rate * parts[i]
            velocity[i] = recipe.beta * velocity[i] + pulls[i] if recipe.beta else pulls[i]
            parts[i] = parts[i] - eta * (
                pulls[i] + recipe.beta * velocity[i] if recipe.nesterov else velocity[i]
            )
        yield recipe.steps[0] + k + 1, parts


def features_shrink(H: Features, moved: Features) -> float:
    """<H, J theta> / |H|^2: how fast H shrinks with the parameters that decay; D for homogeneous features."""
    return float(np.vdot(H, moved) / max(np.vdot(H, H), np.finfo(float).tiny))


def clock_of(config: RunConfig, steps: Sequence[int], scheduled: bool = True) -> Float64[np.ndarray, " T"]:
    """Flow times at some steps; if not `scheduled` without warm-up and drops of the rate."""
    recipe = config.training if scheduled else replace(config.training, warmup=0, drop_every=0)
    times = flow_times(recipe, config.data.samples, config.data.classes)
    found: np.ndarray = times[np.asarray(steps)]
    return found
