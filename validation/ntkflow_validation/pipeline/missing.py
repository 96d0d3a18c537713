"""Runs of a study: what has its document is not run again, the rest here or in processes."""

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from typing import Protocol, TypeVar, runtime_checkable

from ntkflow.progress import Progress
from ntkflow.runs.processes.executors import local_processes


@runtime_checkable
class Named(Protocol):
    """A cell of a study."""

    @property
    def name(self) -> str:
        """By which its document is called."""
        ...


C = TypeVar("C", bound=Named)
D = TypeVar("D")


def run_missing(
    cells: Sequence[C],
    finished: Callable[[C], D | None],
    run_cell: Callable[[C], D],
    workers: int | None,
    stage: str,
    progress: Progress,
) -> list[D]:
    """The documents of all cells, in their order.

    Args:
        cells: what is wanted, in the order in which it is run.
        finished: the document of a cell that is there already.
        run_cell: runs a cell and writes its document; goes to the processes.
        workers: processes; None: one a core; 0: none, all in this one.
        stage: for the bar.
        progress: called with the stage, runs done and runs in all.
    """
    found = {cell.name: known for cell in cells if (known := finished(cell)) is not None}
    missing = [cell for cell in cells if cell.name not in found]
    progress(stage, len(found), len(cells))
    if workers == 0:
        for cell in missing:
            found[cell.name] = run_cell(cell)
            progress(stage, len(found), len(cells))
    elif missing:
        with local_processes(workers) as pool:
            futures = {pool.submit(run_cell, cell): cell for cell in missing}
            for future in as_completed(futures):
                found[futures[future].name] = future.result()
                progress(stage, len(found), len(cells))
    return [found[cell.name] for cell in cells]
