"""Local processes for long cells: one process a cell, started again when it dies."""

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any, ParamSpec, TypeVar

from ntkflow.runs.processes.children import spawn_context
from ntkflow.runs.processes.executors import check_workers, start_worker, usable_cores

P = ParamSpec("P")
R = TypeVar("R")

# One death may be chance, or a neighbour's use of memory; a cell that dies three times does it itself.
ATTEMPTS = 3


class WorkerDiedError(Exception):
    """The process of a cell died every time it was tried."""


class IsolatedProcesses(ThreadPoolExecutor):
    """An executor that gives every call a spawned process of its own.

    A pool breaks as a whole when one of its processes dies, and keeps what its cells leave in memory. Here a
    death costs its own cell one of `ATTEMPTS`; a cell that has used them up raises `WorkerDiedError`.

    Args:
        workers: processes at a time; None means one a core.
        environments: variables set in a process before anything is imported for its call. Of several, as of devices,
            each belongs to one process at a time; there must be as many as processes then.

    Raises:
        InputError: fewer than one worker, or more than a machine runs.
    """

    def __init__(self, workers: int | None = None, environments: Sequence[Mapping[str, str]] = ()) -> None:
        check_workers(workers)
        count = workers or usable_cores()
        super().__init__(count)
        self._free: SimpleQueue[dict[str, str]] = SimpleQueue()
        for environment in environments or [{}] * count:
            self._free.put(dict(environment))
        self._context = spawn_context()
        self._closing, self._lock = Event(), Lock()
        self._processes: set[BaseProcess] = set()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As in `Executor`; function and arguments must be picklable."""
        # Pickled here, once: what cannot travel is an error of the caller's line, not of a thread.
        return super().submit(self._attend, pickle.dumps((fn, args, kwargs)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop; with `cancel_futures` running processes are ended too."""
        if cancel_futures:
            self._closing.set()
            with self._lock:
                for process in self._processes:
                    process.terminate()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for what runs; after an error or Ctrl-C end it."""
        self.shutdown(cancel_futures=kind is not None)

    def _attend(self, call: bytes) -> Any:
        environment = self._free.get()
        try:
            return self._answer(call, environment)
        finally:
            self._free.put(environment)

    def _answer(self, call: bytes, environment: dict[str, str]) -> Any:
        for _ in range(ATTEMPTS):
            ours, theirs = self._context.Pipe(duplex=False)
            process = self._context.Process(target=_serve, args=(theirs, call, environment))
            with self._lock:
                if self._closing.is_set():
                    raise CancelledError
                process.start()
                self._processes.add(process)
            # Ours would keep the pipe open, and a death of the child would be no end of file.
            theirs.close()
            try:
                succeeded, value = ours.recv()
            except EOFError:
                continue
            finally:
                ours.close()
                process.join()
                with self._lock:
                    self._processes.discard(process)
            if succeeded:
                return value
            raise value
        if self._closing.is_set():
            raise CancelledError
        raise WorkerDiedError(
            f"its process died {ATTEMPTS} times, the last with exit code {process.exitcode} "
            "(-9: killed, as when memory runs out)"
        )


def _serve(answer: Connection, call: bytes, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    start_worker()
    try:
        function, args, kwargs = pickle.loads(call)
        result = (True, function(*args, **kwargs))
    except Exception as error:
        result = (False, error)
    answer.send(result)
    answer.close()
