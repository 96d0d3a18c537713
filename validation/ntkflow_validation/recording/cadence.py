"""When a snapshot is kept and when a kernel is measured, without knowing how long the training will be."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ntkflow import checks
from ntkflow.errors import InputError

# A list of steps, or the factor by which the step has to grow from one to the next.
Steps = float | Sequence[int]


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
