"""When a snapshot is kept and when a kernel is measured, without knowing how long the training will be."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ntkflow import checks
from ntkflow.errors import InputError
from ntkflow_validation.metrics.kernel_change import Sign, change, sign_of
from ntkflow_validation.runs.rundir import StoredSnapshot

# A list of steps, or the factor by which the step has to grow from one to the next.
Steps = float | Sequence[int]
# A sign of change may miss what a layer far below does: kernels are measured at least as often as the step grows by this.
LATEST = 10.0


def checked(name: str, value: Steps | None) -> Steps | None:
    """A factor of at least 1, or steps.

    Raises:
        InputError: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(checks.whole(name, step, 0) for step in value)
    factor = checks.real(name, value, "give a factor, or a list of steps")
    if factor < 1:
        raise InputError(
            name, factor, "is a factor by which steps grow, at least 1", "give such as 1.1, 1 for all"
        )
    return factor


@dataclass
class Cadence:
    """Steps that grow by a factor, since the flow is fast at first; or those of a list.

    Attributes:
        steps: which.
        last: the last step that was taken; None before the first.
    """

    steps: Steps | None
    last: int | None = None

    def due(self, step: int) -> bool:
        """Whether something is to be done at this step."""
        if self.steps is None:
            return False
        if isinstance(self.steps, tuple):
            return step in self.steps
        assert isinstance(self.steps, float | int)
        return self.last is None or step >= max(self.last + 1, self.steps * self.last)

    def done(self, step: int) -> None:
        """It was done."""
        self.last = step


@dataclass
class Budget:
    """A share of the time that has gone by since the recorder was made.

    Attributes:
        share: which; what comes first is always within it.
        spent: seconds that it took so far.
        longest: seconds of the last measurement, which the next is expected to take.
    """

    share: float
    spent: float = 0.0
    longest: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def allows(self) -> bool:
        """Whether the next measurement is expected to fit."""
        gone = time.perf_counter() - self.began - self.spent
        return self.spent == 0.0 or self.spent + self.longest <= self.share * gone

    def took(self, seconds: float) -> None:
        """A measurement was made."""
        # The first compiles as well, which no later one does.
        self.longest = seconds if self.spent else seconds / 2
        self.spent += seconds


class KernelCadence:
    """When kernels are measured: at steps that grow by a factor or of a list, or where a sign of their change has moved.

    Args:
        steps: a factor, a list of steps, or None for never.
        by: share by which `metrics.kernel_change` has to have moved since the last measurement, in place of the factor; at the
            latest the step has grown `LATEST`-fold. None: the factor.
        budget: the share of the time gone by that measuring may take; it does not count for a list.

    Raises:
        InputError: a share that is none, or beside a list of steps or none at all.
    """

    def __init__(self, steps: Steps | None, by: float | None, budget: float) -> None:
        self.steps, self.by = checked("kernels", steps), by
        if by is not None:
            self.by = checks.positive("kernel_change", by)
            if not isinstance(self.steps, float | int):
                rule, remedy = "says when kernels are measured in place of a factor", "drop it, or kernels="
                raise InputError("kernel_change", by, rule, remedy)
        self._cadence = Cadence(self.steps)
        self._budget = Budget(checks.not_negative("budget", budget))
        self._sign: Sign | None = None

    def may(self, step: int) -> bool:
        """Whether a kernel may be measured at this step, before anything of it is known."""
        if self.by is None:
            return self._cadence.due(step) and self._allows
        return self._cadence.steps is not None and self._allows

    def due(self, seen: StoredSnapshot) -> bool:
        """Whether it is to be measured of what was seen."""
        if not self.may(seen.step):
            return False
        if self.by is None or self._sign is None or seen.step >= LATEST * max(self._cadence.last or 0, 1):
            return True
        return change(sign_of(seen.state, seen.sizes), self._sign) >= self.by

    def done(self, seen: StoredSnapshot, seconds: float) -> None:
        """It was measured, in so long."""
        self._budget.took(seconds)
        self.resume(seen)

    def resume(self, seen: StoredSnapshot) -> None:
        """Go on from the last one that was measured."""
        self._cadence.done(seen.step)
        if self.by is not None:
            self._sign = sign_of(seen.state, seen.sizes)

    def stop(self) -> None:
        """None is measured from here on."""
        self._cadence.steps = None

    @property
    def _allows(self) -> bool:
        return isinstance(self.steps, tuple) or self._budget.allows()
