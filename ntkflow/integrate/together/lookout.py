"""Looks over all slots of the lockstep engine at once, and asks the `Watch` of those for whom it could matter."""

import math
from dataclasses import dataclass

import numpy as np

from ntkflow._types import Floats, Integers, Truths, Vector
from ntkflow.dynamics.packed import ThinFlow
from ntkflow.integrate.engines.chain import Step
from ntkflow.integrate.engines.lockstep.job import Job
from ntkflow.integrate.engines.lockstep.slots import PerSlot, Systems
from ntkflow.integrate.engines.on_leaf import LeafLockstep
from ntkflow.integrate.engines.structured.bdf import Polynomial
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.together.passage import Member
from ntkflow.integrate.together.symmetric import Symmetric
from ntkflow.integrate.watch import BLIND_STEPS, NEARLY, SADDLE_ERROR, STALL_STEPS, WORN_STEPS, Watch
from ntkflow.problem.thin import Frame

# Thresholds on norms are taken with so much to spare: the watch decides, and it adds up in another order.
ROOM = 1 + 1e-9


@dataclass(frozen=True, eq=False)
class Passed:
    """The end of a step, as what follows the law of E's motion asks for it."""

    inside: Polynomial
    status: str = "running"
    nfev: int = 0

    @property
    def t(self) -> float:
        """Where it ends."""
        return self.inside.t

    @property
    def y(self) -> Vector:
        """Packed state there."""
        return self.inside.coordinates.leave(self.inside.D[0])

    def step(self) -> None:
        """It has been taken."""

    def dense(self) -> Polynomial:
        """The interpolant."""
        return self.inside


def near_saddle(watch: Watch, rtol: float) -> float:
    """Sum of the squares of W below which a watch may see a saddle; negative where there is none."""
    if watch.saddle is None:
        return -1.0
    return float((watch.saddle.depth(SADDLE_ERROR / rtol) * watch.origin[1]) ** 2 * ROOM)


