"""Run a sweep of trainings, or the rest of one, and tabulate it."""

import os
import shutil
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow.runs.processes.executors import check_workers
from ntkflow.runs.processes.isolated import IsolatedProcesses
from ntkflow.sweep.runner import fill
from ntkflow.sweep.stored.cache import Cache
from ntkflow.sweep.table import Table, tabulate
from ntkflow_validation.sweep.cell import CellTask, run_cell
from ntkflow_validation.sweep.devices import accelerators, default_workers, worker_environments
from ntkflow_validation.sweep.grid import Cell, TrainingSweep
from ntkflow_validation.sweep.records import cell_entries


@dataclass(frozen=True)
class _Task:
    key: str
    config: CellTask | None
    problem: InputError | None


def run_sweep(
    sweep: TrainingSweep,
    directory: Path | str,
    executor: Executor | None = None,
    progress: Progress = silent,
    overwrite: bool = False,
    keep_runs: bool = False,
    data_dir: Path | str | None = None,
) -> Table:
    """Run the trainings that are missing; finished ones are never run again, interrupted ones go on.

    Args:
        sweep: what to run.
        directory: where sweep.toml, cells/, runs/, table.csv and table.npz go.
        executor: any `concurrent.futures.Executor` whose workers see the directory; None means local processes,
            one an accelerator, or one a core where there is none. It is left running; cells that failed before are tried again.
        progress: called with ("cells", finished, in all), the number of those that failed in brackets after the name.
        overwrite: replace another sweep's specification in the directory; cells both share are kept.
        keep_runs: keep the run directories of finished cells, with snapshots and parameters.
        data_dir: folder of the data sets, for the workers.

    Returns:
        One row per cell, in grid order whatever the order they finished in. Failed cells have their message.

    Raises:
        InputError: no cell can be run at all, or the directory holds something else.
        SolveError: the executor broke; the same call again goes on from there.
    """
    directory = Path(directory)
    first = next((cell.problem for cell in sweep.cells), None)
    if first is not None and all(cell.problem is not None for cell in sweep.cells):
        raise first
    cache = Cache(directory)
    cache.open(sweep, overwrite)
    tasks = [_task(cell, directory, data_dir) for cell in sweep.cells]
    if executor is not None:
        fill(tasks, cache, executor, run_cell, progress)
    else:
        with local_workers() as pool:
            fill(tasks, cache, pool, run_cell, progress)
    if not keep_runs:
        _remove_runs(tasks, cache)
    table = tabulate_sweep(sweep, directory)
    table.write(directory)
    return table


def tabulate_sweep(sweep: TrainingSweep, directory: Path | str) -> Table:
    """The table of a sweep as far as it has come."""
    return tabulate(sweep.swept, sweep.cells, Cache(Path(directory)), cell_entries)


def local_workers(workers: int | None = None) -> IsolatedProcesses:
    """A process a cell, as many at a time as there are accelerators, or cores where there are none.

    Raises:
        InputError: fewer than one worker.
    """
    check_workers(workers)
    devices = accelerators()
    chosen = workers or default_workers(devices)
    return IsolatedProcesses(chosen, worker_environments(os.environ, chosen, devices))


def _task(cell: Cell, directory: Path, data_dir: Path | str | None) -> _Task:
    if cell.run is None:
        return _Task(cell.key, None, cell.problem)
    # Whole paths: a worker may run in another folder, or on another machine that sees the same disk.
    folder = None if data_dir is None else str(Path(data_dir).resolve())
    return _Task(cell.key, CellTask(cell.key, cell.run.to_dict(), str(directory.resolve()), folder), None)


def _remove_runs(tasks: list[_Task], cache: Cache) -> None:
    for task in tasks:
        if task.config is not None and cache.read(task.key) is not None:
            shutil.rmtree(task.config.run_directory, ignore_errors=True)
    runs = cache.directory / "runs"
    if runs.is_dir() and not any(runs.iterdir()):
        runs.rmdir()
