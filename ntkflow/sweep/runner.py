"""Run the cells that are not finished yet, on any executor."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ntkflow._types import Json
from ntkflow.errors import InputError, SolveError
from ntkflow.progress import Progress, silent
from ntkflow.runs.processes import locks
from ntkflow.runs.processes.executors import local_processes
from ntkflow.sweep.cache import Cache
from ntkflow.sweep.cell import cells, run_cell
from ntkflow.sweep.spec import SweepSpec
from ntkflow.sweep.table import Table, build_table

# Cells that wait in an executor of unknown size. What waits in a local pool is kept short, so that a second
# process on the same directory finds something left to do.
IN_FLIGHT = 1000
# Cells that are kept from other processes at a time; each claim is an open file.
MOST_CLAIMS = 256
# Seconds between two looks at cells that other processes have.
PAUSE = 0.2


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
    # Before a directory is made: a grid of which nothing can run is a slip in the base, and leaves nothing behind.
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

    Processes that share the cache share the work: a cell that another one has claimed is left to it.

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
    # One more than can run, so that no worker waits; what waits is claimed and kept from other processes.
    most = getattr(executor, "_max_workers", IN_FLIGHT - 1) + 1
    try:
        for succeeded in _Filling(cache, executor, work, most).outcomes(grid):
            done, failed = done + succeeded, failed + (not succeeded)
            progress(f"cells ({failed} failed)" if failed else "cells", done + failed, len(grid))
    except BrokenExecutor:
        raise SolveError(
            f"a worker died (out of memory, or killed) after {done} of {len(grid)} cells; "
            "the same command again goes on from there"
        ) from None


class _Filling:
    """What is going on while cells are run: those in the executor, and those that other processes have."""

    def __init__(self, cache: Cache, executor: Executor, work: Callable[[Any], Json], most: int) -> None:
        self.cache, self.executor, self.work, self.most = cache, executor, work, most
        self.waiting: dict[Future[Json], tuple[str, ExitStack]] = {}
        self.later: list[Task] = []
        # What failed before is tried again; what fails meanwhile, in whatever process, is not.
        self.failed = cache.failures()

    def outcomes(self, grid: Sequence[Task]) -> Iterator[bool]:
        """Whether each cell succeeded, as they finish; at most `most` are in the executor at a time."""
        try:
            for cell in grid:
                if len(self.waiting) >= self.most:
                    yield from self._collect()
                yield from self._begin(cell)
            while self.waiting or self.later:
                # Another process may end without its cells.
                yield from self._collect(PAUSE if self.later else None)
                yield from self._look_again()
        finally:
            for future, (_, claim) in self.waiting.items():
                future.cancel()
                claim.close()

    def _begin(self, cell: Task) -> Iterator[bool]:
        """The outcome of a cell that needs no work; otherwise it is put into the executor, or off."""
        if self.cache.read(cell.key) is not None:
            yield True
        elif self._failed_meanwhile(cell.key):
            yield False
        elif cell.config is None:
            message = {"kind": "InputError", "message": str(cell.problem)}
            self.cache.write(cell.key, {"error": message})
            yield False
        else:
            claim = ExitStack()
            try:
                if len(self.waiting) < MOST_CLAIMS:
                    claim.enter_context(self.cache.claimed(cell.key))
            except locks.HeldError:
                self.later.append(cell)
                return
            # Another process may have ended it before this one got the claim.
            if self.cache.read(cell.key) is not None or self._failed_meanwhile(cell.key):
                claim.close()
                yield self.cache.read(cell.key) is not None
                return
            self.waiting[self.executor.submit(self.work, cell.config)] = cell.key, claim

    def _failed_meanwhile(self, key: str) -> bool:
        return self.cache.failed_at(key) not in (None, self.failed.get(key))

    def _collect(self, patience: float | None = None) -> Iterator[bool]:
        if not self.waiting:
            time.sleep(patience or 0.0)
            return
        finished, _ = wait(self.waiting, patience, FIRST_COMPLETED)
        for future in finished:
            key, claim = self.waiting.pop(future)
            with claim:
                content = _content(future)
                self.cache.write(key, content)
            yield "error" not in content

    def _look_again(self) -> Iterator[bool]:
        """Cells of other processes that these have finished, failed, or left behind."""
        put_off, self.later = self.later, []
        for i, cell in enumerate(put_off):
            if len(self.waiting) >= self.most:
                self.later += put_off[i:]
                return
            yield from self._begin(cell)


def _content(future: Future[Json]) -> Json:
    """What a cell returned, or what kept it from returning, such as workers that die of it again and again."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenExecutor) or not isinstance(error, Exception):
        raise error
    return {"error": {"kind": type(error).__name__, "message": str(error) or repr(error)}}
