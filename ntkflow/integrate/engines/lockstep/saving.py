"""What is kept of the states in the slots, at the ends of their steps and inside them."""

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.lockstep import history
from ntkflow.integrate.engines.lockstep.counts import Counts, Lookout
from ntkflow.integrate.engines.lockstep.history import CORRECTION, SOURCES
from ntkflow.integrate.engines.lockstep.job import Job
from ntkflow.integrate.engines.structured.bdf import Polynomial

_NONE = np.zeros(0, int)


class Saving:
    """The jobs in the slots and their saved states.

    Args:
        slots: how many are under way at a time.

    Attributes:
        jobs: what lies in the slots.
        now: where it stands.
        X: histories.
    """

    X: Floats
    lookout: Lookout | None

    def __init__(self, slots: int) -> None:
        self.now = Counts(slots)
        self.jobs: list[Job] = []
        self._owed = _NONE

    def whole(self, slot: int, t: float, z: Floats) -> Floats:
        """The flat vector of the state z of a slot at t, for good."""
        return np.concatenate([z, *self.beside(slot, t)])

    def beside(self, slot: int, t: float) -> tuple[Floats, ...]:
        """What else of its state at t belongs to the flat vector."""
        del slot, t
        return ()

    def _tell(self, i: Integers, top: Floats, before: Floats) -> None:
        """Hand the interpolants of steps to the lookout."""
        now = self.now
        assert self.lookout is not None
        for k in np.flatnonzero(now.told[i]).tolist():
            slot = int(i[k])
            order = int(now.order[slot])
            # As `StructuredBDF.dense` gives it.
            covers = min(int(now.equal[slot]), order + 1)
            D = top[k, : order + 1] @ self.X[slot, :SOURCES]
            t, h = float(now.t[slot]), float(now.h[slot])
            inside = Polynomial(self.jobs[slot].coordinates, D, t, h, covers)
            self.lookout.passed(slot, float(before[k]), inside)

    def _save_exactly(self, i: Integers, top: Floats) -> tuple[Integers, Floats]:
        """States at times inside the steps of slots i, from their polynomials.

        Returns:
            Places in i of those that have one more such time, and the shares of their histories in the state there: it comes
            with the new histories, in the product that makes them.
        """
        now = self.now
        due = ((now.due[i] < now.t[i]) & now.exact[i]).nonzero()[0]
        while True:
            j = i[due]
            inside = history.interpolating(now.order[j], (now.due[j] - now.t[j]) / now.h[j])
            shares = (inside[:, None] @ top[due])[:, 0]
            several = (now.after[j] < now.t[j]).nonzero()[0]
            if not len(several):
                self._owed = j
                return due, shares
            # Few steps have several of them inside: these are worked out by themselves, but for the last.
            for k in several.tolist():
                slot, job = int(j[k]), self.jobs[int(j[k])]
                z = shares[k] @ self.X[slot, :SOURCES]
                now.due[slot] = job.save(job.due, z, *self.beside(slot, job.due))
                now.after[slot] = job.after

    def _save_owed(self) -> None:
        """The states of which `_save_exactly` has given the shares."""
        if not len(self._owed):
            return
        slots, self._owed = self._owed, _NONE
        self._save(slots, self.now.due[slots], self.X[slots, CORRECTION])
        self.X[slots, CORRECTION] = 0.0

    def _save(self, slots: Integers, times: Floats, z: Floats) -> None:
        """Keep states at times of their grids."""
        now, jobs, each = self.now, self.jobs, slots.tolist()
        saved = zip(each, times.tolist(), z, strict=True)
        now.due[slots] = [jobs[slot].save(t, row, *self.beside(slot, t)) for slot, t, row in saved]
        now.after[slots] = [jobs[slot].after for slot in each]