class Lookout(PerSlot):
    """Thresholds of all slots that no run passes without its watch being asked.

    Args:
        systems: what lies in the slots.
    """

    within: Floats
    loss: Floats
    slow: Floats
    saddle: Floats
    most: Integers
    steps: Integers
    blind: Truths
    before: Floats
    since: Floats
    ends: Floats
    lightest: Floats
    heaviest: Floats

    def __init__(self, systems: Systems) -> None:
        super().__init__(systems.slots)
        self.systems = systems
        for name in ("within", "loss", "slow", "saddle", "since", "ends", "lightest", "heaviest"):
            self.hold(name)
        self.hold("most", kind=int)
        self.hold("steps", kind=int)
        self.hold("blind", kind=bool)
        self.hold("before", systems.shape.size)
        self.members: list[Member] = []

    def begin(self, slot: int, job: Job) -> None:
        """A member enters a slot."""
        assert isinstance(job, Member)
        if slot == len(self.members):
            self.members.append(job)
        self.members[slot] = job
        watch, coordinates, steps = job.passage.watch, job.coordinates, job.passage.steps
        stop, sizes, clock = watch.stop, watch.sizes, watch.flow.clock
        # Of a state packed by samples the deviations are not a block: then the watch is asked every time.
        by_class = isinstance(watch.flow, ThinFlow) and isinstance(watch.flow.frame, Frame)
        falls = stop.nc1 is not None and watch.spread > stop.nc1
        least = math.inf if not by_class else sizes.N * sizes.n * (stop.nc1 or 0.0) ** 2 * ROOM
        self.within[slot] = least if falls else -1.0
        self.loss[slot] = -1.0 if stop.loss is None else stop.loss * ROOM
        # One contrast stands for C - 1 of them there: all norms are smaller, and speeds may look so many times larger.
        room = ROOM * (math.sqrt(sizes.C - 1) if isinstance(coordinates, Symmetric) else 1.0)
        self.slow[slot] = -1.0 if stop.stationarity is None else NEARLY * stop.stationarity * clock * room
        self.saddle[slot] = near_saddle(watch, job.rtol)
        self.most[slot], self.blind[slot], self.steps[slot] = watch.max_steps, watch.blind, steps
        self.before[slot] = job.z[: self.before.shape[1]]
        self.since[slot], self.ends[slot] = 0.0, job.t_end
        self.lightest[slot], self.heaviest[slot] = coordinates.s.min() ** 2, coordinates.s.max() ** 2

    def keep(self, staying: Integers) -> None:
        """All other slots are cut out."""
        super().keep(staying)
        self.members = [self.members[slot] for slot in staying.tolist() if slot < len(self.members)]

    def ended(self, i: Integers, t: Floats, squares: Floats, z: Floats, steps: Integers) -> Integers:
        """Those of the slots i that are to stop; see `lockstep.counts.Lookout`."""
        near = self._near(i, t, squares, z)
        ask = near | (squares[:, 1] <= self.within[i]) | (squares[:, 2] <= self.saddle[i])
        if np.any(self.loss[i] >= 0):
            ask |= self.systems.losses(i, z) <= self.loss[i]
        ask &= ~self.blind[i] | (steps % BLIND_STEPS == 0)
        ask |= (t >= self.ends[i]) | (steps >= self.most[i])
        worn = (steps % WORN_STEPS == 0) | (steps % STALL_STEPS == 0)
        stopped = [
            k
            for k in np.flatnonzero(ask | worn).tolist()
            if self.asked(int(i[k]), float(t[k]), z[k], int(steps[k]), bool(near[k]), bool(ask[k]))
        ]
        return i[stopped]

    def passed(self, slot: int, begin: float, inside: Polynomial) -> None:
        """An accepted step of a member whose E moves."""
        member = self.members[slot]
        motion = member.passage.motion
        assert motion is not None
        motion.observe(Step(member.interval, (begin, inside.t), Passed(inside)))

    def asked(self, slot: int, t: float, z: Floats, steps: int, near: bool, anything: bool) -> bool:
        """Whether a member is to stop, for whatever reason or, where that can be all, because it gets nowhere."""
        member = self.members[slot]
        if not anything and steps % STALL_STEPS:
            # Only a step that fails asks what was seen here.
            member.worn.append((t, self.roughly(slot, z), steps))
            return False
        member.tell_worn()
        watch, now = member.passage.watch, member.now(t, self.whole(slot, t, z), steps)
        if anything:
            member.reason = watch.reason(now, near)
        elif watch.stalled(now):
            member.reason = Reason.STALLED
        return member.reason is not None

    def whole(self, slot: int, t: float, z: Floats) -> Floats:
        """The flat vector of a member whose state at t is z."""
        del slot, t
        return z

    def roughly(self, slot: int, z: Floats) -> Floats:
        """The same for good, as well as it is known."""
        del slot
        return z.copy()

    def _near(self, i: Integers, t: Floats, squares: Floats, z: Floats) -> Truths:
        """Whether the mean speed over the step is near the target, as `Watch` asks; rather too often than too seldom."""
        slow = self.slow[i]
        if np.all(slow < 0):
            return np.zeros(len(i), bool)
        moved = z - self.before[i]
        self.before[i] = z
        span, self.since[i] = t - self.since[i], t
        # Class means count with the roots of their masses here.
        H = squares[:, 0] / self.lightest[i]
        size = H + squares[:, 1:].sum(axis=1)
        moved *= moved
        distance = moved.sum(axis=1) / np.maximum(self.heaviest[i], 1.0)
        near: Truths = distance <= np.where(slow > 0, slow * span, -1.0) ** 2 * size
        return near & (slow > 0)


class LeafLookout(Lookout):
    """The same of states without L, which is brought up to their times when the watch is asked.

    The losses that it looks at leave out the share of L: the watch is asked rather too often than too seldom.

    Args:
        engine: whose slots it looks over.
    """

    def __init__(self, engine: LeafLockstep) -> None:
        super().__init__(engine.systems)
        self.engine = engine

    def whole(self, slot: int, t: float, z: Floats) -> Floats:
        """The flat vector with L at t."""
        return self.engine.whole(slot, t, z)

    def roughly(self, slot: int, z: Floats) -> Floats:
        """The flat vector with the L of a few steps before: of a run that gets nowhere it is as good."""
        return np.concatenate([z, self.engine.leaves.L[slot].ravel()])
