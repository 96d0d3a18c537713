"""Several networks of one architecture trained as one program: rates, initialisations and seeds may differ.

On a GPU a step of a small network is bound by the launches of its kernels, and several networks take no more of them than
one. Each network's numbers are those that it has when trained alone, to the rounding of float32.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from ntkflow.errors import InputError
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.datasets.batches import batches_of
from ntkflow_validation.models.base import Network
from ntkflow_validation.training.capacity import needs, require_room
from ntkflow_validation.training.steps import recorded_times
from ntkflow_validation.training.train import (
    LENGTHS,
    DivergedError,
    Snapshot,
    TrainState,
    ignore,
    observe,
    on_accelerator,
    plain_step,
    prepared_start,
    recalibrated,
    to_snapshots,
)


@dataclass(frozen=True, eq=False)
class Member:
    """One of the networks.

    Attributes:
        config: its run; the learning rate is a number.
        dataset: its samples.
        network: its structure and initial variables.
        resume: as in `train`; the step is the same for all members.
        checkpoint: as in `train`.
    """

    config: RunConfig
    dataset: Dataset
    network: Network
    resume: tuple[int, TrainState] | None = None
    checkpoint: Callable[[int, TrainState], object] = ignore


def group(config: RunConfig) -> RunConfig:
    """What must be equal in networks that are trained together: all but rate, initialisation and seed."""
    training = replace(config.training, learning_rate=1.0)
    return replace(config, seed=0, training=training, model=replace(config.model, init="lecun-normal"))


def train_together(
    members: Sequence[Member], progress: Callable[[int], object] = ignore
) -> Iterator[list[Snapshot | DivergedError]]:
    """Train all members, yielding their snapshots step by step.

    Args:
        members: one or more; see `group`.
        progress: called with the steps done.

    Yields:
        For each member its snapshot; from where it diverged, the error. The others are not touched by that.

    Raises:
        InputError: members differ in more than they may, or in the step that they go on from, or are more than the device
            holds.
    """
    _check(members)
    first = members[0]
    data = first.dataset
    shared = _shared(members)
    needed = needs(first.network, first.config, data.input_shape, len(data.labels), shared)
    require_room(len(members), needed)
    together = _Together(members, shared, progress)
    begun = -1 if first.resume is None else first.resume[0]
    states = to_snapshots(
        first.config.training, first.dataset.per_class, begun, stacked([_start(member) for member in members]),
        together.go_on, together.settle, together.look, on_accelerator(),
    )  # fmt: skip
    for target, state in states:
        yield [together.observed(i, target, state) for i in range(len(members))]
        if len(together.failed) == len(members):
            return


class _Together:
    """What is done with the stacked state of all members between and at snapshots, and who has diverged."""

    def __init__(self, members: Sequence[Member], shared: bool, progress: Callable[[int], object]) -> None:
        self.members, self.progress = members, progress
        self.failed: dict[int, DivergedError] = {}
        first = members[0]
        self.batch, self.recalibrates = first.config.training.batch_per_class, first.config.recalibrates
        self.rates = jnp.asarray([k.config.training.learning_rate for k in members], jnp.float32)
        self.times = [
            recorded_times(k.config.training, len(k.dataset.labels), k.dataset.classes) for k in members
        ]
        self.advance = advance_of(members, shared)

    def go_on(self, state: TrainState, ahead: range) -> TrainState:
        rows = [
            batches_of(k.dataset.labels, k.dataset.classes, self.batch, k.config.seed, ahead)
            for k in self.members
        ]
        found: TrainState = self.advance(self.rates, state, np.stack(rows, axis=1))
        return found

    def settle(self, state: TrainState) -> TrainState:
        if not self.recalibrates:
            return state
        return stacked(
            [recalibrated(k.network, k.dataset, _one(state, i)) for i, k in enumerate(self.members)]
        )

    def look(self, step: int, state: TrainState) -> None:
        heads = np.asarray(state.variables.params["head"]["kernel"])
        for i, member in enumerate(self.members):
            if i not in self.failed and not np.isfinite(heads[i]).all():
                self.failed[i] = DivergedError(step, "params.head.kernel")
            if i not in self.failed:
                member.checkpoint(step, _one(state, i))
        self.progress(step)

    def observed(self, i: int, target: int, state: TrainState) -> Snapshot | DivergedError:
        if i in self.failed:
            return self.failed[i]
        member = self.members[i]
        try:
            return observe(
                member.network, member.dataset, _one(state, i), target, float(self.times[i][target])
            )
        except DivergedError as error:
            self.failed[i] = error
            return error


def _check(members: Sequence[Member]) -> None:
    if not members:
        raise InputError("members", 0, "must be at least one", "give some")
    first = members[0]
    for member in members[1:]:
        if (
            group(member.config) != group(first.config)
            or member.network.graph_train != first.network.graph_train
        ):
            rule = "may differ in learning rate, initialisation and seed alone"
            raise InputError("members", member.config.model.name, rule, "train the others by themselves")
        if (member.resume or (-1,))[0] != (first.resume or (-1,))[0]:
            raise InputError("members", "resumed", "must go on from the same step", "train them one by one")
    if any(member.config.training.learning_rate == 0 for member in members):
        raise InputError("training.learning_rate", 0, "has not been chosen yet", "use `chosen_rate`")


def _start(member: Member) -> TrainState:
    if member.resume is not None:
        return member.resume[1]
    return prepared_start(member.network, member.dataset, member.config.training)


def _shared(members: Sequence[Member]) -> bool:
    """Whether all have the same samples."""
    first = members[0].dataset
    return all(
        k.dataset is first
        or (np.array_equal(k.dataset.labels, first.labels) and np.array_equal(k.dataset.x, first.x))
        for k in members
    )


# Of rates (K,), the stacked state and batches (steps, K, B): the stacked state after these steps.
Advance = Callable[[jax.Array, TrainState, np.ndarray], TrainState]


def advance_of(members: Sequence[Member], shared: bool) -> Advance:
    """From (rates (K,), stacked state, batches (steps, K, B)) to the stacked state after these steps.

    Args:
        members: the K networks.
        shared: whether all have the same samples.
    """
    network, config, per_class = members[0].network, members[0].config, members[0].dataset.per_class
    datasets = [k.dataset for k in members]
    # What all have is held once; seeds that draw samples of their own have them side by side.
    x = datasets[0].x_on_device if shared else jnp.stack([data.x_on_device for data in datasets])
    labels = jnp.asarray(datasets[0].labels.astype(np.int32))
    step, full = plain_step(network, config.training, per_class), config.training.batch_per_class == 0

    def of_one(
        rate: jax.Array, state: TrainState, x: jax.Array, labels: jax.Array, rows: jax.Array
    ) -> TrainState:
        return step(rate, state, x, labels) if full else step(rate, state, x[rows], labels[rows])

    one = jax.vmap(of_one, in_axes=(0, 0, None if shared else 0, None, 0))
    once = jax.jit(one)

    @jax.jit
    def scanned(
        rates: jax.Array, state: TrainState, x: jax.Array, labels: jax.Array, batches: jax.Array
    ) -> TrainState:
        def body(state: TrainState, rows: jax.Array) -> tuple[TrainState, None]:
            return one(rates, state, x, labels, rows), None

        found: TrainState = jax.lax.scan(body, state, batches)[0]
        return found

    # On CPUs convolutions inside a compiled loop run on one thread: see `make_advance`.
    lengths = LENGTHS if on_accelerator() else ()

    def advance(rates: jax.Array, state: TrainState, batches: np.ndarray) -> TrainState:
        rows, done = jnp.asarray(batches[..., : 1 if full else None].astype(np.int32)), 0
        for length in lengths:
            while len(rows) - done >= length:
                state, done = scanned(rates, state, x, labels, rows[done : done + length]), done + length
        for chosen in rows[done:]:
            state = once(rates, state, x, labels, chosen)
        return state

    return advance


def stacked(states: Sequence[TrainState]) -> TrainState:
    """The states of K networks as one, each leaf with K before its shape."""
    found: TrainState = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return found


def _one(state: TrainState, i: int) -> TrainState:
    found: TrainState = jax.tree.map(lambda leaf: leaf[i], state)
    return found
