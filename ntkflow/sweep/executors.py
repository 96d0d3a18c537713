"""Where short cells run: spawned local processes with one BLAS thread each."""

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
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
        workers or usable_cores(), mp_context=get_context("spawn"), initializer=start_worker
    )


def start_worker() -> None:
    """What every worker process does first: one BLAS thread, and no life of its own."""
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
