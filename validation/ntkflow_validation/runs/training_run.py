"""Training on a run directory: snapshots, metrics, checkpoints, how it ended."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import jax
import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.metrics.probe import batch_refused, invariant_metrics
from ntkflow_validation.metrics.variability import line_metrics
from ntkflow_validation.models import Network
from ntkflow_validation.own import data as own
from ntkflow_validation.runs.documents import Line, MadeBy, Training
from ntkflow_validation.runs.measurement_run import measure_snapshot
from ntkflow_validation.runs.rundir import TRAINING, RunDirectory
from ntkflow_validation.training.steps import snapshot_steps, total_steps
from ntkflow_validation.training.together import Member, train_together
from ntkflow_validation.training.train import (
    DivergedError,
    Prepared,
    Snapshot,
    TrainState,
    accuracy,
    chosen_rate,
    prepare,
    start,
    train,
)

# Seconds between checkpoints: what a kill costs at most, beside the time since the last snapshot.
CHECKPOINT_EVERY = 30.0


class Result(StrEnum):
    """How a training ended.

    `COMPLETE`: all steps done. `DIVERGED`: parameters or features left the finite numbers; the snapshots
    before that are kept and can be measured.
    """

    COMPLETE = "complete"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Outcome:
    """The end of a training.

    Attributes:
        result: the result code.
        step: optimiser steps done.
        message: what happened, in words; empty when complete.
    """

    result: Result
    step: int
    message: str = ""


def train_run(
    run: RunDirectory,
    progress: Progress = silent,
    observed: Callable[[Line], object] = lambda _: None,
    prepared: Prepared | None = None,
) -> Outcome:
    """Train and write snapshots; goes on from the latest checkpoint or snapshot, if there is one.

    Args:
        run: the directory.
        progress: called with ("training", steps done, steps in all).
        observed: called with the line of every snapshot.
        prepared: what `prepare` gives for the run's configuration, where that is known already.

    Returns:
        How it ended; a training that had ended before is left alone.
    """
    ended = read_outcome(run)
    if ended is not None:
        return ended
    begun = _Begun(run, prepared)
    try:
        for snapshot in train(
            begun.config, begun.dataset, begun.network, begun.resume, progress, begun.checkpoint
        ):
            observed(begun.write(snapshot))
            progress("training", snapshot.step, begun.total)
    except DivergedError as error:
        return begun.diverged(error)
    return begun.complete()


def train_runs(runs: Sequence[RunDirectory]) -> list[Outcome]:
    """As `train_run`, of networks that are one program as far as they go on from the same step; see `train_together`.

    Raises:
        InputError: they differ in more than rate, initialisation and seed.
    """
    outcomes = {i: ended for i, run in enumerate(runs) if (ended := read_outcome(run)) is not None}
    begun = {i: _Begun(run) for i, run in enumerate(runs) if i not in outcomes}
    steps = {i: -1 if one.resume is None else one.resume[0] for i, one in begun.items()}
    for step in sorted(set(steps.values())):
        chosen = [i for i in begun if steps[i] == step]
        members = [
            Member(k.config, k.dataset, k.network, k.resume, k.checkpoint) for k in (begun[i] for i in chosen)
        ]
        for row in train_together(members):
            for i, seen in zip(chosen, row, strict=True):
                if i in outcomes:
                    continue
                if isinstance(seen, DivergedError):
                    outcomes[i] = begun[i].diverged(seen)
                else:
                    begun[i].write(seen)
        outcomes |= {i: begun[i].complete() for i in chosen if i not in outcomes}
    return [outcomes[i] for i in range(len(runs))]


class _Begun:
    """A training that goes on: what it needs, and what becomes of its snapshots."""

    def __init__(self, run: RunDirectory, prepared: Prepared | None = None) -> None:
        self.run = run
        self.dataset, self.network = prepared or prepare(run.config)
        self.facts = _begun(run, self.dataset, self.network)
        assert self.facts.learning_rate is not None
        self.config = run.config.with_rate(float(self.facts.learning_rate))
        self.resume = run.read_latest(start(self.network, self.config.training))
        run.repair_metrics()
        self.total = total_steps(self.config.training, self.dataset.per_class)
        if self.resume is not None and self.resume[0] > self.total:
            raise InputError(
                "run",
                run.path,
                f"has numbers of step {self.resume[0]}, its training has {self.total}",
                "remove checkpoint.npz or the snapshots beyond the end",
            )
        kernels = self.config.kernels.while_training
        self.kernel_steps = planned_kernels(self.config, self.total) if kernels else ()
        self.checkpoint = _Saver(run)

    def write(self, snapshot: Snapshot) -> Line:
        """See `write_snapshot`."""
        measured = snapshot.step in self.kernel_steps
        return write_snapshot(self.run, self.config, snapshot, self.dataset, self.network, measured)

    def diverged(self, error: DivergedError) -> Outcome:
        """The end of one that left the finite numbers."""
        return _end(self.run, self.facts, Outcome(Result.DIVERGED, error.step, str(error)))

    def complete(self) -> Outcome:
        """The end of one that did all its steps."""
        return _end(self.run, self.facts, Outcome(Result.COMPLETE, self.total))


def planned_kernels(config: RunConfig, total: int) -> tuple[int, ...]:
    """Steps whose snapshots are measured: spread evenly over the snapshots."""
    recipe = config.training
    return spread_evenly(snapshot_steps(total, recipe.snapshots, recipe.spacing), config.kernels.count)


def spread_evenly(steps: list[int], count: int) -> tuple[int, ...]:
    """`count` of some steps, by position, the first and the last included."""
    chosen = np.unique(np.round(np.linspace(0, len(steps) - 1, count)).astype(int))
    return tuple(steps[i] for i in chosen)


# Why a line has no E.
PART_OF_UNEQUAL = "classes differ in size and a part of them is observed, which has no E of its own"


def write_snapshot(
    run: RunDirectory,
    config: RunConfig,
    snapshot: Snapshot,
    dataset: Dataset,
    network: Network,
    with_kernel: bool,
) -> Line:
    """One snapshot with its line of metrics, which is returned, and before it the kernel measured there if asked for.

    The snapshot's state is written last and marks it complete: one that a kill keeps from it is observed and measured again.
    """
    metrics, refused = snapshot_metrics(snapshot, dataset, network), None
    if with_kernel:
        began = time.perf_counter()
        found = measure_snapshot(network, snapshot.train.variables, dataset, config.kernels, config.seed)
        run.write_measurement(snapshot.step, found, config.kernels, time.perf_counter() - began)
        if not dataset.balanced and len(dataset.labels) > snapshot.sizes.N:
            refused = PART_OF_UNEQUAL
        elif found.broken_order is None:
            m, batch = len(dataset.labels) / dataset.classes, config.training.batch_per_class
            metrics |= invariant_metrics(snapshot.state, snapshot.sizes, found.block(), m, batch)
        else:
            refused = f"measured constants break {found.broken_order}"
    line = Line(snapshot.step, snapshot.time, metrics, refused, batch_refused(metrics))
    run.write_snapshot(snapshot, line)
    return line


def snapshot_metrics(snapshot: Snapshot, dataset: Dataset, network: Network) -> Json:
    """The metrics of its line: losses, norms, NC metrics on the probe, accuracies on all samples."""
    variables, state = snapshot.train.variables, snapshot.state
    if len(dataset.labels) == snapshot.sizes.N:
        # All samples have just been observed, in the same order.
        trained = float(np.mean(state.logits.argmax(axis=0) == dataset.labels))
    else:
        trained = accuracy(network, variables, dataset.x_on_device, dataset.labels)
    return {
        **line_metrics(state, snapshot.sizes),
        "accuracy_train": trained,
        "accuracy_test": accuracy(network, variables, dataset.x_test_on_device, dataset.labels_test),
    }


def read_outcome(run: RunDirectory) -> Outcome | None:
    """How the training ended, or None while it has not."""
    found = run.training()
    if found is None or found.result is None:
        return None
    if found.step is None or found.message is None or found.result not in list(Result):
        absent = next((name for name in ("step", "message") if getattr(found, name) is None), None)
        wrong = f"lacks {absent!r}" if absent else f"has the unknown result {found.result!r}"
        raise InputError("training", run.path / TRAINING, wrong, "remove the file and train again")
    return Outcome(Result(found.result), found.step, found.message)


def _begun(run: RunDirectory, dataset: Dataset, network: Network) -> Training:
    """The facts of the training with its learning rate chosen, once for all restarts."""
    facts = run.training()
    if facts is None:
        facts = Training(
            learning_rate=chosen_rate(network, dataset, run.config.training, run.config.seed),
            parameters=sum(leaf.size for leaf in jax.tree.leaves(network.initial.params)),
            samples={
                "train": len(dataset.labels),
                "test": len(dataset.labels_test),
                "unused": dataset.unused,
            },
            labels=own.contents(run.config.data.name).names if run.config.data.is_own else None,
            device=jax.devices()[0].device_kind,
            made_by=MadeBy.here(),
        )
        run.write_training(facts)
    return facts


def _end(run: RunDirectory, facts: Training, outcome: Outcome) -> Outcome:
    run.write_training(replace(facts, result=str(outcome.result), step=outcome.step, message=outcome.message))
    # Last: a kill before it leaves a checkpoint that nobody reads, not a training without an end.
    run.remove_checkpoint()
    return outcome


class _Saver:
    """Writes a checkpoint when enough time has passed since the last; the numbers do not depend on when."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.last = time.monotonic()

    def __call__(self, step: int, state: TrainState) -> None:
        if time.monotonic() - self.last >= CHECKPOINT_EVERY:
            self.run.write_checkpoint(step, state)
            self.last = time.monotonic()
