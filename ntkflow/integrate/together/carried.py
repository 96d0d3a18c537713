"""Tasks that are prepared and evaluated in other processes than the one with the device: what is carried between them."""

from dataclasses import dataclass, replace

import numpy as np

from ntkflow.dynamics.packed import ThinFlow
from ntkflow.errors import InputError
from ntkflow.integrate.engines import choose
from ntkflow.integrate.engines.lockstep.job import Job
from ntkflow.integrate.motion import moves
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.stopping import Stop
from ntkflow.integrate.task import Task
from ntkflow.integrate.together.generic import MOST_FEATURES, MOST_UNKNOWNS, small
from ntkflow.integrate.together.lookout import near_saddle
from ntkflow.integrate.together.many import DOUBTFUL
from ntkflow.integrate.together.passage import Member, Passage

# jax takes what is smaller than the smallest normal float for zero, and squares of these numbers are.
TINY = 1e-140
# What the device has brought of a job.
BROUGHT = (
    "t",
    "h",
    "z",
    "steps",
    "rejected",
    "evaluations",
    "matrices",
    "seconds",
    "status",
    "saved_at",
    "kept",
)


def refuse(task: Task) -> None:
    """Say what of a task the compiled engine does not take.

    Raises:
        InputError: it has no thin form, or too large a one, or is to end before its time.
    """
    flow = task.flow
    if task.form == "raw":
        what = "integrates thin forms, and form='raw' was asked for"
    elif not isinstance(flow, ThinFlow):
        kernel, loss = task.problem.kernel.rung, task.problem.loss.name
        what = f"needs a thin form, which the {kernel} kernel with the {loss} loss does not have"
    elif not small(task):
        given = f"this state has {flow.system.n} and {flow.system.size}"
        what = f"takes at most {MOST_FEATURES} feature coordinates and {MOST_UNKNOWNS} unknowns: {given}"
    elif task.times is None or task.stop != Stop(None, None, None):
        what = "saves at given times, and knows no targets"
    else:
        return
    raise InputError("engine", repr(choose.JAX), what, "use engine='auto'")


def meant(task: Task) -> Task:
    """The same for the compiled engine; what is known of a task already goes with it."""
    return task if task.engine == choose.JAX else replace(task, engine=choose.JAX)


def tiny(task: Task) -> bool:
    """Whether the state is too small for jax."""
    sizes = (float(np.abs(block).max(initial=0.0)) for block in task.flow.blocks(task.flow.start()))
    return any(0 < size < TINY for size in sizes)


@dataclass(eq=False, kw_only=True)
class Carried(Job):
    """A job whose task is somewhere else.

    Attributes:
        saddle: sum of the squares of W below which a saddle is thought of; negative: never.
    """

    saddle: float


def depart(task: Task) -> Carried | None:
    """What the device is to integrate of a task; None of one that is better solved alone.

    Raises:
        InputError: the engine takes no such task.
    """
    refuse(task)
    if tiny(task) or moves(task.problem):
        return None
    passage, member = _only_stretch(task)
    if member is None:
        return None
    return Carried(
        coordinates=member.coordinates, z=member.z, t_end=member.t_end, rtol=member.rtol, atol=member.atol, grid=member.grid,
        saddle=near_saddle(passage.watch, member.rtol),
    )  # fmt: skip


def arrive(task: Task, carried: Carried | None) -> Solution:
    """The solution of a task from what the device has brought; solved alone where that is not its end."""
    if carried is not None and carried.status == "finished":
        passage, member = _only_stretch(task)
        assert member is not None
        for name in BROUGHT:
            setattr(member, name, getattr(carried, name))
        member.reason = passage.watch.reason(member.now(member.t, member.z, member.steps))
        passage.take(member)
        if (solution := passage.solution()).reason not in DOUBTFUL:
            return solution
    return run_alone(replace(task, engine="auto"))


def _only_stretch(task: Task) -> tuple[Passage, Member | None]:
    passage = Passage(0, meant(task))
    try:
        member = passage.next()
    except InputError:
        # Not symmetrisable: solve knows whom to ask.
        return passage, None
    return passage, member if passage.last else None
