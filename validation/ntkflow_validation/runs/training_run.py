"""Training on a run directory: snapshots, metrics, checkpoints, how it ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import jax
import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.metrics.compare import observables
from ntkflow_validation.metrics.probe import invariant_metrics
from ntkflow_validation.models import Network
from ntkflow_validation.own import data as own
from ntkflow_validation.runs.documents import MadeBy, Training
from ntkflow_validation.runs.measurement_run import measure_snapshot
from ntkflow_validation.runs.rundir import TRAINING, RunDirectory
from ntkflow_validation.training.steps import snapshot_steps, total_steps
from ntkflow_validation.training.train import (
    DivergedError,
    Snapshot,
    TrainState,
    accuracy,
    chosen_rate,
    prepare,
    start,
    train,
)

Prepared = tuple[Dataset, Network]
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
    observed: Callable[[Json], object] = lambda _: None,
    prepared: Prepared | None = None,
) -> Outcome:
    """Train and write snapshots; goes on from the latest checkpoint or snapshot, if there is one.

    Args:
        run: the directory.
        progress: called with ("training", steps done, steps in all).
        observed: called with the metrics of every snapshot.
        prepared: what `prepare` gives for the run's configuration, where that is known already.

    Returns:
        How it ended; a training that had ended before is left alone.
    """
    ended = read_outcome(run)
    if ended is not None:
        return ended
    dataset, network = prepared or prepare(run.config)
    facts = _begun(run, dataset, network)
    config = run.config.with_rate(float(facts.learning_rate))
    resume = run.read_latest(start(network, config.training))
    run.repair_metrics()
    total = total_steps(config.training, dataset.per_class)
    if resume is not None and resume[0] > total:
        raise InputError(
            "run",
            run.path,
            f"has numbers of step {resume[0]}, its training has {total}",
            "remove checkpoint.npz or the snapshots beyond the end",
        )
    kernel_steps = planned_kernels(config, total) if config.kernels.while_training else ()
    saver = _Saver(run)
    try:
        for snapshot in train(config, dataset, network, resume, progress, saver):
            row = write_snapshot(run, config, snapshot, dataset, network, snapshot.step in kernel_steps)
            observed(row)
            progress("training", snapshot.step, total)
    except DivergedError as error:
        return _end(run, facts, Outcome(Result.DIVERGED, error.step, str(error)))
    return _end(run, facts, Outcome(Result.COMPLETE, total))


def planned_kernels(config: RunConfig, total: int) -> tuple[int, ...]:
    """Steps whose snapshots are measured: spread evenly over the snapshots."""
    recipe = config.training
    return spread_evenly(snapshot_steps(total, recipe.snapshots, recipe.spacing), config.kernels.count)


def spread_evenly(steps: list[int], count: int) -> tuple[int, ...]:
    """`count` of some steps, by position, the first and the last included."""
    chosen = np.unique(np.round(np.linspace(0, len(steps) - 1, count)).astype(int))
    return tuple(steps[i] for i in chosen)


def write_snapshot(
    run: RunDirectory,
    config: RunConfig,
    snapshot: Snapshot,
    dataset: Dataset,
    network: Network,
    with_kernel: bool,
) -> Json:
    """One snapshot with its metrics, which are returned, and before it the kernel measured there if asked for.

    The snapshot's state is written last and marks it complete: one that a kill keeps from it is observed and measured again.
    """
    metrics = snapshot_metrics(snapshot, dataset, network)
    if with_kernel:
        began = time.perf_counter()
        found = measure_snapshot(network, snapshot.train.variables, dataset, config.kernels, config.seed)
        run.write_measurement(snapshot.step, found, config.kernels, time.perf_counter() - began)
        if not dataset.balanced:
            metrics["invariant_refused"] = "classes differ in size, and E is that of equal ones"
        elif found.broken_order is None:
            m, batch = dataset.per_class, config.training.batch_per_class
            metrics |= invariant_metrics(snapshot.state, snapshot.sizes, found.block(), m, batch)
        else:
            metrics["invariant_refused"] = f"measured constants break {found.broken_order}"
    run.write_snapshot(snapshot, metrics)
    return metrics


def snapshot_metrics(snapshot: Snapshot, dataset: Dataset, network: Network) -> Json:
    """The line of metrics.jsonl: losses, norms, NC metrics on the probe, accuracies on all samples."""
    variables, state = snapshot.train.variables, snapshot.state
    if len(dataset.labels) == snapshot.sizes.N:
        # All samples have just been observed, in the same order.
        trained = float(np.mean(state.logits.argmax(axis=0) == dataset.labels))
    else:
        trained = accuracy(network, variables, dataset.x, dataset.labels)
    return {
        **observables(state, snapshot.sizes),
        "accuracy_train": trained,
        "accuracy_test": accuracy(network, variables, dataset.x_test, dataset.labels_test),
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
