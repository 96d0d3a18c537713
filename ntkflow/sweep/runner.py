"""Run the cells that are not finished yet, on any executor."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ntkflow._types import Json
from ntkflow.errors import InputError, SolveError
from ntkflow.progress import Progress, silent
from ntkflow.runs.processes import locks
from ntkflow.runs.processes.executors import local_processes
from ntkflow.sweep.cache import Cache
from ntkflow.sweep.cell import cells, gains, run_cell, run_cells
from ntkflow.sweep.spec import SweepSpec
from ntkflow.sweep.table import Table, build_table

# Cells that wait in an executor of unknown size. What waits in a local pool is kept short, so that a second
# process on the same directory finds something left to do.
IN_FLIGHT = 1000
UNKNOWN_WORKERS = 16
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


class _Claimed(NamedTuple):
    """A cell that is kept from other processes until its claim is closed."""

    cell: Task
    claim: ExitStack


@dataclass(frozen=True)
class Together:
    """How cells are run some at a time.

    Attributes:
        fits: whether a cell gains by it, from its config; asked of the first of some, and the next are taken to be alike.
        work: from configs to their contents, each as a `work` of one would give it.
        most: so many at a time.
    """

    fits: Callable[[Any], bool]
    work: Callable[[Sequence[Any]], list[Json]]
    most: int


# A process that dies takes so many cells with it, some seconds of work, and a second one finds as many fewer left to do.
LOCKSTEP = Together(gains, run_cells, 64)


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
        fill(grid, cache, executor, run_cell, progress, LOCKSTEP)
    else:
        with local_processes() as pool:
            fill(grid, cache, pool, run_cell, progress, LOCKSTEP)
    table = build_table(spec, grid, cache)
    table.write(directory)
    return table


def fill(
    grid: Sequence[Task],
    cache: Cache,
    executor: Executor,
    work: Callable[[Any], Json],
    progress: Progress = silent,
    together: Together | None = None,
) -> None:
    """Run the cells that `cache` lacks and write each as it ends.

    Processes that share the cache share the work: a cell that another one has claimed is left to it.

    Args:
        grid: all cells.
        cache: where they go.
        executor: where they run.
        work: from a cell's config to its content, or to {error} with kind and message.
        progress: called with ("cells", finished, in all), the number of those that failed in brackets after the name.
        together: what runs some cells at once; they are written when all of them have ended. None: each by itself.

    Raises:
        SolveError: the executor broke; the same call again goes on from there.
    """
    done, failed = 0, 0
    # One more than can run, so that no worker waits; what waits is claimed and kept from other processes.
    most = getattr(executor, "_max_workers", IN_FLIGHT - 1) + 1
    if together is not None:
        # Each worker has its share of a small grid.
        share = -(-len(grid) // getattr(executor, "_max_workers", UNKNOWN_WORKERS))
        together = replace(together, most=max(1, min(together.most, share)))
    try:
        for succeeded in _Filling(cache, executor, work, most, together).outcomes(grid):
            done, failed = done + succeeded, failed + (not succeeded)
            progress(f"cells ({failed} failed)" if failed else "cells", done + failed, len(grid))
    except BrokenExecutor:
        raise SolveError(
            f"a worker died (out of memory, or killed) after {done} of {len(grid)} cells; "
            "the same command again goes on from there"
        ) from None


class _Filling:
    """What is going on while cells are run: those in the executor, and those that other processes have."""

    def __init__(
        self,
        cache: Cache,
        executor: Executor,
        work: Callable[[Any], Json],
        most: int,
        together: Together | None = None,
    ) -> None:
        self.cache, self.executor, self.work, self.most, self.together = (
            cache,
            executor,
            work,
            most,
            together,
        )
        self.waiting: dict[Future[Any], list[_Claimed]] = {}
        self.gathered: list[_Claimed] = []
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
            self._submit()
            while self.waiting or self.later:
                # Another process may end without its cells.
                yield from self._collect(PAUSE if self.later else None)
                yield from self._look_again()
        finally:
            for future in self.waiting:
                future.cancel()
            for claimed in itertools.chain(self.gathered, *self.waiting.values()):
                claimed.claim.close()

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
                if len(self.gathered) + sum(map(len, self.waiting.values())) < MOST_CLAIMS:
                    claim.enter_context(self.cache.claimed(cell.key))
            except locks.HeldError:
                self.later.append(cell)
                return
            # Another process may have ended it before this one got the claim.
            if self.cache.read(cell.key) is not None or self._failed_meanwhile(cell.key):
                claim.close()
                yield self.cache.read(cell.key) is not None
                return
            self.gathered.append(_Claimed(cell, claim))
            alone = self.together is None or (len(self.gathered) == 1 and not self.together.fits(cell.config))
            if alone or (self.together is not None and len(self.gathered) >= self.together.most):
                self._submit()

    def _submit(self) -> None:
        """Hand what has been gathered to the executor."""
        some, self.gathered = self.gathered, []
        if not some:
            return
        configs = [claimed.cell.config for claimed in some]
        future: Future[Any]
        if len(some) == 1 or self.together is None:
            future = self.executor.submit(self.work, *configs)
        else:
            future = self.executor.submit(self.together.work, configs)
        self.waiting[future] = some

    def _failed_meanwhile(self, key: str) -> bool:
        return self.cache.failed_at(key) not in (None, self.failed.get(key))

    def _collect(self, patience: float | None = None) -> Iterator[bool]:
        if not self.waiting:
            time.sleep(patience or 0.0)
            return
        finished, _ = wait(self.waiting, patience, FIRST_COMPLETED)
        for future in finished:
            some = self.waiting.pop(future)
            with ExitStack() as claims:
                for claimed in some:
                    claims.push(claimed.claim)
                contents = _contents(future, len(some))
                for claimed, content in zip(some, contents, strict=True):
                    self.cache.write(claimed.cell.key, content)
            yield from ("error" not in content for content in contents)

    def _look_again(self) -> Iterator[bool]:
        """Cells of other processes that these have finished, failed, or left behind."""
        put_off, self.later = self.later, []
        for i, cell in enumerate(put_off):
            if len(self.waiting) >= self.most:
                self.later += put_off[i:]
                return
            yield from self._begin(cell)
        self._submit()


def _contents(future: Future[Any], count: int) -> list[Json]:
    """What some cells returned, or what kept them from returning, such as workers that die of it again and again."""
    error = future.exception()
    if error is None:
        found = future.result()
        return found if isinstance(found, list) else [found]
    if isinstance(error, BrokenExecutor) or not isinstance(error, Exception):
        raise error
    return count * [{"error": {"kind": type(error).__name__, "message": str(error) or repr(error)}}]
