"""A file that one process at a time holds, and that says which.

What counts is the operating system's lock on the file, which ends with its process however that ends. The record
in it names the holder, and decides where the file system has no locks, or none that other machines see.
"""

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ntkflow.runs.processes import host

# Between two looks at a lock that is waited for.
PAUSE = 0.05
_LIMIT = 4096


class HeldError(Exception):
    """Another process has the lock.

    Attributes:
        holder: which, in words.
        certain: False where it may have been killed on another machine, which cannot be seen from here.
    """

    def __init__(self, holder: str, certain: bool) -> None:
        self.holder, self.certain = holder, certain
        super().__init__(f"held by {holder}")


@contextmanager
def held(path: Path, patience: float = 0.0, remove: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, which is made where it is missing.

    Args:
        path: the file. Symbolic links are not followed, and nothing that is not a record is written over.
        patience: seconds to wait for another process that has it.
        remove: remove the file at the end; otherwise it is left, empty.

    Raises:
        HeldError: another process has it.
        OSError: the file cannot be written, or is something else.
    """
    deadline, handle = time.monotonic() + patience, None
    while handle is None:
        # None without an error: its holder removed the file between opening and locking, so that another one is made.
        try:
            handle = _taken(path)
        except HeldError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(PAUSE)
    try:
        yield
    finally:
        _release(path, handle, remove)


def _taken(path: Path) -> int | None:
    """The open, locked file with this process on record; None when its last holder removed it meanwhile."""
    handle = _opened(path)
    try:
        got = host.lock(handle)
        text = os.pread(handle, _LIMIT, 0) if hasattr(os, "pread") else os.read(handle, _LIMIT)
        record = host.Process.read(text.decode(errors="replace"))
        if got is False:
            raise HeldError(str(record or "another process"), certain=True)
        if not _still_there(handle, path):
            os.close(handle)
            return None
        if text.strip() and record is None:
            raise OSError(errno.EEXIST, f"{path.name!r} holds something else than a lock does", str(path))
        if record is not None:
            gone = record.runs() is False
            # A lock that was got tells of every process of this kernel, in whatever container.
            if got is True:
                gone = gone or record.same_machine or host.locks_are_seen_everywhere(path.parent)
            if not gone:
                raise HeldError(str(record), certain=record.runs() is True)
        _write(handle, host.this_process().record())
    except BaseException:
        os.close(handle)
        raise
    return handle


def _opened(path: Path) -> int:
    if path.is_symlink():  # where the system has no O_NOFOLLOW
        raise OSError(errno.ELOOP, f"{path.name!r} is a symbolic link", str(path))
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT"):
        flags |= getattr(os, name, 0)
    try:
        handle = os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, f"{path.name!r} is a symbolic link", str(path)) from None
        raise
    # Of the open file, not of the name: nobody can put another one in its place between the question and the answer.
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(handle)
        raise OSError(errno.EEXIST, f"{path.name!r} is not a file of its own", str(path))
    return handle


def _still_there(handle: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    return False


def _write(handle: int, text: str) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    os.ftruncate(handle, 0)
    os.write(handle, text.encode())


def _release(path: Path, handle: int, remove: bool) -> None:
    # Removed while it is still locked: whoever opened it meanwhile finds out by `_still_there`. Windows removes no open file.
    with suppress(OSError):
        if remove and host.OPEN_FILES_MOVE and _still_there(handle, path):
            path.unlink()
        elif not remove or not host.OPEN_FILES_MOVE:
            _write(handle, "")
    os.close(handle)
    if remove and not host.OPEN_FILES_MOVE:  # pragma: no cover -- Windows
        with suppress(OSError):
            path.unlink()
