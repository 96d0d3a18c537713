"""Members that compiled programs of this process integrate, while other processes prepare them and evaluate their series."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import nullcontext
from typing import Any, Protocol, runtime_checkable

from ntkflow.integrate.motion import moves
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.task import Task
from ntkflow.integrate.together.carried import Carried, arrive, depart
from ntkflow.progress import Progress
from ntkflow.runs.processes.executors import local_processes, worker_died

# Members that lie on the device, or wait for it, at a time.
TOGETHER = 2**14
# Members that a worker prepares, and later evaluates, at a time: what comes of them is some megabytes.
PART = 32
# So many members are worth processes of their own beside that of the compiled programs.
SPREAD = 512
# Parts whose evaluation may wait for each worker; more would only fill memory with trajectories.
WAITING, UNKNOWN_WORKERS = 4, 16


@runtime_checkable
class Part(Protocol):
    """Some members, in a form that is small to send to a process."""

    def asked(self) -> list[Task]:
        """Their tasks."""

    def outcome(self, k: int, solution: Solution) -> Any:
        """What is kept of the k-th of them."""


def apart(part: Part) -> bool:
    """Whether members like these can be prepared elsewhere: the law of E's motion is followed where the device is."""
    return not any(moves(task.problem) for task in part.asked())


def prepare(part: Part) -> list[Carried | None]:
    """What the device is to integrate of the members of a part."""
    return [depart(task) for task in part.asked()]


def evaluate(part: Part, brought: Sequence[Carried | None]) -> list[Any]:
    """What is kept of the members of a part, from what the device has brought."""
    tasks = zip(part.asked(), brought, strict=True)
    return [part.outcome(k, arrive(task, carried)) for k, (task, carried) in enumerate(tasks)]


def outcomes(
    part: Callable[[slice], Part], total: int, executor: Executor | None, progress: Progress | None
) -> list[Any]:
    """Outcomes of all members: where there are many, or an executor is given, by several processes.

    Args:
        part: some of the members.
        total: how many there are.
        executor: what prepares and evaluates members; None: local processes.
        progress: called with ("members", finished, total).
    """
    alone = (executor is None and total < SPREAD) or not apart(part(slice(1)))
    size = TOGETHER if alone else PART
    parts = [part(slice(k, k + size)) for k in range(0, total, size)]
    if alone:
        return here(parts, total, progress)
    with nullcontext(executor) if executor is not None else local_processes() as workers:
        return spread(parts, total, workers, progress)


def here(parts: Sequence[Part], total: int, progress: Progress | None) -> list[Any]:
    """Outcomes of all members, with all of the work in this process."""
    from ntkflow.integrate.together.compiled import solve_compiled

    found: list[Any] = []
    for part in parts:
        seen = iter(range(len(found) + 1, total + 1))

        def keep(k: int, solution: Solution, part: Part = part, seen: Iterator[int] = seen) -> Any:
            if progress is not None:
                progress("members", next(seen), total)
            return part.outcome(k, solution)

        found += solve_compiled(part.asked(), keep, of=total)
    return found


def spread(parts: Sequence[Part], total: int, executor: Executor, progress: Progress | None) -> list[Any]:
    """Outcomes of all members, prepared and evaluated by an executor.

    Raises:
        InputError: the engine does not take a member.
        SolveError: a worker died.
    """
    from ntkflow.integrate.together.compiled import integrate

    run = _Run(parts, total, executor, progress)
    try:
        return run.all(lambda jobs: integrate(jobs, total))
    except BrokenExecutor:
        raise worker_died(run.finished, total, "members", "use fewer workers") from None
    finally:
        for future in [*run.coming, *run.going]:
            future.cancel()


class _Run:
    """One ensemble under way.

    Attributes:
        coming: parts that are prepared.
        going: parts that are evaluated, with their numbers.
        finished: members that have been.
    """

    def __init__(
        self, parts: Sequence[Part], total: int, executor: Executor, progress: Progress | None
    ) -> None:
        self.parts, self.total, self.executor, self.progress = parts, total, executor, progress
        self.most = WAITING * getattr(executor, "_max_workers", UNKNOWN_WORKERS)
        self.coming: list[Future[list[Carried | None]]] = []
        self.going: dict[Future[list[Any]], int] = {}
        self.found: dict[int, list[Any]] = {}
        self.finished = 0

    def all(self, integrate: Callable[[list[Carried]], Iterator[Carried]]) -> list[Any]:
        """Take all members to their ends."""
        every, most = range(len(self.parts)), TOGETHER // PART
        loads = [every[k : k + most] for k in every[::most]]
        self._prepare(loads[0])
        for load, after in zip(loads, [*loads[1:], range(0)], strict=True):
            brought = dict(zip(load, [future.result() for future in self.coming], strict=True))
            # While the device works on these the next are made ready.
            self._prepare(after)
            jobs = {k: [job for job in part if job is not None] for k, part in brought.items()}
            owner = {id(job): k for k, part in jobs.items() for job in part}
            left = {k: len(part) for k, part in jobs.items()}
            for k in (k for k, count in left.items() if not count):
                self._evaluate(k, brought.pop(k))
            for job in integrate([job for part in jobs.values() for job in part]):
                k = owner[id(job)]
                left[k] -= 1
                if not left[k]:
                    self._evaluate(k, brought.pop(k))
        self._collect(0)
        return [outcome for k in sorted(self.found) for outcome in self.found[k]]

    def _prepare(self, load: Sequence[int]) -> None:
        self.coming = [self.executor.submit(prepare, self.parts[k]) for k in load]

    def _evaluate(self, k: int, brought: list[Carried | None]) -> None:
        self._collect(self.most)
        self.going[self.executor.submit(evaluate, self.parts[k], brought)] = k

    def _collect(self, most: int) -> None:
        """Wait until no more than so many parts are being evaluated."""
        while len(self.going) > most:
            for future in wait(self.going, return_when=FIRST_COMPLETED)[0]:
                outcomes = self.found[self.going.pop(future)] = future.result()
                self.finished += len(outcomes)
                if self.progress is not None:
                    self.progress("members", self.finished, self.total)
