"""What an engine is: something that steps a packed system forward."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Times, Vector

Interpolant = Callable[[float], Vector]


@runtime_checkable
class Stepper(Protocol):
    """One integration under way; scipy's solver classes have this shape, ours follow it."""

    @property
    def t(self) -> float:
        """Current time."""
        ...

    @property
    def y(self) -> Vector:
        """Packed state at t."""
        ...

    @property
    def status(self) -> str:
        """'running', 'finished' or 'failed'."""
        ...

    @property
    def nfev(self) -> int:
        """Evaluations of the field so far."""
        ...

    def step(self) -> str | None:
        """Take one accepted step; sets `status` to 'finished' or 'failed' at the end."""
        ...


class Shared(ABC):
    """An interpolant that is as good over some steps before the last, and gives many states at once.

    Attributes:
        covers: over how many of the last steps it holds, the last among them.
    """

    covers: int

    @abstractmethod
    def __call__(self, time: float) -> Vector:
        """The packed state at a time."""

    @abstractmethod
    def several(self, times: Times) -> Float64[np.ndarray, "T D"]:
        """The packed states at several times."""


def interpolant(stepper: Stepper) -> Interpolant:
    """The engine's own interpolant over its last step."""
    make: Callable[[], Interpolant] = getattr(stepper, "dense", None) or stepper.dense_output  # type: ignore[attr-defined]
    return make()
