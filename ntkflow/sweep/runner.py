"""Run the cells that are not finished yet, on any executor."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from ntkflow.errors import InputError
from ntkflow.integrate.together import FEW as FEW_RUNS
from ntkflow.progress import Progress, silent
from ntkflow.runs.processes.executors import local_processes, worker_died
from ntkflow.sweep.cell import gains, run_cell, run_cells, run_single
from ntkflow.sweep.filling import Filling, Task, Together, Work
from ntkflow.sweep.gather import gathered
from ntkflow.sweep.grid import Grid
from ntkflow.sweep.spec import SweepSpec
from ntkflow.sweep.stored.cache import Cache
from ntkflow.sweep.stored.shards import Shards
from ntkflow.sweep.table import Table

# Cells that wait in an executor of unknown size. What waits in a local pool is kept short, so that a second
# process on the same directory finds something left to do.
IN_FLIGHT = 1000
UNKNOWN_WORKERS = 16
# Cells that run together at least where there are so many, and parts of a worker's share of the grid.
FEW, PARTS = 64, 4
# Twice the slots: what is under way is seldom less than they hold. A process that dies takes only what is under way with it.
LOCKSTEP = Together(gains, run_cells, 256)
# Seconds between two looks at the table of a sweep under way, the share of the time that looks may take, and the longest pause
# after one: the first loads what draws.
BETWEEN_LOOKS, SHARE, LONGEST = 4.0, 0.03, 60.0
# Cells that are looked at before a grid of which nothing can be run is refused; a larger one is not looked through.
LOOKED_AT = 1000


def run_sweep(
    spec: SweepSpec,
    directory: Path | str,
    executor: Executor | None = None,
    progress: Progress = silent,
    overwrite: bool = False,
    parquet: bool = False,
    look: Callable[[Table], object] | None = None,
) -> Table:
    """Run a sweep, or the rest of one that was interrupted; finished cells are never run again.

    Args:
        spec: what to run.
        directory: where sweep.toml, cells/, table.csv and table.npz go.
        executor: any `concurrent.futures.Executor`; None means spawned local processes, one a core. It is left
            running; cells that failed before are tried again.
        progress: called with ("cells", finished, in all), the number of those that failed in brackets after the name.
        overwrite: replace another sweep's specification in the directory.
        look: called now and then, every few seconds at most, with the table as far as it has come, of the columns that the
            view shows.
        parquet: write table.parquet too; needs the extra `ntkflow[parquet]`.

    Returns:
        One row per cell, in grid order whatever the order they finished in, with the columns that the view asks for. Failed
        cells have their message.

    Raises:
        InputError: no cell can be run at all, the directory holds something else, or the view asks for a column that no cell
            has (all cells are there then: the same call with another view runs none of them again).
        SolveError: a worker died; the same call again goes on from there.
    """
    grid = Grid(spec)
    # Before a directory is made: a grid of which nothing can run is a slip in the base, and leaves nothing behind.
    if len(grid) <= LOOKED_AT and all(cell.problem is not None for cell in grid):
        assert grid[0].problem is not None
        raise grid[0].problem
    shards = Shards(Path(directory))
    shards.open(spec, overwrite)
    if look is not None:
        progress = _Looking(look, lambda: gathered(spec, grid, shards, spec.view.quantities), progress)
    # How many cells there are decides, and not how many are missing: which others are there changes no digit of one.
    few = len(grid) < FEW_RUNS
    work, together = (run_single, None) if few else (run_cell, LOCKSTEP)
    with nullcontext(executor) if executor is not None else local_processes() as pool:
        fill(grid, shards, pool, work, progress, together)
    table = gathered(spec, grid, shards, spec.view.quantities if spec.view.columns else ())
    table.write(directory, parquet)
    return table


class _Looking:
    """A progress that also has the table looked at now and then."""

    def __init__(
        self, look: Callable[[Table], object], table: Callable[[], Table], progress: Progress
    ) -> None:
        self._look, self._table, self._progress = look, table, progress
        self._next = time.monotonic() + BETWEEN_LOOKS

    def __call__(self, what: str, done: float, total: float, /) -> None:
        self._progress(what, done, total)
        began = time.monotonic()
        if began < self._next or done == total:
            return
        # What no cell has so far, later ones may; at the end it is an error.
        with suppress(InputError):
            self._look(self._table())
        now = time.monotonic()
        self._next = now + max(BETWEEN_LOOKS, min((now - began) / SHARE, LONGEST))


def fill(
    grid: Sequence[Task],
    cache: Cache,
    executor: Executor,
    work: Work,
    progress: Progress = silent,
    together: Together | None = None,
) -> None:
    """Run the cells that `cache` lacks and write each as it ends.

    Processes that share the cache share the work: a cell that another one has claimed is left to it.

    Args:
        grid: all cells.
        cache: where they go.
        executor: where they run.
        work: from a cell's config to its content, or to {error} with kind and message. Where the cache has a sink it is
            called with that and the cell's address as well, and may write the content by itself and give `Stored`.
        progress: called with ("cells", finished, in all), the number of those that failed in brackets after the name.
        together: what runs some cells at once. None: each by itself, as suits cells that take minutes.

    Raises:
        SolveError: the executor broke; the same call again goes on from there.
    """
    done, failed = 0, 0
    # One more than can run, so that no worker waits; what waits is claimed and kept from other processes.
    most = getattr(executor, "_max_workers", IN_FLIGHT - 1) + 1
    if together is not None:
        # Each worker has its share of a small grid, and of a large one so little at a time that others find theirs.
        share = -(-len(grid) // getattr(executor, "_max_workers", UNKNOWN_WORKERS))
        most_together = min(together.most, max(min(share, FEW), share // PARTS))
        together = replace(together, most=max(1, most_together))
    try:
        for succeeded in Filling(cache, executor, work, most, together).outcomes(grid):
            done, failed = done + succeeded, failed + (not succeeded)
            progress(f"cells ({failed} failed)" if failed else "cells", done + failed, len(grid))
    except BrokenExecutor:
        remedy = "the same command again goes on from there"
        raise worker_died(done, len(grid), "cells", remedy) from None
