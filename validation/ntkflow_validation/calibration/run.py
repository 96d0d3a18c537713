"""Run a calibration: every cell through the real pipeline, in processes of its own, resumable."""

import shutil
import tempfile
from concurrent.futures import as_completed
from pathlib import Path

from ntkflow.progress import Progress, silent
from ntkflow.runs.atomic import is_remains, refuse_existing
from ntkflow.runs.processes.executors import local_processes
from ntkflow_validation.calibration import store
from ntkflow_validation.calibration.cells import Cell, cells
from ntkflow_validation.calibration.document import Calibration, CellRow, calibration_document, cell_row
from ntkflow_validation.pipeline.pipeline import compare_run, measure_run, train_run
from ntkflow_validation.runs.rundir import RunDirectory

# All that a directory of a calibration may hold.
FILE = "calibration.json"
OWNED = frozenset({"cells", FILE, "figures", "report.html"})
# What is predicted of a cell: enough to say which assumption fails.
RUNGS = ("block", "class-block", "neuron-diagonal", "class-matrix", "sample", "tensor")
# And of the kernel that moves.
MOVING_RUNGS = ("block", "block-in-time", "weighted-block-in-time")


def calibrate(
    out: Path | str,
    brief: bool = False,
    seeds: int = 3,
    workers: int | None = None,
    progress: Progress = silent,
) -> Calibration:
    """Run all cells and write OUT/calibration.json; cells that this code has run there already are kept.

    Args:
        out: directory; each cell is a run directory in OUT/cells/FINGERPRINT.
        brief: the known answer and two departures only, in this process.
        seeds: of every departure.
        workers: processes; None: one a core; brief: none.
        progress: called with ("calibrating", cells done, cells in all).

    Returns:
        The document.
    """
    out = Path(out)
    folder = out / "cells" / store.fingerprint()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = cells(brief, seeds)
    rows: dict[str, CellRow] = {}
    if brief:
        for cell in wanted:
            rows[cell.name] = run_cell(cell, folder)
            progress("calibrating", len(rows), len(wanted))
    else:
        with local_processes(workers) as pool:
            futures = {pool.submit(run_cell, cell, folder): cell for cell in wanted}
            for future in as_completed(futures):
                rows[futures[future].name] = future.result()
                progress("calibrating", len(rows), len(wanted))
    found = calibration_document([(cell, rows[cell.name]) for cell in wanted], brief, store.fingerprint())
    store.write(out / FILE, found)
    return found


def calibration_of(folder: Path | str | None = None, progress: Progress = silent) -> Calibration:
    """The calibration of the running code: from a run's folder, the user's cache, or made now, in brief.

    Args:
        folder: may hold a calibration.json; gets one, in place of another's unless that is longer.
        progress: called as cells are done.
    """
    own = None if folder is None else Path(folder) / FILE
    for path in (own, store.place()):
        found = None if path is None else store.read(path)
        if found is not None and store.current(found):
            break
    else:
        with tempfile.TemporaryDirectory() as scratch:
            found = calibrate(Path(scratch) / "calibration", brief=True, progress=progress)
        store.keep(found)
    if own is not None and (known := store.read(own)) != found and not store.loses(known, found):
        store.write(own, found)
    return found


def run_cell(cell: Cell, folder: Path | str) -> CellRow:
    """Train, measure and predict one cell, or go on with it; its row of the document."""
    path = Path(folder) / cell.name
    resume = (path / "config.toml").exists()
    run = RunDirectory.create(path, cell.config, resume=resume)
    with run.locked():
        comparison = run.comparison()
        if comparison is None:
            train_run(run)
            kernels = measure_run(run)
            rungs = MOVING_RUNGS if cell.departure == "moving" else RUNGS
            comparison = compare_run(run, from_snapshot=0, rungs=rungs, kernels=kernels)
        return cell_row(cell, [kernel.row for kernel in comparison.kernels], comparison)


def make_place(out: Path | str, overwrite: bool) -> None:
    """A directory for a calibration; with `overwrite` without the cells of an earlier one.

    Raises:
        InputError: OUT holds anything else.
    """
    out = Path(out)
    names = {entry.name for entry in out.iterdir() if not is_remains(entry)} if out.is_dir() else {""}
    # The cells of a sweep are files.
    if names - OWNED or any(not cell.is_dir() for cell in (out / "cells").glob("[!.]*")):
        refuse_existing(out, overwrite=False)
    if overwrite:
        shutil.rmtree(out / "cells", ignore_errors=True)
    (out / "cells").mkdir(parents=True, exist_ok=True)
