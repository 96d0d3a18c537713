"""Many tasks at once: small thin systems in lockstep, buckets of equal shape after each other, and the rest alone."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from ntkflow.dynamics.packed import ThinFlow
from ntkflow.errors import InputError
from ntkflow.integrate.engines.chain import SMALLEST_RTOL, STRUCTURED_SAFETY, Interval, block_tolerances
from ntkflow.integrate.engines.choose import Choice
from ntkflow.integrate.engines.lockstep import Lockstep
from ntkflow.integrate.engines.lockstep.engine import SLOTS
from ntkflow.integrate.engines.lockstep.slots import Shape
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from ntkflow.integrate.lookout import Lookout, Member
from ntkflow.integrate.save_times import own_grid
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.task import Cost, Task

LOCKSTEP = "lockstep"
# Of larger systems the products are large enough for one run by itself to be as fast.
MOST_FEATURES, MOST_UNKNOWNS = 20, 4000
# Whether these are the system's fault or this engine's, another engine knows.
DOUBTFUL = (Reason.STEP_FAILED, Reason.NOT_FINITE, Reason.STALLED, Reason.INACCURATE)

Done = Callable[[int, Solution], None]


def solve_many(tasks: Sequence[Task], done: Done | None = None, slots: int = SLOTS) -> list[Solution]:
    """The solutions of tasks, each of them that of `solve` within rtol; none depends on a digit of another task.

    Constant kernels with a thin form of at most 20 feature coordinates go in lockstep where the engine is 'auto'; what has
    no such form, and what fails there, is solved alone.

    Args:
        tasks: what is to be done.
        done: called with the number of a task and its solution, as they end.
        slots: how many are under way at a time.
    """
    found: dict[int, Solution] = {}
    buckets: dict[Shape, list[Member]] = defaultdict(list)
    alone = []

    def end(number: int, solution: Solution) -> None:
        found[number] = solution
        if done is not None:
            done(number, solution)

    for number, task in enumerate(tasks):
        if (member := _member(number, task)) is None:
            alone.append(number)
        elif member.reason is not None:
            end(number, _solution(member))
        else:
            buckets[Shape.of(member.coordinates)].append(member)
    # Products of small matrices: several BLAS threads contend and cost more than they bring.
    with threadpool_limits(1, user_api="blas"):
        for shape, members in buckets.items():
            engine = Lockstep(shape, min(slots, len(members)))
            engine.lookout = Lookout(engine.systems)
            for job in engine.run(members):
                assert isinstance(job, Member)
                solution = _solution(job)
                end(job.number, run_alone(job.task) if solution.reason in DOUBTFUL else solution)
    for number in alone:
        end(number, run_alone(tasks[number]))
    return [found[number] for number in range(len(tasks))]


def fits(task: Task) -> bool:
    """Whether a task can go in lockstep."""
    if task.engine != "auto" or task.form == "raw" or task.problem.kernel.moves:
        return False
    flow = task.flow
    return isinstance(flow, ThinFlow) and flow.system.n <= MOST_FEATURES and flow.system.size <= MOST_UNKNOWNS


def _member(number: int, task: Task) -> Member | None:
    """A task made ready for the lockstep engine; None where that can't take it."""
    flow = task.flow if fits(task) else None
    if not isinstance(flow, ThinFlow):
        return None
    y, rtol = flow.start(), max(task.rtol * STRUCTURED_SAFETY, SMALLEST_RTOL)
    try:
        coordinates = Coordinates.build(flow.system, 0.0, task.t_end, y)
    except InputError:
        # Not symmetrisable: solve knows whom to ask.
        return None
    stiffness, reason = flow.spectral_radius(y) * task.t_end, "a small thin system among many"
    because = f"{reason} (rho T = {stiffness:.2g}, {y.size} unknowns)"
    choice = Choice(LOCKSTEP, stiffness, because, reason)
    watch, motion = task.watch(), task.motion()
    member = Member(
        coordinates=coordinates,
        z=coordinates.enter(y),
        t_end=task.t_end,
        rtol=rtol,
        atol=np.array(block_tolerances(flow, y, rtol)),
        grid=own_grid(flow, task.t_end) if task.times is None else task.times,
        exact=task.times is not None,
        told=motion is not None,
        number=number,
        task=task,
        watch=watch,
        interval=Interval(0.0, task.t_end, flow, choice, rtol),
        motion=motion,
    )
    if task.times is None:
        member.saved.append((0.0, member.z))
        # A target may be met before anything has moved.
        member.reason = watch.reason(member.now(0.0, member.z, 0))
    elif task.times[0] == 0.0:
        member.save(0.0, member.z)
    return member


def _solution(member: Member) -> Solution:
    reason, saved = member.ended, list(member.saved)
    # The last finite state of a run that ended before its end time, unless it is there already.
    if np.all(np.isfinite(member.z)):
        if reason is not Reason.T_END and (not saved or member.t > saved[-1][0]):
            saved.append((member.t, member.z))
    elif not saved:
        saved.append((0.0, member.coordinates.enter(member.task.flow.start())))
    times = [t for t, _ in saved]
    packed = member.coordinates.leave(np.array([z for _, z in saved]))
    if times[0] == 0.0:
        # As it was given, not as it comes back from these coordinates.
        packed[0] = member.task.flow.start()
    cost = Cost(member.interval.choice, member.steps, member.evaluations, member.rtol, member.seconds)
    return member.task.solution(times, packed, reason, cost, time.perf_counter(), member.motion)
