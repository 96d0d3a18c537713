"""Run the cells that are not finished yet, on any executor."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ntkflow._types import Json
from ntkflow.errors import InputError, SolveError
from ntkflow.progress import Progress, silent
from ntkflow.runs.processes.executors import local_processes
from ntkflow.sweep.cache import Cache
from ntkflow.sweep.cell import cells, run_cell
from ntkflow.sweep.spec import SweepSpec
from ntkflow.sweep.table import Table, build_table

# done, all, failed: how far a sweep is.
# Cells that wait in an executor of unknown size. What waits in a local pool is kept short, so that a second
# process on the same directory finds something left to do.
IN_FLIGHT = 1000


@runtime_checkable
class Task(Protocol):
    """One cell as the runner sees it."""

    @property
    def key(self) -> str:
        """Its address."""

    @property
    def config(self) -> Any:
        """What the worker gets, plain enough to travel; None when the cell cannot be run."""

    @property
    def problem(self) -> InputError | None:
        """Why it cannot be run."""


def run_sweep(
    spec: SweepSpec,
    directory: Path,
    executor: Executor | None = None,
    progress: Progress = silent,
    overwrite: bool = False,
) -> Table:
    """Run a sweep, or the rest of one that was interrupted; finished cells are never run again.

    Args:
        spec: what to run.
        directory: where sweep.toml, cells/, table.csv and table.npz go.
        executor: any `concurrent.futures.Executor`; None means spawned local processes, one a core. It is left
            running; cells that failed before are tried again.
        progress: called with ("cells", finished, in all), the number of those that failed in brackets after the name.
        overwrite: replace another sweep's specification in the directory.

    Returns:
        One row per cell, in grid order whatever the order they finished in. Failed cells have their message.

    Raises:
        InputError: no cell can be run at all, or the directory holds something else.
        SolveError: a worker died; the same call again goes on from there.
    """
    grid = cells(spec)
    if all(cell.problem is not None for cell in grid):
        assert grid[0].problem is not None
        raise grid[0].problem
    cache = Cache(directory)
    cache.open(spec, overwrite)
    if executor is not None:
        fill(grid, cache, executor, run_cell, progress)
    else:
        with local_processes() as pool:
            fill(grid, cache, pool, run_cell, progress)
    table = build_table(spec, grid, cache)
    table.write(directory)
    return table


def fill(
    grid: Sequence[Task],
    cache: Cache,
    executor: Executor,
    work: Callable[[Any], Json],
    progress: Progress = silent,
) -> None:
    """Run the cells that `cache` lacks and write each as it ends.

    Args:
        grid: all cells.
        cache: where they go.
        executor: where they run.
        work: from a cell's config to its content, or to {error} with kind and message.
        progress: called with ("cells", finished, in all), the number of those that failed in brackets after the name.

    Raises:
        SolveError: the executor broke; the same call again goes on from there.
    """
    done, failed = 0, 0
    most = 2 * getattr(executor, "_max_workers", IN_FLIGHT // 2)
    try:
        for succeeded in _outcomes(grid, cache, executor, work, most):
            done, failed = done + succeeded, failed + (not succeeded)
            progress(f"cells ({failed} failed)" if failed else "cells", done + failed, len(grid))
    except BrokenExecutor:
        raise SolveError(
            f"a worker died (out of memory, or killed) after {done} of {len(grid)} cells; "
            "the same command again goes on from there"
        ) from None


def _outcomes(
    grid: Sequence[Task], cache: Cache, executor: Executor, work: Callable[[Any], Json], most: int
) -> Iterator[bool]:
    """Whether each cell succeeded, as they finish; at most `most` wait in the executor at a time."""
    waiting: dict[Future[Json], str] = {}
    try:
        for cell in grid:
            if len(waiting) >= most:
                yield from _collect(waiting, cache)
            if cache.read(cell.key) is not None:
                yield True
            elif cell.config is None:
                message = {"kind": "InputError", "message": str(cell.problem)}
                cache.write(cell.key, {"error": message})
                yield False
            else:
                waiting[executor.submit(work, cell.config)] = cell.key
        while waiting:
            yield from _collect(waiting, cache)
    finally:
        for future in waiting:
            future.cancel()


def _collect(waiting: dict[Future[Json], str], cache: Cache) -> Iterator[bool]:
    finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in finished:
        key, content = waiting.pop(future), _content(future)
        cache.write(key, content)
        yield "error" not in content


def _content(future: Future[Json]) -> Json:
    """What a cell returned, or what kept it from returning, such as workers that die of it again and again."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenExecutor) or not isinstance(error, Exception):
        raise error
    return {"error": {"kind": type(error).__name__, "message": str(error) or repr(error)}}
