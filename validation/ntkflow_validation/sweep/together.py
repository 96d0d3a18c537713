"""An executor that hands several cells of a sweep to one process, which trains them as one program."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from typing import Any

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.sweep.cell import CellTask, run_cell, run_cells

# Seconds without a new cell after which those that wait for company go without it.
PATIENCE = 1.0
# Networks of one program: more gain nothing, and their samples must fit beside each other.
MOST = 64


class Together(Executor):
    """Cells that may be one program, K at a time; everything else as the executor that it is around runs it.

    Args:
        pool: runs the groups; its `_max_workers` groups at a time.
        count: K.

    Raises:
        InputError: K is not 1 .. `MOST`.
    """

    def __init__(self, pool: Executor, count: int) -> None:
        if not 1 <= count <= MOST:
            raise InputError("together", count, f"must be 1 .. {MOST}", "give the networks of one program")
        self._pool, self._count = pool, count
        # `fill` keeps one more than this going: enough for every process to have a whole group.
        self._groups, self._running = getattr(pool, "_max_workers", 1), 0
        self._max_workers = count * self._groups
        self._waiting: dict[RunConfig, list[tuple[CellTask, Future[Any]]]] = {}
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As in `Executor`; cells wait for others of their kind."""
        if fn is not run_cell:
            return self._pool.submit(fn, *args, **kwargs)
        from ntkflow_validation.training.together import group

        (task,) = args
        future: Future[Any] = Future()
        with self._lock:
            kind = group(RunConfig.from_dict(task.config))
            members = self._waiting.setdefault(kind, [])
            members.append((task, future))
            if len(members) == self._count:
                self._start(kind)
            self._wait()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Start or cancel what waits for company, and stop as the pool does."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            for kind in list(self._waiting):
                if cancel_futures:
                    for _, future in self._waiting.pop(kind):
                        future.cancel()
                else:
                    self._start(kind)
        self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for what runs; after an error or Ctrl-C end it."""
        self.shutdown(cancel_futures=kind is not None)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(PATIENCE, self._start_all)
        self._timer.daemon = True
        self._timer.start()

    def _start_all(self) -> None:
        """Those that have waited long enough; while all processes are busy they lose nothing by waiting on."""
        with self._lock:
            for kind in list(self._waiting)[: max(0, self._groups - self._running)]:
                self._start(kind)

    def _start(self, kind: RunConfig) -> None:
        # What was cancelled while it waited is no part of the group.
        members = [(task, f) for task, f in self._waiting.pop(kind) if f.set_running_or_notify_cancel()]
        if not members:
            return
        futures = [future for _, future in members]
        self._running += 1
        running = self._pool.submit(run_cells, [task for task, _ in members])
        running.add_done_callback(lambda done: self._ended(done, futures))

    def _ended(self, done: Future[Any], futures: list[Future[Any]]) -> None:
        _hand_over(done, futures)
        with self._lock:
            self._running -= 1
            if self._waiting:
                self._wait()


def require_room_for(runs: Iterable[RunConfig], count: int, pool: Executor) -> None:
    """Refuse K networks of one program where the devices that the workers have do not hold them.

    Args:
        runs: what is to be trained.
        count: K, at most.
        pool: of which a worker looks at its device.

    Raises:
        InputError: K is too large; says which is not.
    """
    from ntkflow_validation.training.together import group

    kinds: dict[RunConfig, list[RunConfig]] = {}
    for run in runs:
        kinds.setdefault(group(run), []).append(run)
    for found in kinds.values():
        shared = len({run.seed for run in found}) == 1
        workers = getattr(pool, "_max_workers", 1)
        asked = (found[0].to_dict(), min(count, len(found)), shared, workers)
        pool.submit(_require_room, *asked).result()


def _require_room(config: Json, count: int, shared: bool, workers: int) -> None:
    from ntkflow_validation.datasets import input_shape
    from ntkflow_validation.models import build
    from ntkflow_validation.training.capacity import needs, require_room

    run = RunConfig.from_dict(config)
    shape, samples = input_shape(run.data), run.data.samples
    # How many a file of one's own holds is not known before it is read.
    if count > 1 and samples:
        network = build(run.model, shape, run.data.classes, 0)
        needed = needs(network, run, shape, samples, shared)
        require_room(count, needed, "together", "use --together {}", workers)


def _hand_over(done: Future[Any], futures: list[Future[Any]]) -> None:
    """Each cell's content, or what kept all of them from having one."""
    error = ConnectionAbortedError("the sweep was stopped") if done.cancelled() else done.exception()
    for i, future in enumerate(futures):
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(done.result()[i])
