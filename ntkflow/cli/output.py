"""Where a command writes, and the bar it shows meanwhile."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntkflow import rundir
from ntkflow.staging import numbered_directory, staged_directory

GOES_ON = "interrupted; the same command again goes on from here"

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


@contextmanager
def place(out: Path | None, kind: str, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """The run directory and the staged directory that becomes it; without `out` the next free runs/KIND-NNN."""
    if out is None:
        with numbered_directory(Path("runs"), kind) as places:
            yield places
    else:
        with staged_directory(out, overwrite, rundir.OWNED) as staged:
            yield out, staged


@contextmanager
def bar(
    silent: bool, columns: Callable[[], "tuple[ProgressColumn, ...]"], **start: Any
) -> Iterator[Callable[..., None] | None]:
    """A progress bar that vanishes at the end, as a function of what changes; None where nobody would see it.

    Args:
        silent: never show it; it is not shown either where standard error is no terminal.
        columns: makes its columns, since importing rich takes longer than parsing.
        start: the fields of its one task to begin with.
    """
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(*columns(), console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", **start)
        yield lambda **changes: shown.update(task, **changes)
