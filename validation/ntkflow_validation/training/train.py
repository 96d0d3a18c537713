"""Training: one jitted step and a generator of snapshots. It neither prints nor writes."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntkflow._types import Array
from ntkflow.errors import InputError
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.progress import Progress, silent
from ntkflow.runs.border.costs import refuse_large, refuse_sizes
from ntkflow_validation import datasets
from ntkflow_validation.config.config import RunConfig, TrainConfig
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.datasets import Dataset, Inputs, batch_indices
from ntkflow_validation.datasets.batches import batches_of
from ntkflow_validation.models import build
from ntkflow_validation.models.aligned import aligned
from ntkflow_validation.models.base import Network, Tree, Variables
from ntkflow_validation.own.data import ENVIRONMENT
from ntkflow_validation.precision import in_order, products
from ntkflow_validation.training.objective import objective, stable_rate
from ntkflow_validation.training.steps import learning_rate, recorded_times, snapshot_steps, total_steps

# Steps between two looks at the state. XLA runs ahead of Python; waiting keeps Ctrl-C and the bar honest.
CHUNK = 50
# The same where many steps are one program: an epoch of Fashion-MNIST in the paper's batches.
FUSED_CHUNK = 500
# Steps of the programs that a row of steps is made of. Known when compiled: of a loop whose length is a number XLA asks
# the device before every step. Two, so that the way to a snapshot is few calls and few compilations.
LENGTHS = (500, 25)
PROBE_BATCH = 512
# Samples whose statistics stand for the training set's when they are frozen.
CALIBRATION = 2000
# Bytes for each step of a training: its rate, its flow time, and what they are computed from.
STEP = 48

StepFunction = Callable[["TrainState", jax.Array, jax.Array], "TrainState"]
S = TypeVar("S")
AdvanceFunction = Callable[["TrainState", jax.Array, jax.Array, np.ndarray], "TrainState"]


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
        time: flow time of the sum loss (4), from `clock`; NaN where the optimiser has none.
        state: H on the dataset's probe in inference mode, W and b, float64.
        sizes: C, m, n of that state.
        train: parameters and optimiser state, from which training can go on.
    """

    step: int
    time: float
    state: State
    sizes: Sizes
    train: TrainState


class DivergedError(Exception):
    """Training left the finite numbers.

    Attributes:
        step: optimiser steps done when it was seen.
    """

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"training diverged before step {step} ({what} is not finite)")
        self.step = step


# A run's data set and network, which one stage hands to the next.
Prepared = tuple[Dataset, Network]


def prepare(config: RunConfig) -> Prepared:
    """The dataset and the freshly initialised network of a configuration.

    Those of the last one are kept: the stages of a run share them, and what was compiled for the network.

    Raises:
        InputError: data are missing or damaged, or their training would not fit into memory.
    """
    return _prepared(config, os.environ.get(ENVIRONMENT))


@lru_cache(maxsize=1)
def _prepared(config: RunConfig, data_dir: str | None) -> Prepared:
    del data_dir  # where the files are, which may be others of the same name
    if isinstance(config, RecordedConfig):
        raise InputError(
            "run",
            config.model.name,
            "was recorded from another program, so that there is no network here",
            "measure while it is recorded: kernels= and measure= of the recorder",
        )
    if config.training.deterministic:
        in_order()
    dataset = datasets.load(config.data, config.seed)
    steps, C = total_steps(config.training, dataset.per_class), dataset.classes
    refuse_large("training.steps", steps, STEP * steps, "the times of so many steps take about", "lower it")
    refuse_sizes(C, len(dataset.first_of_each_class(config.data.probe_per_class)), config.model.features)
    network = build(config.model, dataset.input_shape, C, config.seed)
    return dataset, aligned(network, dataset.x, config) if config.model.start == "aligned" else network


