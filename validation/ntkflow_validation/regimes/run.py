"""Run the study: every run through the real pipeline, in processes of its own; a document as each is done."""

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow.runs.atomic import clean, is_remains, refuse_existing
from ntkflow_validation.kernels.methods.arc_cosine import arc_cosine
from ntkflow_validation.ladder.run import LadderSettings, compare_run
from ntkflow_validation.ladder.score.windows import MARKS
from ntkflow_validation.pipeline.missing import run_missing
from ntkflow_validation.pipeline.pipeline import Result, measure_run, prepare, train_run
from ntkflow_validation.regimes import document
from ntkflow_validation.regimes.ceiling import ceiling
from ntkflow_validation.regimes.cells import Cell, Scale, cells
from ntkflow_validation.regimes.convolutional import PART
from ntkflow_validation.regimes.document import RegimeRun
from ntkflow_validation.regimes.inputs import ensure
from ntkflow_validation.runs.compared import ComparedWindow
from ntkflow_validation.runs.rundir import RunDirectory

# Below OUT: what runs leave while they run, and the inputs that are made. Documents lie in OUT itself.
WORK, INPUTS = "work", "inputs"


def study(
    out: Path | str, scale: Scale, workers: int | None = None, progress: Progress = silent
) -> list[RegimeRun]:
    """Run what is missing of a study and write OUT/NAME.json for each run as it is done.

    Args:
        out: directory; documents of these settings that are there are kept.
        scale: how much of it.
        workers: processes; None: one a core; 0: none, all in this one.
        progress: called with ("regimes", runs done, runs in all).

    Returns:
        All documents, in the order of the cells.

    Raises:
        InputError: a training diverged, or data are missing.
    """
    out = Path(out).resolve()
    wanted = cells(scale)
    if any(finished(cell, out) is None for cell in wanted):
        ensure(scale, out / WORK / INPUTS, progress)
    return conduct(out, wanted, workers, progress)


def conduct(
    out: Path | str, wanted: Sequence[Cell], workers: int | None = None, progress: Progress = silent
) -> list[RegimeRun]:
    """What is missing of these cells, whose inputs are there; arguments and errors as of `study`."""
    out = Path(out).resolve()
    found = run_missing(
        wanted, partial(finished, out=out), partial(run_cell, out=out), workers, "regimes", progress
    )
    shutil.rmtree(out / WORK, ignore_errors=True)
    return found


def finished(cell: Cell, out: Path | str) -> RegimeRun | None:
    """The document of a cell; None where there is none, or one of other settings, or a damaged one."""
    path = Path(out) / f"{cell.name}.json"
    try:
        found = document.read(path) if path.is_file() else None
    except InputError:
        return None
    return found if found is not None and found.digest == cell.digest else None


def run_cell(cell: Cell, out: Path | str) -> RegimeRun:
    """Train, measure and predict one run, or go on with it; write its document, and remove what it left."""
    began = time.process_time()
    place = Path(out)
    config = cell.config(place / WORK / INPUTS)
    path = place / WORK / f"{cell.name}-{cell.digest}"
    run = RunDirectory.create(path, config, resume=(path / "config.toml").exists())
    with run.locked():
        prepared = prepare(config)
        outcome = train_run(run, prepared=prepared)
        if outcome.result is not Result.COMPLETE:
            raise InputError("training.stability", config.training.stability, outcome.message, "lower it")
        kernels = measure_run(run, prepared=prepared)
        # The whole training is a window; scores stop where the residual is at the smallest share that it reaches.
        settings = LadderSettings(rungs=cell.rungs, windows=1)
        comparison = compare_run(run, settings=settings, kernels=kernels, prepared=prepared)
        window = comparison.windows[0]
        facts, rows = run.training(), run.metrics()
        found = document.run_document(
            cell,
            window,
            _ceiling(run, prepared[0].x, window) if cell.network == "mlp" else {},
            None if facts is None else facts.learning_rate,
            rows[-1].get("NC1_tirer") if rows else None,
            time.process_time() - began,
        )
    document.write(place / f"{cell.name}.json", found)
    shutil.rmtree(path, ignore_errors=True)
    return found


def _ceiling(run: RunDirectory, x: np.ndarray, window: ComparedWindow) -> dict[str, float]:
    """At infinite width, where an MLP's kernel is known."""
    first, model = run.read_snapshot(0), run.config.model
    X = x.reshape(len(x), -1).astype(np.float64)
    K = arc_cosine(X, model.depth, model.hidden_bias, model.readout_bias)
    return ceiling(K, first.state, first.sizes, window.times[-1] - window.times[0], min(MARKS.values()))


def make_place(out: Path | str, overwrite: bool) -> None:
    """A directory for the study; with `overwrite` without the documents of an earlier one.

    Raises:
        InputError: OUT holds anything else.
    """
    out = Path(out)
    if out.is_dir():
        entries = [entry for entry in out.iterdir() if not is_remains(entry)]
        if not all(_owned(entry) for entry in entries):
            refuse_existing(out, overwrite=False)
    out.mkdir(parents=True, exist_ok=True)
    clean(out)
    if overwrite:
        shutil.rmtree(out / WORK, ignore_errors=True)
        for path in out.glob("*-seed*.json"):
            path.unlink()


def _owned(entry: Path) -> bool:
    names = (WORK, PART, "figures", "expectations.md", "tables.md")
    return entry.name in names or entry.match("*-seed*.json")
