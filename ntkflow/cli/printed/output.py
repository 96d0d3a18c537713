"""Where a command writes, and the bar it shows meanwhile."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ntkflow.errors import InputError, StoppedError
from ntkflow.progress import Bar, Progress
from ntkflow.runs import rundir
from ntkflow.runs.atomic import MARK, numbered_directory, staged_directory

T = TypeVar("T")

if TYPE_CHECKING:
    from ntkflow.runs.simulate import Prepared


def is_complete(out: Path | None, prepared: "Prepared", overwrite: bool) -> bool:
    """Whether the finished run of a configuration lies at `out` already, with nothing left to do.

    Raises:
        InputError: a run of another configuration lies there; says in what that differs.
    """
    if out is None or overwrite or out.is_symlink() or not (out / rundir.SUMMARY).is_file():
        return False
    if (out / "snapshots").is_dir() or not (out / MARK).is_file():
        return False  # of another command: refused, as whatever else lies there
    difference = rundir.difference(out, prepared)
    if difference is not None:
        rule = f"exists already, and was made with another {difference}"
        raise InputError("out", out, rule, "choose another directory or pass --overwrite")
    return True


@contextmanager
def place(out: Path | None, kind: str, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """The run directory and the staged directory that becomes it; without `out` the next free runs/KIND-NNN."""
    if out is None:
        with numbered_directory(Path("runs"), kind) as places:
            yield places
    else:
        with staged_directory(out, overwrite, rundir.OWNED) as staged:
            yield out, staged


def warn(text: str) -> None:
    """One line on standard error; nothing ends by it."""
    print(f"ntkflow: warning: {' '.join(text.split())}", file=sys.stderr)


def attempted(draw: Callable[[], T], remedy: str) -> T | None:
    """What `draw` returns, or a warning where it fails: a figure never costs what it was drawn from, saved before.

    Raises:
        StoppedError: Ctrl-C while it was drawn.
    """
    try:
        return draw()
    except Exception as error:
        warn(f"no figure ({error or type(error).__name__}); {remedy}")
    except KeyboardInterrupt:
        raise StoppedError(f"interrupted while the figure was drawn; the rest is kept, {remedy}") from None
    return None


@contextmanager
def bar(silent: bool, share: Callable[[float], float] = lambda fraction: fraction) -> Iterator[Progress]:
    """A progress bar that vanishes at the end; nothing where it is to be silent or standard error is no terminal."""
    with Bar(keep=False, stream=StringIO() if silent else None, share=share) as shown:
        yield shown


def number(value: object) -> str:
    """Four significant digits, or a dash where there is no value."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return str(value) if isinstance(value, int) else f"{value:.4g}"
