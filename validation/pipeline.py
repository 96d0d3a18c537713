"""The steps of a run on its directory: train, measure, compare. Each goes on from what is there."""

import time
from dataclasses import dataclass

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from validation.blocks import BlockFit, fit
from validation.compare import Comparison, compare
from validation.config import RunConfig
from validation.predict import predict
from validation.probe import probe_kernel
from validation.rundir import RunDirectory, StoredSnapshot
from validation.snapshot_kernels import measure
from validation.train import TrainState, start
from validation.training_run import (
    Outcome,
    Progress,
    Result,
    prepare,
    read_outcome,
    silent,
    snapshot_metrics,
    spread_evenly,
    train_run,
)

__all__ = [
    "Outcome",
    "Progress",
    "Result",
    "Window",
    "compare_run",
    "deviations",
    "kernel_steps",
    "measure_run",
    "prepare",
    "read_outcome",
    "snapshot_metrics",
    "train_run",
]


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
    return sorted({*spread_evenly(steps, run.config.kernels.count), *([] if extra is None else [extra])})


def measure_run(
    run: RunDirectory, extra: int | None = None, progress: Progress = silent
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
    run: RunDirectory, from_snapshot: int | None = None, progress: Progress = silent
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
        windows.append(_window(run.config, step, kernels[step], [s for s in snapshots if s.step >= step]))
        progress("predicting", i + 1, len(starts))
    usable = [w.step for w in windows if w.comparison is not None]
    lead = from_snapshot if from_snapshot is not None else (usable[0] if usable else starts[0])
    run.write_comparison(comparison_document(run, windows, lead))
    return sorted(windows, key=lambda w: (w.step != lead, w.step))


def _window(config: RunConfig, step: int, kernel_fit: BlockFit, later: list[StoredSnapshot]) -> Window:
    refused = _refusal(config, kernel_fit)
    if refused is not None:
        return Window(step, None, refused, float("nan"))
    first = later[0]
    times = np.array([s.time for s in later])
    m, s = config.data.per_class, first.sizes.per_class
    probe_times = times * m / s  # the clock of `probe_kernel`; t itself when all samples are observed
    prediction = predict(first.state, first.sizes, probe_kernel(kernel_fit.kernel(), s, m), probe_times)
    states = [prediction.state(i) for i in range(len(times))]
    flow = prediction.solution.flow
    largest = float(np.max(np.diff(probe_times) / np.diff([s.step for s in later])))
    rate = flow.spectral_radius(prediction.solution.packed[0])
    return Window(step, compare(times, [s.state for s in later], states, first.sizes), None, largest * rate)


def _refusal(config: RunConfig, kernel_fit: BlockFit) -> str | None:
    if config.training.loss != "mse":
        return f"trained on {config.training.loss}; the prediction is for the squared error of eq. (4)"
    if kernel_fit.broken_order is not None:
        return f"measured constants break {kernel_fit.broken_order}"
    return None


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
        kind = "Nesterov momentum" if training.nesterov else "momentum"
        found.append(f"{kind} {training.momentum}: time is mapped, inertia is not modelled")
    if training.weight_decay:
        of = "all parameters" if training.decay_on == "all" else "weights"
        found.append(f"decay {training.weight_decay} of {of}: not in the predicted flow")
    if training.batch_per_class:
        found.append(f"batches of {training.batch_per_class} per class: the flow is that of their mean")
    if training.warmup:
        found.append(f"warm-up of {training.warmup} steps: in the clock only")
    if training.loss != "mse":
        found.append(f"loss {training.loss}: not the squared error of eq. (4)")
    if config.has_running_statistics:
        of = "those of the training set" if training.observed == "recalibrated" else "running averages"
        found.append(f"batch normalisation: trained on statistics of batches, measured on {of}")
    if config.model.name != "linear":
        found.append("the kernel of a nonlinear network drifts; the prediction keeps the measured one")
    return found
