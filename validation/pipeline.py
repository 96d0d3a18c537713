"""The steps of a run on its directory: train, measure, compare. Each goes on from what is there."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from validation import datasets
from validation.blocks import BlockFit, fit
from validation.clock import snapshot_steps
from validation.compare import Comparison, compare, observables
from validation.config import RunConfig
from validation.datasets import Dataset
from validation.models import Network, build
from validation.predict import predict
from validation.rundir import RunDirectory, StoredSnapshot
from validation.snapshot_kernels import measure
from validation.train import Snapshot, TrainState, accuracy, start, train

# called with (what is being done, amount done, amount in all)
Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    del what, done, total


def prepare(config: RunConfig) -> tuple[Dataset, Network]:
    """The dataset and the freshly initialised network of a configuration."""
    dataset = datasets.load(config.data, config.seed)
    return dataset, build(config.model, dataset.input_shape, dataset.classes, config.seed)


def train_run(run: RunDirectory, progress: Progress = _silent) -> None:
    """Train and write snapshots; goes on from the last complete snapshot, if there is one."""
    config = run.config
    dataset, network = prepare(config)
    template = start(network, config.training)
    done, due = run.steps(), snapshot_steps(config.training.steps, config.training.snapshots)
    if done and done[-1] == due[-1]:
        return
    run.repair_metrics()
    resume = (done[-1], run.read_train_state(done[-1], template)) if done else None
    total = config.training.steps
    for snapshot in train(config, dataset, network, resume, lambda step: progress("training", step, total)):
        run.write_snapshot(snapshot, snapshot_metrics(snapshot, dataset, network))
        progress("training", snapshot.step, total)


def snapshot_metrics(snapshot: Snapshot, dataset: Dataset, network: Network) -> Json:
    """The line of metrics.jsonl: losses, norms, NC metrics, accuracies."""
    variables = snapshot.train.variables
    return {
        **observables(snapshot.state, snapshot.sizes),
        "accuracy_train": accuracy(network, variables, dataset.x, dataset.labels),
        "accuracy_test": accuracy(network, variables, dataset.x_test, dataset.labels_test),
    }


def kernel_steps(run: RunDirectory, extra: int | None = None) -> list[int]:
    """Snapshots to measure: spread evenly over the log-spaced ones, first and last included, and `extra`.

    Raises:
        InputError: there is no snapshot, or none at step `extra`.
    """
    steps = run.steps()
    if not steps:
        raise InputError("run", run.path, "has no snapshots", "run `ntkflow validate train` first")
    if extra is not None and extra not in steps:
        raise InputError(
            "from-snapshot", extra, f"no snapshot at that step; there are {steps}", "pick one of these"
        )
    chosen = np.unique(np.round(np.linspace(0, len(steps) - 1, run.config.kernels.count)).astype(int))
    return sorted({*(steps[i] for i in chosen), *([] if extra is None else [extra])})


def measure_run(
    run: RunDirectory, extra: int | None = None, progress: Progress = _silent
) -> dict[int, BlockFit]:
    """Measure the kernels not measured yet and write each as it is done."""
    wanted = [step for step in kernel_steps(run, extra) if step not in run.kernels()]
    if wanted:
        dataset, network = prepare(run.config)
        template = start(network, run.config.training)
        neurons = run.config.kernels.neurons or run.config.model.features
        for i, step in enumerate(wanted):
            began = time.perf_counter()
            state: TrainState = run.read_train_state(step, template)
            measured = measure(
                network,
                state.variables,
                dataset,
                run.config.kernels,
                lambda p, i=i: progress("measuring kernels", i * neurons + p, len(wanted) * neurons),  # type: ignore[misc]
            )
            run.write_kernel(step, measured, fit(measured), time.perf_counter() - began)
    return run.kernels()


@dataclass(frozen=True)
class Window:
    """One prediction: from a snapshot whose kernel was measured to the end of the run.

    Attributes:
        step: the snapshot it starts from.
        comparison: scores; None when the measured kernel is no block kernel.
        refused: why there is no comparison.
        step_times_rate: largest step in flow time times the fastest rate of the predicted flow at its start;
            well below 1 gradient descent follows the flow, at 2 it becomes unstable.
    """

    step: int
    comparison: Comparison | None
    refused: str | None
    step_times_rate: float


def compare_run(
    run: RunDirectory, from_snapshot: int | None = None, progress: Progress = _silent
) -> list[Window]:
    """Predict from every measured snapshot and compare; `from_snapshot`, by default the first, leads.

    Raises:
        InputError: nothing was measured, or not `from_snapshot`.
    """
    kernels, snapshots = run.kernels(), [run.read_snapshot(step) for step in run.steps()]
    starts = [step for step in sorted(kernels) if step < run.steps()[-1]] if kernels else []
    if not starts:
        raise InputError(
            "run", run.path, "has no measured kernel to predict from", "run `ntkflow validate kernels` first"
        )
    if from_snapshot is not None and from_snapshot not in starts:
        raise InputError(
            "from-snapshot",
            from_snapshot,
            f"no kernel was measured there, only at {starts}",
            "pick one of these",
        )
    windows = []
    for i, step in enumerate(starts):
        windows.append(_window(step, kernels[step], [s for s in snapshots if s.step >= step]))
        progress("predicting", i + 1, len(starts))
    usable = [w.step for w in windows if w.comparison is not None]
    lead = from_snapshot if from_snapshot is not None else (usable[0] if usable else starts[0])
    run.write_comparison(comparison_document(run, windows, lead))
    return sorted(windows, key=lambda w: (w.step != lead, w.step))


def _window(step: int, kernel_fit: BlockFit, later: list[StoredSnapshot]) -> Window:
    if kernel_fit.broken_order is not None:
        return Window(step, None, f"measured constants break {kernel_fit.broken_order}", float("nan"))
    first = later[0]
    times = np.array([s.time for s in later])
    prediction = predict(first.state, first.sizes, kernel_fit.kernel(), times)
    states = [prediction.state(i) for i in range(len(times))]
    flow = prediction.solution.flow
    largest = float(np.max(np.diff(times) / np.diff([s.step for s in later])))
    rate = flow.spectral_radius(prediction.solution.packed[0])
    return Window(step, compare(times, [s.state for s in later], states, first.sizes), None, largest * rate)


def comparison_document(run: RunDirectory, windows: list[Window], lead: int) -> Json:
    """comparison.json: the leading window in full, the scores of every window, and known deviations."""
    leading = next(w for w in windows if w.step == lead)
    return {
        "from_snapshot": lead,
        "refused": leading.refused,
        "deviations": deviations(run.config),
        "windows": [window_document(w) for w in windows],
        "trajectory": leading.comparison.to_dict() if leading.comparison else None,
    }


def window_document(window: Window) -> Json:
    """Scores of one window."""
    scores = window.comparison
    return {
        "step": window.step,
        "refused": window.refused,
        "step_times_rate": window.step_times_rate,
        "skill": scores.pooled if scores else None,
        "loss_final": {"observed": scores.observed["loss"][-1], "predicted": scores.predicted["loss"][-1]}
        if scores
        else None,
    }


def deviations(config: RunConfig) -> list[str]:
    """Hypotheses of the theory that the run does not satisfy, in words."""
    training, found = config.training, []
    if training.momentum:
        found.append(f"momentum {training.momentum}: time is mapped, inertia is not modelled")
    if training.weight_decay:
        found.append(f"weight decay {training.weight_decay}: not in the predicted flow")
    if training.batch_per_class:
        found.append(f"batches of {training.batch_per_class} per class: the flow is that of their mean")
    if training.warmup:
        found.append(f"warm-up of {training.warmup} steps: in the clock only")
    if config.model.norm == "batch":
        found.append("batch normalisation: trained on batch statistics, measured on running ones")
    if config.model.name != "linear":
        found.append("the kernel of a nonlinear network drifts; the prediction keeps the measured one")
    return found