def optimiser(config: TrainConfig, per_class: int, peak: Array | None = None) -> optax.GradientTransformation:
    """SGD or Adam with the schedule's learning rate, of this peak if given, and decay of weights or of everything."""
    everything = config.decay_on == "all"
    decay = optax.add_decayed_weights(
        config.weight_decay, mask=lambda tree: jax.tree.map(lambda p: everything or p.ndim > 1, tree)
    )

    def rate(step: Array) -> Array:
        return learning_rate(config, step, per_class, peak)

    if config.adaptive:
        scaled = optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)
        # AdamW decays beside the step, Adam through its gradient.
        parts = [scaled, decay] if config.optimiser == "adamw" else [decay, scaled]
        kept = parts if config.weight_decay else [scaled]
        return optax.chain(*kept, optax.scale_by_learning_rate(rate))
    sgd = optax.sgd(rate, momentum=config.momentum or None, nesterov=config.nesterov)
    return optax.chain(decay, sgd) if config.weight_decay else sgd


def make_step(network: Network, config: TrainConfig, per_class: int) -> StepFunction:
    """The jitted step on a batch."""
    return jax.jit(partial(plain_step(network, config, per_class), None))


def plain_step(network: Network, config: TrainConfig, per_class: int) -> Callable[..., "TrainState"]:
    """The step as a function of (peak rate or None for the configured one, state, x, labels)."""

    def step(peak: Array, state: TrainState, x: jax.Array, labels: jax.Array) -> TrainState:
        params, statistics = state.variables
        loss = partial(objective, network, config)
        gradient, statistics = jax.grad(loss, has_aux=True)(params, statistics, x, labels)
        updates, optimiser_state = optimiser(config, per_class, peak).update(
            gradient, state.optimiser, params
        )
        return TrainState(Variables(optax.apply_updates(params, updates), statistics), optimiser_state)

    return products(config.precision, step)


def make_advance(network: Network, config: TrainConfig, per_class: int, fused: bool) -> AdvanceFunction:
    """Several steps in a row: from (state, x, labels, batches) with one row of indices a step.

    Args:
        network: structure.
        config: recipe.
        per_class: m.
        fused: run the whole row of steps as one program on the device, for GPUs; otherwise a Python loop
            over a jitted step, since on CPU convolutions inside a compiled loop run many times slower.
    """
    step, full = make_step(network, config, per_class), config.batch_per_class == 0

    def looped(state: TrainState, x: jax.Array, labels: jax.Array, batches: np.ndarray) -> TrainState:
        for chosen in batches:
            state = step(state, x, labels) if full else step(state, x[chosen], labels[chosen])
        return state

    @jax.jit
    def scanned(state: TrainState, x: jax.Array, labels: jax.Array, batches: jax.Array) -> TrainState:
        def body(state: TrainState, chosen: jax.Array) -> tuple[TrainState, None]:
            return (step(state, x, labels) if full else step(state, x[chosen], labels[chosen])), None

        found: TrainState = jax.lax.scan(body, state, batches)[0]
        return found

    def in_programs(state: TrainState, x: jax.Array, labels: jax.Array, batches: np.ndarray) -> TrainState:
        rows, done = jnp.asarray(batches[:, : 1 if full else None].astype(np.int32)), 0
        for length in LENGTHS:
            while len(rows) - done >= length:
                state, done = scanned(state, x, labels, rows[done : done + length]), done + length
        for chosen in rows[done:]:
            state = step(state, x, labels) if full else step(state, x[chosen], labels[chosen])
        return state

    return in_programs if fused else looped


def start(network: Network, config: TrainConfig, per_class: int = 1) -> TrainState:
    """The state before the first step, statistics as the network has them."""
    variables = network.initial
    if config.initial_bias == "1/C":
        head = variables.params["head"]
        moved = {**head, "bias": jnp.full_like(head["bias"], 1 / head["bias"].size)}
        variables = variables._replace(params={**variables.params, "head": moved})
    return TrainState(variables, optimiser(config, per_class).init(variables.params))


