"""What an engine is: something that steps a packed system forward."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from ntkflow._types import Vector

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


def interpolant(stepper: Stepper) -> Interpolant:
    """The engine's own interpolant over its last step."""
    make: Callable[[], Interpolant] = getattr(stepper, "dense", None) or stepper.dense_output  # type: ignore[attr-defined]
    return make()
