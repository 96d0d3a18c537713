"""Run an experiment: every cell through the real pipeline, a document as each is done."""

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow_validation.ladder.run import LadderSettings
from ntkflow_validation.ladder.run import compare_run as predict_windows
from ntkflow_validation.pipeline.laws import laws_of_run
from ntkflow_validation.pipeline.missing import run_missing
from ntkflow_validation.pipeline.pipeline import Result, measure_run, prepare, train_run
from ntkflow_validation.runs.documents import kernel_rows
from ntkflow_validation.runs.measurement_run import measure_steps
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.studies.cells import Cell
from ntkflow_validation.studies.document import StudyRun, finished, run_document, write

# Below OUT: what runs leave while they run. Documents lie in OUT itself.
WORK = "work"


def study(
    out: Path | str, cells: Sequence[Cell], workers: int = 0, progress: Progress = silent
) -> list[StudyRun]:
    """Run what is missing and write OUT/NAME.json for each run as it is done.

    Args:
        out: directory; documents of these settings that are there are kept, and a run that was interrupted goes on.
        cells: what is wanted, in the order in which it is run.
        workers: processes; 0: none, all in this one.
        progress: called with ("runs", runs done, runs in all).

    Returns:
        All documents, in the order of the cells.

    Raises:
        InputError: a training diverged.
    """
    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    return run_missing(
        cells, partial(finished, out=out), partial(run_cell, out=out), workers, "runs", progress
    )


def run_cell(cell: Cell, out: Path | str) -> StudyRun:
    """Train one run, or go on with it, follow its laws, measure and compare as the cell says; then remove what it left."""
    began = time.process_time()
    place = Path(out)
    path = place / WORK / f"{cell.name}-{cell.digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    run = RunDirectory.create(path, cell.config, resume=True)
    with run.locked():
        prepared = prepare(cell.config)
        outcome = train_run(run, prepared=prepared)
        if outcome.result is not Result.COMPLETE:
            rate = cell.config.training.learning_rate
            raise InputError("training.learning_rate", rate, outcome.message, "lower it")
        compared, kernels = None, {}
        if cell.rungs:
            kernels = measure_run(run, prepared=prepared)
            settings = LadderSettings(rungs=cell.rungs, ensemble=0)
            compared = predict_windows(run, settings=settings, kernels=kernels, prepared=prepared)
        elif cell.config.training.weight_decay and "matrix" in cell.config.kernels.quantities:
            # Where its features stop is foretold by the kernel at the end.
            for _ in measure_steps(run, run.steps()[-1:], prepared=prepared):
                pass
        laws = laws_of_run(run, prepared=prepared)
        seconds = time.process_time() - began
        found = run_document(cell, laws, run.metrics(), kernel_rows(kernels), compared, seconds)
    write(place / f"{cell.name}.json", found)
    shutil.rmtree(path, ignore_errors=True)
    return found