def prepared_start(network: Network, dataset: Dataset, config: TrainConfig) -> TrainState:
    """`start`; with frozen statistics, those of the training set at initialisation."""
    state = start(network, config, dataset.per_class)
    return state if config.statistics != "frozen" else recalibrated(network, dataset, state)


def recalibrated(network: Network, dataset: Dataset, state: TrainState) -> TrainState:
    """The state with the normalisation statistics that the training set has now, on `CALIBRATION` samples at most.

    Steps on batch statistics do not read these, so training goes on as if nothing had happened.
    """
    rows = dataset.spread_out(CALIBRATION)
    statistics = network.compiled_calibrated(*state.variables, dataset.x_on_device[rows])
    return state._replace(variables=state.variables._replace(statistics=statistics))


def chosen_rate(network: Network, dataset: Dataset, config: TrainConfig, seed: int) -> float:
    """The configured learning rate; for 0 the configured share of the largest stable one on the first batch."""
    if config.learning_rate > 0:
        return config.learning_rate
    rows = batch_indices(dataset.labels, dataset.classes, config.batch_per_class, seed, 0)
    variables = prepared_start(network, dataset, config).variables
    # Of a batch and not of all samples: the batch is what a step descends on.
    bound = stable_rate(network, config, variables, dataset.x_on_device[rows], dataset.classes)
    return config.stability * bound


def ignore(*_: object) -> None:
    """What nobody wants to be told."""


def on_accelerator() -> bool:
    """Whether rows of steps are programs: not on a CPU, where convolutions in a compiled loop run on one thread."""
    return jax.default_backend() != "cpu"


def train(
    config: RunConfig,
    dataset: Dataset,
    network: Network,
    resume: tuple[int, TrainState] | None = None,
    progress: Progress = silent,
    checkpoint: Callable[[int, TrainState], object] = ignore,
    fused: bool | None = None,
) -> Iterator[Snapshot]:
    """Train, yielding snapshots at the configured steps, the first and the last included.

    Args:
        config: the run; its learning rate must be a number, see `chosen_rate`.
        dataset: training samples, sorted and balanced; its probe is what snapshots observe.
        network: structure and initial variables.
        resume: step and state to go on from; that step is not yielded again.
        progress: called with ("training", steps done, in all), every `CHUNK` (fused: `FUSED_CHUNK`).
        checkpoint: called with the steps done and the state, as often.
        fused: see `make_advance`; by default wherever the device is not a CPU.

    Yields:
        Snapshots in order of steps.

    Raises:
        InputError: the learning rate is 0.
        DivergedError: training diverged.
    """
    recipe, m = config.training, dataset.per_class
    if recipe.learning_rate == 0:
        raise InputError("training.learning_rate", 0, "has not been chosen yet", "use `chosen_rate`")
    on_device = on_accelerator() if fused is None else fused
    advance = make_advance(network, recipe, m, on_device)
    times = recorded_times(recipe, len(dataset.labels), dataset.classes)
    begun, state = resume if resume is not None else (-1, prepared_start(network, dataset, recipe))
    x, labels = dataset.x_on_device, jnp.asarray(dataset.labels.astype(np.int32))

    def go_on(state: TrainState, ahead: range) -> TrainState:
        rows = batches_of(dataset.labels, dataset.classes, recipe.batch_per_class, config.seed, ahead)
        return advance(state, x, labels, rows)

    def look(step: int, state: TrainState) -> None:
        _check_head(state, step)
        progress("training", step, total_steps(recipe, m))
        checkpoint(step, state)

    def settle(state: TrainState) -> TrainState:
        return recalibrated(network, dataset, state) if config.recalibrates else state

    for target, reached in to_snapshots(recipe, m, begun, state, go_on, settle, look, on_device):
        yield observe(network, dataset, reached, target, float(times[target]))


