"""The steps of a run on its directory: train, measure, compare. Each goes on from what is there."""

from collections.abc import Callable, Sequence

from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.ladder.run import LadderSettings
from ntkflow_validation.ladder.run import compare_run as predict_windows
from ntkflow_validation.runs.compared import ComparedRun
from ntkflow_validation.runs.measurement_run import measure_steps
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.runs.training_run import (
    Outcome,
    Result,
    read_outcome,
    snapshot_metrics,
    spread_evenly,
    train_run,
)
from ntkflow_validation.training.train import prepare

__all__ = [
    "Outcome",
    "Result",
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
    """Snapshots to measure: spread evenly over those there are, first and last included, and `extra`.

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
) -> dict[int, Measurement]:
    """Measure the kernels not measured yet and write each as it is done.

    Returns:
        Everything that was measured, by step, without kernels of samples and tensors.
    """
    for _ in measure_steps(run, kernel_steps(run, extra), progress=progress):
        pass
    return run.measurements()


def compare_run(
    run: RunDirectory,
    from_snapshot: int | None = None,
    progress: Progress = silent,
    rungs: Sequence[str] | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> ComparedRun:
    """Predict the run from measured snapshots with the rungs of the kernel ladder; see `ntkflow_validation.ladder`.

    Args:
        run: trained and measured.
        from_snapshot: predict from this step to the end of the run; by default from the first measured snapshot,
            and later ones, each until the loss has halved.
        progress: called with (what, done, in all).
        rungs: their names; None for those that are cheap enough for the network, ("all",) for all. Those named one by
            one are run whatever they cost.
        announce: told in a sentence what a costly part is about to take.

    Returns:
        What comparison.json holds.

    Raises:
        InputError: nothing was measured, or not `from_snapshot`; or there is no rung of a name.
    """
    settings = LadderSettings(rungs=None if rungs is None else tuple(rungs), announce=announce)
    return predict_windows(run, from_snapshot, progress, settings, deviations)


def deviations(run: RunDirectory) -> list[str]:
    """Hypotheses of the theory that the run does not satisfy, in words."""
    facts = run.training()
    return [*_of_configuration(run.config), *((facts.remarks or ()) if facts else ())]


def _of_configuration(config: RunConfig) -> list[str]:
    training, found = config.training, []
    if training.adaptive:
        found.append(f"optimiser {training.optimiser}: not gradient descent, and in no flow time")
    if training.label_smoothing:
        found.append(
            f"labels smoothed by {training.label_smoothing:g}: the flow and its scores are of these targets; "
            "metrics.jsonl has losses against one-hot ones"
        )
    if training.momentum:
        kind = "Nesterov momentum" if training.nesterov else "momentum"
        found.append(
            f"{kind} {training.momentum}: the flow maps its time, the modified predictions have its inertia"
        )
    if training.weight_decay:
        of = "all parameters" if training.decay_on == "all" else "weights"
        found.append(f"decay {training.weight_decay} of {of}: not in the predicted flow")
    if training.batch_per_class and not isinstance(config, RecordedConfig):
        found.append(f"batches of {training.batch_per_class} per class: the flow is that of their mean")
    if training.warmup:
        found.append(f"warm-up of {training.warmup} steps: in the clock only")
    if training.loss != "mse":
        found.append(
            f"loss {training.loss}: not the squared error of eq. (4); the flow, its residuals and losses are of this one, "
            "whose parts do not add up to it, and metrics.jsonl has squared errors"
        )
    found += _of_network(config)
    return [*found, *config.remarks()] if isinstance(config, RecordedConfig) else found


def _of_network(config: RunConfig) -> list[str]:
    found = []
    if not config.model.head_bias:
        found.append("head without a bias: the flow holds b = 0, where the theory trains it")
    if config.has_running_statistics:
        whole = "recorded samples" if isinstance(config, RecordedConfig) else "training set"
        of = f"those of the {whole}" if config.training.observed == "recalibrated" else "running averages"
        found.append(f"batch normalisation: trained on statistics of batches, measured on {of}")
    if config.model.name != "linear":
        found.append("the kernel of a nonlinear network drifts; the prediction keeps the measured one")
    return found
