"""Many tasks at once: small thin systems in lockstep, buckets of equal shape after each other, and the rest alone."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, overload, runtime_checkable

from threadpoolctl import threadpool_limits

from ntkflow.errors import InputError
from ntkflow.integrate.engines.lockstep import Lockstep
from ntkflow.integrate.engines.lockstep.engine import SLOTS
from ntkflow.integrate.engines.lockstep.job import Job
from ntkflow.integrate.engines.lockstep.slots import Shape
from ntkflow.integrate.engines.on_leaf import LeafLockstep, LeafShape, OnLeaf
from ntkflow.integrate.engines.on_leaf.engine import SLOTS as LEAF_SLOTS
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.task import Task
from ntkflow.integrate.together.generic import generic, small
from ntkflow.integrate.together.lookout import LeafLookout, Lookout
from ntkflow.integrate.together.passage import Member, Passage

TINY, MORE_SLOTS = 32, 4
# Whether these are the system's fault or this engine's, another engine knows.
DOUBTFUL = (Reason.STEP_FAILED, Reason.NOT_FINITE, Reason.STALLED, Reason.INACCURATE)

# Fewer runs are faster one after another: a tick costs the same Python for one slot as for many. On leaves it costs more, and
# fewer than so many at a time are slower too.
FEW, FEW_GENERIC, GENERIC_TOGETHER = 3, 16, 8

# States saved of all slots together may take so many bytes; where there are many times to save, fewer slots are filled.
SAVED_BYTES = 2**28

T = TypeVar("T")
# What goes in one engine: a shape, and whether the law of E's motion is followed along.
Kind = tuple[Shape, bool]


@runtime_checkable
class Engine(Protocol):
    """What integrates jobs of one kind."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Give every job back when it is done with."""


def _itself(number: int, solution: Solution) -> Solution:
    del number
    return solution


@overload
def solve_many(tasks: Sequence[Task], *, slots: int = SLOTS) -> list[Solution]: ...


@overload
def solve_many(
    tasks: Sequence[Task], keep: Callable[[int, Solution], T], *, slots: int = SLOTS
) -> list[T]: ...


def solve_many(
    tasks: Sequence[Task], keep: Callable[[int, Solution], Any] = _itself, *, slots: int = SLOTS
) -> list[Any]:
    """The solutions of tasks, each of them that of `solve` within rtol; none depends on a digit of another task.

    Systems with a thin form of at most 20 feature coordinates go in lockstep where the engine is 'auto', between the knots
    of a moving kernel one stretch after another; so do generic states of up to 256, and at least C^2/4, that conserve E, at
    given times and without targets for NC1 and rest, on their leaves of constant E. What is neither, and what fails there, is
    solved alone.

    Args:
        tasks: what is to be done.
        keep: called with the number of a task and its solution, as they end: what is to be kept of it.
        slots: how many are under way at a time.
    """
    found: dict[int, Any] = {}

    def end(number: int, solution: Solution) -> None:
        found[number] = keep(number, solution)

    # Products of small matrices: several BLAS threads contend and cost more than they bring.
    with threadpool_limits(1, user_api="blas"):
        together = Together(end)
        alone = [number for number, task in enumerate(tasks) if not fits(task)]
        for number in sorted(set(range(len(tasks))) - set(alone)):
            together.go_on(Passage(number, tasks[number]))
        together.run(slots)
    for number in [*together.left, *alone]:
        end(number, run_alone(tasks[number]))
    return [found[number] for number in range(len(tasks))]


class Together:
    """What goes in lockstep: a queue for everything that goes in one engine, what has one shape.

    Args:
        end: called with the number of a task and its solution.

    Attributes:
        left: numbers of the tasks that are better solved alone.
    """

    def __init__(self, end: Callable[[int, Solution], None]) -> None:
        self.end = end
        self.left: list[int] = []
        self._queues: dict[Kind, _Queue] = defaultdict(_Queue)

    def go_on(self, passage: Passage) -> None:
        """Let the next stretch of a task wait for a slot, or end it."""
        try:
            member = passage.next()
        except InputError:
            # Not symmetrisable: solve knows whom to ask.
            self.left.append(passage.number)
            return
        if member is not None:
            self._queues[self.kind(member)].append(member)
        elif (solution := passage.solution()).reason in DOUBTFUL:
            self.left.append(passage.number)
        else:
            self.end(passage.number, solution)

    def run(self, slots: int) -> None:
        """Take all tasks to their ends."""
        while self._queues:
            kind, queue = next(iter(self._queues.items()))
            for job in self.engine(kind, queue.waiting(), slots).run(queue):
                assert isinstance(job, Member)
                job.passage.take(job)
                # Before the slot is filled again, so that the next stretch may have it.
                self.go_on(job.passage)
            del self._queues[kind]

    def kind(self, member: Member) -> Kind:
        """What goes in one engine: its shape, and whether the law of E's motion is followed."""
        coordinates = member.coordinates
        shape = LeafShape if isinstance(coordinates, OnLeaf) else Shape
        return shape.of(coordinates), False

    def engine(self, kind: Kind, waiting: list[Member], slots: int) -> Engine:
        """What integrates all that waits."""
        shape, _ = kind
        longest = max(len(member.grid) for member in waiting)
        room = max(1, SAVED_BYTES // (8 * len(waiting[0].z) * max(1, longest)))
        if isinstance(shape, LeafShape):
            on_leaf = LeafLockstep(shape, min(slots, LEAF_SLOTS, len(waiting), room))
            on_leaf.lookout = LeafLookout(on_leaf)
            return on_leaf
        # Tiny systems: of more of them at a time the calls cost less, and they still fit the caches.
        most = slots * MORE_SLOTS if shape.size <= TINY else slots
        engine = Lockstep(shape, min(most, len(waiting), room))
        engine.lookout = Lookout(engine.systems)
        return engine


class _Queue(deque[Member]):
    """What waits for a slot; empty is not for ever."""

    def waiting(self) -> list[Member]:
        """What is in it, which stays there."""
        return list(super().__iter__())

    def __iter__(self) -> Iterator[Member]:
        return self

    def __next__(self) -> Member:
        if not self:
            raise StopIteration
        return self.popleft()


def fits(task: Task) -> bool:
    """Whether a task can go in lockstep."""
    return task.engine == "auto" and (small(task) or generic(task))


def worth(task: Task) -> tuple[int, int] | None:
    """How many tasks like this one there must be for lockstep to be worth it, and at a time; None: it can't go in lockstep."""
    if not fits(task):
        return None
    return (FEW_GENERIC, GENERIC_TOGETHER) if generic(task) else (FEW, 1)