def to_snapshots(
    recipe: TrainConfig,
    per_class: int,
    begun: int,
    state: S,
    go_on: Callable[[S, range], S],
    settle: Callable[[S], S],
    look: Callable[[int, S], object],
    on_device: bool,
) -> Iterator[tuple[int, S]]:
    """The states of one network, or of several, at the steps of snapshots after `begun`.

    Args:
        recipe: schedule of snapshots.
        per_class: m.
        begun: last step whose snapshot there is already; -1 for none.
        state: of that step, or the start.
        go_on: from a state by a range of steps.
        settle: applied before a snapshot, whose state training goes on from.
        look: called with steps done and their state after every chunk: what waits for the device, or writes.
        on_device: whether steps are programs on an accelerator.
    """
    chunk, steps = FUSED_CHUNK if on_device else CHUNK, total_steps(recipe, per_class)
    done, before = max(begun, 0), None
    for target in (s for s in snapshot_steps(steps, recipe.snapshots, recipe.spacing) if s > begun):
        while done < target:
            # Up to the next multiple of a chunk, so that a resumed run cuts where an undisturbed one does.
            ahead = range(done, min(target, (done // chunk + 1) * chunk))
            state, done = go_on(state, ahead), ahead.stop
            if done % chunk:
                continue
            # On a GPU one looks at the chunk before, so that the device has work while Python waits and writes.
            seen, before = ((done, state), None) if not on_device else (before, (done, state))
            if seen is not None:
                look(*seen)
        state = settle(state)
        yield target, state


def _check_head(state: TrainState, step: int) -> None:
    """Whatever diverges reaches the head at once; looking at it also waits for the device."""
    if not np.isfinite(np.asarray(state.variables.params["head"]["kernel"])).all():
        raise DivergedError(step, "params.head.kernel")


def probe(network: Network, variables: Variables, x: Inputs | jax.Array) -> np.ndarray:
    """Features in inference mode, n x N in float64; fetched at the end, so that a device goes through all batches at once."""
    run, parts, x = network.compiled_features, [], jnp.asarray(x)
    for i in range(0, len(x), PROBE_BATCH):
        batch = x[i : i + PROBE_BATCH]
        # The last batch is filled up: another shape would be compiled for it.
        filled = jnp.resize(batch, (PROBE_BATCH, *x.shape[1:])) if i and len(batch) < PROBE_BATCH else batch
        parts.append(run(*variables, filled)[: len(batch)])
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts]).T


def observe(network: Network, dataset: Dataset, train_state: TrainState, step: int, time: float) -> Snapshot:
    """The snapshot of a training state, on the dataset's probe.

    Raises:
        DivergedError: a parameter or a feature is not finite.
    """
    variables = train_state.variables
    try:
        variables.check_finite()
    except InputError as error:
        raise DivergedError(step, error.argument) from None
    rows = dataset.first_of_each_class(dataset.probe_per_class)
    H = probe(network, variables, dataset.x_on_device[rows])
    if not np.isfinite(H).all():
        raise DivergedError(step, "a feature")
    W, b = head(variables)
    state, sizes, _ = State.from_samples(H, W, b, dataset.labels[rows])
    return Snapshot(step, time, state, sizes, train_state)


def head(variables: Variables) -> tuple[np.ndarray, np.ndarray]:
    """W (C x n) and b (C) in float64; b = 0 for a head without bias."""
    layer = variables.params["head"]
    W = np.asarray(layer["kernel"], dtype=np.float64).T.copy()
    return W, np.asarray(layer.get("bias", np.zeros(len(W))), dtype=np.float64)


def accuracy(network: Network, variables: Variables, x: Inputs | jax.Array, labels: np.ndarray) -> float:
    """Share of samples classified correctly; NaN without samples."""
    if len(labels) == 0:
        # Not 0: nothing was classified wrongly.
        return float("nan")
    W, b = head(variables)
    outputs = W @ probe(network, variables, x) + b[:, None]
    return float(np.mean(outputs.argmax(axis=0) == labels))
