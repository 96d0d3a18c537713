"""The tick of `lockstep.engine` on leaves of constant E, with L beside it: it follows some steps behind."""

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.lockstep import history
from ntkflow.integrate.engines.lockstep.engine import Lockstep
from ntkflow.integrate.engines.lockstep.job import Job
from ntkflow.integrate.engines.on_leaf.coordinates import LeafShape
from ntkflow.integrate.engines.on_leaf.deviations import MOST_BEHIND, NODES, Deviations
from ntkflow.integrate.engines.on_leaf.newton import LeafNewton
from ntkflow.integrate.engines.on_leaf.systems import LeafSystems

# Of more of them what they hold no longer fits the caches, of fewer the calls cost more.
SLOTS = 64


class LeafLockstep(Lockstep):
    """Integrates jobs of one shape, whose coordinates are `OnLeaf`: their flat vectors have L at the end."""

    SYSTEMS, NEWTON, LEAVES = LeafSystems, LeafNewton, Deviations
    systems: LeafSystems
    leaves: Deviations

    def __init__(self, shape: LeafShape, slots: int = SLOTS) -> None:
        super().__init__(shape, slots)
        # L at times inside steps, until it is saved, by slot and time.
        self._inside: dict[tuple[int, float], Floats] = {}

    def _enter(self, slot: int, job: Job) -> None:
        super()._enter(slot, job)
        self.leaves.L[slot] = job.z[self.shape.size :].reshape(self.leaves.L[slot].shape)
        self.leaves.behind[slot] = 0.0

    def beside(self, slot: int, t: float) -> tuple[Floats, ...]:
        """L at a time of the step that was accepted last."""
        L = self._inside.pop((slot, t), None)
        if L is None:
            self._catch_up(np.array([slot]))
            L = self.leaves.L[slot]
        return (L.ravel(),)

    def _attempt(self, i: Integers, top: Floats, ratio: Floats) -> Floats:
        before, now = self.now.h[i], self.now
        matrices = super()._attempt(i, top, ratio)
        behind = self.leaves.behind[i] * before / now.h[i]
        # The polynomial of the next step will be good for as many steps as its order.
        late = (behind > 0) & (behind + 1 > np.minimum(MOST_BEHIND, now.order[i]))
        self._catch_up(i[late], top[late], before[late])
        self.leaves.behind[i] = np.where(late, 0.0, behind)
        # Differences of higher orders stay on the grid of before.
        self.leaves.order[i] = now.order[i]
        return matrices

    def _accept(self, i: Integers, error: Floats) -> Floats:
        self.leaves.behind[i] += 1
        self.leaves.order[i] = self.now.order[i]
        return super()._accept(i, error)

    def _catch_up(self, i: Integers, top: Floats | None = None, h: Floats | None = None) -> None:
        """Bring L of slots up to where their states are.

        Args:
            i: the slots.
            top: new differences that are not in the histories yet.
            h: the steps of their grid; None: those of now.
        """
        behind = self.leaves.behind[i] > 0
        i, top = i[behind], None if top is None else top[behind]
        if len(i):
            self.leaves.L[i] = self._later(
                i, top, np.zeros(len(i)), self.now.h[i] if h is None else h[behind]
            )
            self.leaves.behind[i] = 0.0

    def _later(self, i: Integers, top: Floats | None, end: Floats, h: Floats) -> Floats:
        """L of slots at t + end h."""
        begin = -self.leaves.behind[i]
        span = end - begin
        shift = begin[:, None] + span[:, None] * NODES
        order = np.repeat(self.leaves.order[i], len(NODES))
        shares = history.interpolating(order, shift.ravel()).reshape(len(i), len(NODES), -1)
        if top is None:
            rows = history.DIFFERENCES
        else:
            shares, rows = shares @ top, history.SOURCES
        A = shares @ self.X[i, :rows, self.shape.split :]
        return self.leaves.after(i, A, self.systems.delta[i] * h * span)

    def _save_exactly(self, i: Integers, top: Floats) -> tuple[Integers, Floats]:
        now = self.now
        due = ((now.due[i] < now.t[i]) & now.exact[i]).nonzero()[0]
        times = [
            self.jobs[slot].due_before(t)
            for slot, t in zip(i[due].tolist(), now.t[i[due]].tolist(), strict=True)
        ]
        # The first of all, then the second of those that have several.
        while len(due):
            slots, each = i[due], [several.pop(0) for several in times]
            end = (each - now.t[slots]) / now.h[slots]
            self.leaves.L[slots] = found = self._later(slots, top[due], end, now.h[slots])
            self.leaves.behind[slots] = -end
            self._inside.update(zip(zip(slots.tolist(), each, strict=True), found, strict=True))
            more = [k for k, several in enumerate(times) if several]
            due, times = due[more], [times[k] for k in more]
        return super()._save_exactly(i, top)

    def _save(self, slots: Integers, times: Floats, z: Floats) -> None:
        # Together, where `whole` would take one after the other.
        inside = [key in self._inside for key in zip(slots.tolist(), times.tolist(), strict=True)]
        self._catch_up(slots[~np.array(inside, bool)])
        super()._save(slots, times, z)
