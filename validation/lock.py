"""One process at a time on a run directory.

The file `lock` holds the number and host of the process that works on the run. What counts is the operating
system's lock on that file, which ends with its process however that ends: after a kill the file is still
there, but it is stale, and the next process takes it over without asking.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ntkflow.errors import InputError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a run directory.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    file = path / "lock"
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(
            "out", path, f"cannot be locked ({error.strerror})", "choose another directory"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            raise InputError(
                "out", path, f"is in use by {holder}", "wait for it or choose another directory"
            ) from None
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)
