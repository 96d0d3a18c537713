"""The steps of a run on its directory: train, measure, compare. Each goes on from what is there."""

from collections.abc import Callable, Mapping, Sequence

from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.ladder.run import LadderSettings
from ntkflow_validation.ladder.run import compare_run as predict_windows
from ntkflow_validation.metrics.kernel_change import sign_of, spread_by_change
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
from ntkflow_validation.training.train import Prepared, prepare

__all__ = [
    "Outcome",
    "Result",
    "compare_run",
    "kernel_steps",
    "measure_run",
    "prepare",
    "read_outcome",
    "snapshot_metrics",
    "train_run",
]


def kernel_steps(run: RunDirectory, extra: int | None = None) -> list[int]:
    """Snapshots to measure: spread as `kernels.spacing` says over those there are, first and last included, and `extra`.

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
    how = run.config.kernels
    chosen = spread_evenly(steps, how.count)
    if how.spacing == "change":
        seen = (run.read_snapshot(step) for step in steps)
        signs = [sign_of(s.state, s.sizes) for s in seen]
        chosen = tuple(steps[i] for i in spread_by_change(signs, how.count))
    return sorted({*chosen, *([] if extra is None else [extra])})


def measure_run(
    run: RunDirectory,
    extra: int | None = None,
    progress: Progress = silent,
    prepared: Prepared | None = None,
) -> dict[int, Measurement]:
    """Measure the kernels not measured yet and write each as it is done.

    Args:
        run: trained.
        extra: a step to measure besides.
        progress: called with (what, done, in all).
        prepared: what `prepare` gives for the run's configuration, where that is known already.

    Returns:
        Everything that was measured, by step, without kernels of samples and tensors.
    """
    steps = measure_steps(run, kernel_steps(run, extra), progress=progress, prepared=prepared)
    # What was measured now holds its large arrays, and is read again without them.
    return run.measurements({step: found for step, found, now in steps if not now})


def compare_run(
    run: RunDirectory,
    from_snapshot: int | None = None,
    progress: Progress = silent,
    rungs: Sequence[str] | None = None,
    announce: Callable[[str], None] = lambda _: None,
    kernels: Mapping[int, Measurement] | None = None,
    prepared: Prepared | None = None,
) -> ComparedRun:
    """Predict the run from measured snapshots with the rungs of the kernel ladder; see `ntkflow_validation.ladder`.

    Args:
        run: trained and measured.
        from_snapshot: predict from this step to the end of the run; by default from the first measured snapshot,
            and later ones, each until the squared class residual is at 1/30, or as far as it gets.
        progress: called with (what, done, in all).
        rungs: their names; None for those that are cheap enough for the network, ("all",) for all. Those named one by
            one are run whatever they cost.
        announce: told in a sentence what a costly part is about to take.
        kernels: what `measure_run` gave; None reads it.
        prepared: what `prepare` gives for the run's configuration, where that is known already.

    Returns:
        What comparison.json holds.

    Raises:
        InputError: nothing was measured, or not `from_snapshot`; or there is no rung of a name.
    """
    settings = LadderSettings(rungs=None if rungs is None else tuple(rungs), announce=announce)
    return predict_windows(run, from_snapshot, progress, settings, kernels, prepared)
