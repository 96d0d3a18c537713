"""The workers of a dask scheduler as an executor that outlives a restart of the scheduler."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, ParamSpec, TypeVar

from ntkflow.errors import InputError, SolveError

# Seconds that a scheduler may be away before its cells are given up.
PATIENCE = 600.0

P = ParamSpec("P")
R = TypeVar("R")
Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class ClusterExecutor(Executor):
    """Calls run by dask workers. What a scheduler forgets when it ends is submitted to its successor.

    A worker that dies costs nothing: the scheduler gives its call to another one, three times by default
    (`distributed.scheduler.allowed-failures`), and then raises KilledWorker.

    Args:
        connect: returns a connected `distributed.Client`.
        patience: seconds to wait for a scheduler that has gone.
    """

    def __init__(self, connect: Callable[[], Any], patience: float = PATIENCE) -> None:
        self._connect, self._patience = connect, patience
        self._client = connect()
        self._closing = Event()
        # The client forgets a call whose dask future nobody holds.
        self._held: dict[Future[Any], Any] = {}
        self._lost: SimpleQueue[Call] = SimpleQueue()
        self._tender = Thread(target=self._tend, daemon=True)
        self._tender.start()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As in `Executor`."""
        call: Call = (Future(), fn, args, kwargs)
        call[0].add_done_callback(self._forget)
        self._send(call)
        return call[0]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let go of the cluster, which goes on for others; calls that have not ended are cancelled."""
        del wait, cancel_futures
        self._closing.set()
        for future in list(self._held):
            future.cancel()
        self._client.close()

    def _send(self, call: Call) -> None:
        future, fn, args, kwargs = call
        # Not pure: dask must not answer a call with the result of an earlier one that has the same arguments.
        remote = self._client.submit(fn, *args, pure=False, **kwargs)
        self._held[future] = remote
        remote.add_done_callback(partial(self._ended, call))

    def _ended(self, call: Call, remote: Any) -> None:
        future = call[0]
        if self._closing.is_set() or future.done():
            return
        try:
            if remote.status == "finished":
                future.set_result(remote.result())
                return
            if remote.status == "error":
                future.set_exception(remote.exception())
                return
        except OSError:
            # It ended, but scheduler and worker went before the result had been fetched.
            pass
        self._lost.put(call)

    def _forget(self, future: Future[Any]) -> None:
        remote = self._held.pop(future, None)
        if remote is not None and future.cancelled():
            remote.cancel()

    def _tend(self) -> None:
        """Submit again whatever was lost, as soon as there is a scheduler."""
        while not self._closing.is_set():
            try:
                call = self._lost.get(timeout=0.2)
            except Empty:
                continue
            try:
                self._reach()
                if not call[0].done():
                    self._send(call)
            except Exception as error:
                call[0].set_exception(
                    SolveError(f"the dask scheduler went away and did not come back: {error}")
                )

    def _reach(self) -> None:
        deadline = time.monotonic() + self._patience
        while self._client.status != "running" and not self._closing.is_set():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {self._patience:g} s")
            if self._client.status == "closed":
                # Not even an address to reach, or one that refuses: as good as away, until the deadline.
                try:
                    self._client = self._connect()
                except (OSError, ValueError):
                    continue
            time.sleep(0.1)


@contextmanager
def dask_cluster(address: str, patience: float = PATIENCE) -> Iterator[Executor]:
    """The workers of a running dask scheduler, as an executor; they need ntkflow and, for files, the same paths.

    Args:
        address: of the scheduler, as tcp://host:8786.
        patience: seconds to wait for a scheduler that has gone.

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
        executor = ClusterExecutor(partial(Client, address), patience)
    except (OSError, ValueError) as error:
        raise InputError(
            "--scheduler", address, f"cannot be reached ({error})", "check the address of the dask scheduler"
        ) from None
    with executor:
        yield executor
