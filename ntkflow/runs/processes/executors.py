"""Where short cells run: spawned local processes with one BLAS thread each."""

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import parent_process

from ntkflow.errors import InputError, SolveError
from ntkflow.runs.processes.children import answer_interrupts, spawn_context

# More processes than any machine has cores; each costs memory and a handle.
MOST_WORKERS = 1024


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Pool(ProcessPoolExecutor):
    """A pool that does not wait for its cells when there is an error, or Ctrl-C, that was told to this process alone."""

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: object) -> None:
        if kind is not None:
            for process in list((self._processes or {}).values()):
                process.terminate()
        self.shutdown(wait=True, cancel_futures=kind is not None)


def check_workers(workers: int | None) -> None:
    """Refuse a number of processes that no machine runs.

    Raises:
        InputError: fewer than one worker, or more than `MOST_WORKERS`.
    """
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        rule = f"must be 1 .. {MOST_WORKERS}"
        raise InputError("workers", workers, rule, "give a whole number, at most that of the cores")


def local_processes(workers: int | None = None) -> ProcessPoolExecutor:
    """A pool of spawned processes, one BLAS thread each; None: one process a core.

    Raises:
        InputError: fewer than one worker, or more than `MOST_WORKERS`.
    """
    check_workers(workers)
    return _Pool(workers or usable_cores(), mp_context=spawn_context(), initializer=start_worker)


def worker_died(done: int, total: int, what: str, remedy: str) -> SolveError:
    """What to say when a pool broke.

    Args:
        done: tasks that had ended.
        total: tasks in all.
        what: what they are, as "cells".
        remedy: what to do.
    """
    if not done:
        # A spawned process runs the script that started it once more, and dies where that starts processes again.
        remedy += "; a script of your own starts them below `if __name__ == '__main__':`"
    return SolveError(f"a worker died (out of memory, or killed) after {done} of {total} {what}; {remedy}")


def start_worker() -> None:
    """What every worker process does first: one BLAS thread, and no life of its own."""
    # Ctrl-C ends a worker at once; the parent says what is left to do.
    answer_interrupts()
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End with the parent: a pool whose parent was killed would wait for work for ever."""
    # A thread that waits costs nothing; a killed parent sends no signal to its children.
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
