"""Where the integration of every slot stands, and what may end one before its time."""

from typing import Protocol, runtime_checkable

from ntkflow._types import Floats, Integers, Truths
from ntkflow.integrate.engines.lockstep.job import Job
from ntkflow.integrate.engines.lockstep.slots import PerSlot
from ntkflow.integrate.engines.structured import corrector
from ntkflow.integrate.engines.structured.bdf import Polynomial


@runtime_checkable
class Lookout(Protocol):
    """What may end an integration before its time."""

    def begin(self, slot: int, job: Job) -> None:
        """A job enters a slot."""

    def ended(self, i: Integers, t: Floats, squares: Floats, z: Floats, steps: Integers) -> Integers:
        """Those of the slots i to stop, after an accepted step.

        Args:
            i: slots that have taken one.
            t: times reached.
            squares: sums of the squares of each of the blocks of z, (len(i), 4).
            z: states there.
            steps: steps taken so far.
        """

    def passed(self, slot: int, begin: float, inside: Polynomial) -> None:
        """A job that asked for it has taken a step, from `begin` to the end of an interpolant."""

    def keep(self, staying: Integers) -> None:
        """All other slots are cut out."""


class Counts(PerSlot):
    """Where the integration of every slot stands.

    Attributes:
        t, h, t_end, due, after: time, step, end, next time to save at, and the one after it.
        sigma: leading coefficient of the formula over the step.
        shortest: a shorter step means failure.
        rate, before: of Newton's iteration: how it converges, and the size of its last change.
        age, patience: steps that the matrix has seen, and may see.
        order, equal, iteration, refused: order; equal steps in a row; iterations and refusals of the step under way.
        steps, rejected, evaluations, matrices: as in `Job`.
        fresh, usable: whether the matrix was made for the step under way; whether there is one.
        landing: whether the step under way ends at t_end.
        exact, told, seconds: as in `Job`.
        failed: whether no step is left to be tried.
    """

    t: Floats
    h: Floats
    t_end: Floats
    due: Floats
    after: Floats
    sigma: Floats
    shortest: Floats
    rate: Floats
    before: Floats
    age: Floats
    patience: Floats
    order: Integers
    equal: Integers
    iteration: Integers
    refused: Integers
    steps: Integers
    rejected: Integers
    evaluations: Integers
    matrices: Integers
    fresh: Truths
    usable: Truths
    landing: Truths
    exact: Truths
    told: Truths
    seconds: Floats
    failed: Truths

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        for name in (
            "t",
            "h",
            "t_end",
            "due",
            "after",
            "sigma",
            "shortest",
            "rate",
            "before",
            "age",
            "patience",
            "seconds",
        ):
            self.hold(name)
        for name in (
            "order",
            "equal",
            "iteration",
            "refused",
            "steps",
            "rejected",
            "evaluations",
            "matrices",
        ):
            self.hold(name, kind=int)
        for name in ("fresh", "usable", "landing", "exact", "told", "failed"):
            self.hold(name, kind=bool)

    def begin(self, slot: int, job: Job) -> None:
        """A job enters a slot."""
        for name in self._names:
            getattr(self, name)[slot] = 0
        self.t_end[slot], self.due[slot], self.after[slot] = job.t_end, job.due, job.after
        self.exact[slot], self.told[slot] = job.exact, job.told
        self.order[slot], self.patience[slot], self.rate[slot] = 1, corrector.OLDEST, 1.0

    def record(self, slot: int, job: Job) -> None:
        """What the job is told when it leaves."""
        job.t, job.h = float(self.t[slot]), float(self.h[slot])
        for name in ("steps", "rejected", "evaluations", "matrices", "seconds"):
            setattr(job, name, getattr(self, name)[slot].item())
