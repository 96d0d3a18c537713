"""Many tasks by the tick that jax compiles, on an accelerator where there is one; imported on demand, with jax."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.compiled.engine import CompiledLockstep, slots_for
from ntkflow.integrate.engines.lockstep.job import Job
from ntkflow.integrate.engines.lockstep.slots import Shape, Systems
from ntkflow.integrate.engines.structured.bdf import Polynomial
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.task import Task
from ntkflow.integrate.together.carried import Carried, meant, refuse, tiny
from ntkflow.integrate.together.lookout import Lookout
from ntkflow.integrate.together.many import Engine, Kind, Together
from ntkflow.integrate.together.passage import Member, Passage
from ntkflow.integrate.watch import BLIND_STEPS, STALL_STEPS

# So many steps no run takes that gets anywhere; solve will say why.
UNWATCHED_STEPS = 20_000

T = TypeVar("T")


def solve_compiled(
    tasks: Sequence[Task], keep: Callable[[int, Solution], T], *, slots: int | None = None, of: int = 0
) -> list[T]:
    """What `keep` makes of the solutions of tasks, each of them that of `solve` within rtol.

    What fails there, and states too small for jax, are solved alone.

    Args:
        tasks: what is to be done, with times to save and without targets; see `carried.refuse`.
        keep: called with the number of a task and its solution, as they end.
        slots: how many are under way at a time; None: by the device and its memory.
        of: how many tasks there are in all where these are some of them: one program serves all.

    Raises:
        InputError: a task is none of those that the engine takes.
    """
    found: dict[int, T] = {}

    def end(number: int, solution: Solution) -> None:
        found[number] = keep(number, solution)

    tasks = [meant(task) for task in tasks]
    for task in tasks:
        refuse(task)
    with threadpool_limits(1, user_api="blas"):
        together = _Compiled(end, of)
        for number, task in enumerate(tasks):
            if tiny(task):
                together.left.append(number)
            else:
                together.go_on(Passage(number, task))
        together.run(slots or 0)
    for number in together.left:
        end(number, run_alone(replace(tasks[number], engine="auto")))
    return [found[number] for number in range(len(tasks))]


def integrate(jobs: Sequence[Carried], of: int = 0) -> Iterator[Carried]:
    """Give jobs back as they are done with; they have no watch here, and whatever needs one is 'stopped'.

    Args:
        jobs: what is to be done.
        of: how many there are in all where these are some of them.
    """
    shapes: dict[Shape, list[Carried]] = defaultdict(list)
    for job in jobs:
        shapes[Shape.of(job.coordinates)].append(job)
    for shape, alike in shapes.items():
        longest = max(len(job.grid) for job in alike)
        engine = CompiledLockstep(shape, slots_for(shape, max(of, len(alike)), longest), longest)
        engine.watcher = _Elsewhere(engine.slots)
        for done in engine.run(alike):
            assert isinstance(done, Carried)
            yield done


class _Elsewhere:
    """Stops those that a watch should see: it is in another process.

    Args:
        slots: how many there are.
    """

    seldom, at_least = BLIND_STEPS, UNWATCHED_STEPS

    def __init__(self, slots: int) -> None:
        self.saddle, self.most = np.full(slots, -1.0), np.full(slots, UNWATCHED_STEPS)

    def begin(self, slot: int, job: Job) -> None:
        """A job enters a slot."""
        assert isinstance(job, Carried)
        self.saddle[slot] = job.saddle

    def passed(self, slot: int, begin: float, inside: Polynomial) -> None:
        """Nobody asked for it."""

    def stops(self, slot: int, t: float, z: Floats, steps: int) -> bool:
        """That it is asked is enough."""
        del slot, t, z, steps
        return True


class _Compiled(Together):
    """What goes in the slots of compiled programs.

    Args:
        end: called with the number of a task and its solution.
        of: how many tasks there are in all.
    """

    def __init__(self, end: Callable[[int, Solution], None], of: int) -> None:
        super().__init__(end)
        self._of = of

    def kind(self, member: Member) -> Kind:
        """Its shape, and whether the host is told of every step: these are programs of their own."""
        return Shape.of(member.coordinates), member.told

    def engine(self, kind: Kind, waiting: list[Member], slots: int) -> Engine:
        """Of as many slots as the device holds, or as asked for."""
        shape, told = kind
        # Of later stretches too, which come when the first are done with.
        asked = (member.passage.task.times for member in waiting)
        longest = max(0 if times is None else len(times) for times in asked)
        engine = CompiledLockstep(
            shape, slots or slots_for(shape, max(self._of, len(waiting)), longest, told), longest, told=told
        )
        engine.watcher = _Watcher(engine.systems)
        return engine


class _Watcher:
    """The lookout of the lockstep engine, asked of those slots alone that the program has found something in.

    Args:
        systems: what lies in the slots.
    """

    seldom, at_least = BLIND_STEPS, STALL_STEPS

    def __init__(self, systems: Systems) -> None:
        self._lookout = Lookout(systems)

    @property
    def saddle(self) -> Floats:
        """Sums of the squares of W from which on a saddle is thought of."""
        return self._lookout.saddle

    @property
    def most(self) -> Integers:
        """Steps that are left to the members."""
        return self._lookout.most - self._lookout.steps

    def begin(self, slot: int, job: Job) -> None:
        """A member enters a slot."""
        self._lookout.begin(slot, job)

    def passed(self, slot: int, begin: float, inside: Polynomial) -> None:
        """An accepted step of a member whose E moves."""
        self._lookout.passed(slot, begin, inside)

    def stops(self, slot: int, t: float, z: Floats, steps: int) -> bool:
        """Whether a member is to stop, or why it has come to its end."""
        return self._lookout.asked(slot, t, z, steps, near=False, anything=True)
