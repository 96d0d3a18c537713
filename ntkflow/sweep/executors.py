"""Where cells run: spawned local processes with one BLAS thread each, or a dask cluster."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process

from ntkflow.errors import InputError


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_processes(workers: int | None = None) -> ProcessPoolExecutor:
    """A pool of spawned processes, one BLAS thread each; None: one process a core.

    Raises:
        InputError: fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise InputError("workers", workers, "must be at least 1", "give a whole number >= 1")
    return ProcessPoolExecutor(
        workers or usable_cores(), mp_context=get_context("spawn"), initializer=_start_worker
    )


def _start_worker() -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    # Ctrl-C ends a worker at once; the parent says what is left to do.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End with the parent: a pool whose parent was killed would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def dask_cluster(address: str) -> Iterator[Executor]:
    """The workers of a running dask scheduler, as an executor; they need ntkflow and, for files, the same paths.

    Raises:
        InputError: `distributed` is not installed, or nothing answers at the address.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            "--scheduler", address, "needs dask", "install the extra: pip install 'ntkflow[cluster]'"
        ) from None
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise InputError(
            "--scheduler", address, f"cannot be reached ({error})", "check the address of the dask scheduler"
        ) from None
    with client:
        yield client.get_executor()
