"""Training: one jitted step and a generator of snapshots. It neither prints nor writes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntkflow.errors import InputError
from ntkflow.sizes import Sizes
from ntkflow.state import State
from validation.clock import flow_times, learning_rate, snapshot_steps
from validation.config import RunConfig, TrainConfig
from validation.datasets import Dataset, Inputs, batch_indices
from validation.models.base import Network, Tree, Variables

# XLA runs ahead of Python; waiting this often keeps Ctrl-C and the progress bar honest.
SYNC_EVERY = 50
PROBE_BATCH = 512

StepFunction = Callable[["TrainState", jax.Array, jax.Array], "TrainState"]


class TrainState(NamedTuple):
    """Everything that training continues from.

    Attributes:
        variables: the network's numbers.
        optimiser: optax state.
    """

    variables: Variables
    optimiser: Tree


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The network at one step, and what the theory calls its state.

    Attributes:
        step: optimiser steps done.
        time: flow time of the sum loss (4), from `clock`.
        state: H on the training set in inference mode, W and b, float64.
        sizes: C, m, n of that state.
        train: parameters and optimiser state, from which training can go on.
    """

    step: int
    time: float
    state: State
    sizes: Sizes
    train: TrainState


def optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """SGD with the clock's learning rate, heavy-ball momentum, and decay of weights but not of biases."""
    decay = optax.add_decayed_weights(
        config.weight_decay, mask=lambda tree: jax.tree.map(lambda p: p.ndim > 1, tree)
    )
    sgd = optax.sgd(lambda step: learning_rate(config, step), momentum=config.momentum or None)
    return optax.chain(decay, sgd) if config.weight_decay else sgd


def sum_loss(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """1/2 |f - y|^2 over all samples and outputs. Source: eq. (4)."""
    targets = jax.nn.one_hot(labels, outputs.shape[1], dtype=outputs.dtype)
    return 0.5 * jnp.sum((outputs - targets) ** 2)


def make_step(network: Network, config: TrainConfig) -> StepFunction:
    """The jitted step; the loss is reduced as the configuration says."""
    rule = optimiser(config)

    def objective(params: Tree, statistics: Tree, x: jax.Array, labels: jax.Array) -> tuple[jax.Array, Tree]:
        outputs, statistics = network.train_outputs(params, statistics, x)
        scale = outputs.size if config.reduction == "mean" else 1
        return sum_loss(outputs, labels) / scale, statistics

    @jax.jit
    def step(state: TrainState, x: jax.Array, labels: jax.Array) -> TrainState:
        params, statistics = state.variables
        gradient, statistics = jax.grad(objective, has_aux=True)(params, statistics, x, labels)
        updates, optimiser_state = rule.update(gradient, state.optimiser, params)
        return TrainState(Variables(optax.apply_updates(params, updates), statistics), optimiser_state)

    return step


def start(network: Network, config: TrainConfig) -> TrainState:
    """The state before the first step."""
    return TrainState(network.initial, optimiser(config).init(network.initial.params))


def train(
    config: RunConfig,
    dataset: Dataset,
    network: Network,
    resume: tuple[int, TrainState] | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Iterator[Snapshot]:
    """Train, yielding snapshots at log-spaced steps, the first and the last included.

    Args:
        config: the run.
        dataset: training samples, sorted and balanced; they are also the probe set of the snapshots.
        network: structure and initial variables.
        resume: step and state to go on from; that step is not yielded again.
        progress: called with the number of steps done, about every 50.

    Yields:
        Snapshots in order of steps.

    Raises:
        InputError: training diverged.
    """
    step = make_step(network, config.training)
    times = flow_times(config.training, len(dataset.labels), dataset.classes)
    due = snapshot_steps(config.training.steps, config.training.snapshots)
    done, state = resume if resume is not None else (-1, start(network, config.training))
    x, labels = jnp.asarray(dataset.x), jnp.asarray(dataset.labels.astype(np.int32))
    batch_per_class = config.training.batch_per_class
    for target in (s for s in due if s > done):
        for k in range(max(done, 0), target):
            if batch_per_class == 0:
                state = step(state, x, labels)
            else:
                chosen = batch_indices(dataset.labels, dataset.classes, batch_per_class, config.seed, k)
                state = step(state, x[chosen], labels[chosen])
            if (k + 1) % SYNC_EVERY == 0:
                jax.block_until_ready(state)
                if progress is not None:
                    progress(k + 1)
        done = target
        yield observe(network, dataset, state, target, float(times[target]), config.training)


def probe(network: Network, variables: Variables, x: Inputs) -> np.ndarray:
    """Features in inference mode, n x N in float64."""
    run = network.compiled_features
    parts = [run(*variables, jnp.asarray(x[i : i + PROBE_BATCH])) for i in range(0, len(x), PROBE_BATCH)]
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts]).T


def observe(
    network: Network, dataset: Dataset, train_state: TrainState, step: int, time: float, config: TrainConfig
) -> Snapshot:
    """The snapshot of a training state.

    Raises:
        InputError: the parameters are not finite, training has diverged.
    """
    variables = train_state.variables
    try:
        variables.check_finite()
    except InputError as error:
        raise InputError(
            "training.learning_rate",
            config.learning_rate,
            f"training diverged before step {step} ({error.argument})",
            "lower it",
        ) from None
    H = probe(network, variables, dataset.x)
    W, b = head(variables)
    state, sizes, _ = State.from_samples(H, W, b, dataset.labels)
    return Snapshot(step, time, state, sizes, train_state)


def head(variables: Variables) -> tuple[np.ndarray, np.ndarray]:
    """W (C x n) and b (C) in float64."""
    layer = variables.params["head"]
    return np.asarray(layer["kernel"], dtype=np.float64).T.copy(), np.asarray(layer["bias"], dtype=np.float64)


def accuracy(network: Network, variables: Variables, x: Inputs, labels: np.ndarray) -> float:
    """Share of samples classified correctly; NaN without samples."""
    if len(labels) == 0:
        return float("nan")
    W, b = head(variables)
    outputs = W @ probe(network, variables, x) + b[:, None]
    return float(np.mean(outputs.argmax(axis=0) == labels))
