"""One process at a time on a run directory.

The file `lock` says which process works on the run, and on which machine. After a kill the file is still there, but
nobody holds it, and the next process takes it over without asking; see `ntkflow.runs.processes.locks`.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ntkflow.errors import InputError
from ntkflow.runs.atomic import InUseError, clean
from ntkflow.runs.processes import locks

LOCK = "lock"


@contextmanager
def locked(path: Path | str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of a run directory, and remove the files in it that killed processes were writing.

    Args:
        path: the run directory.
        patience: seconds to wait for another process.

    Raises:
        InUseError: another process holds it.
        InputError: it cannot be written.
    """
    path = Path(path)
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.held(path / LOCK, patience))
        except locks.HeldError as error:
            raise InUseError.of(error, path, path / LOCK) from None
        except OSError as error:
            raise InputError(
                "out", path, f"cannot be locked ({error.strerror})", "choose another directory"
            ) from None
        clean(path, deep=True)
        yield


@contextmanager
def resting(path: Path | str) -> Iterator[None]:
    """While no process works on a run.

    Raises:
        InUseError: one does.
    """
    path = Path(path)
    with ExitStack() as stack:
        # Without the file nobody ever worked on it with a lock.
        if (path / LOCK).exists():
            try:
                stack.enter_context(locked(path))
            except InUseError:
                raise
            except InputError:
                pass  # where nothing can be written, nobody works
        yield
