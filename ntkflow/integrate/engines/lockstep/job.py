"""One integration that waits for a slot, lies in one, or has left it."""

import math
from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

from ntkflow._types import Floats, Times
from ntkflow.integrate.engines.structured.coordinates import Coordinates, Flat


@dataclass(eq=False)
class Job:
    """A system to integrate from t = 0, and what becomes of it.

    Attributes:
        coordinates: the system.
        z: flat vector at t; the initial one to begin with.
        t_end: where to end.
        rtol: relative tolerance of the local error of each of the blocks H1, L, W, b.
        atol: absolute tolerance of each of the packed blocks H1, L, W, b.
        grid: times to save at, increasing.
        exact: whether to save at these times, or at the ends of the steps that pass them.
        told: whether the lookout is told of every step.
        t: time reached.
        h: the last step tried.
        steps: accepted steps.
        rejected: rejected steps.
        evaluations: evaluations of the field.
        matrices: matrices prepared.
        seconds: its share of the time of the ticks.
        status: 'waiting', 'running', 'finished', 'failed' or 'stopped'.
        saved_at: times saved.
        kept: the flat vectors there, and room for those of later times.
    """

    coordinates: Coordinates
    z: Flat
    t_end: float
    rtol: float
    atol: Floats
    grid: Times
    exact: bool = True
    told: bool = False
    t: float = 0.0
    h: float = 0.0
    steps: int = 0
    rejected: int = 0
    evaluations: int = 0
    matrices: int = 0
    seconds: float = 0.0
    status: str = "waiting"
    saved_at: list[float] = field(default_factory=list)
    kept: Floats | None = None
    _next: int = 0

    def __post_init__(self) -> None:
        # Asked after every step: a list is quicker than an array.
        self._times: list[float] = [*self.grid.tolist(), math.inf, math.inf]

    @property
    def due(self) -> float:
        """The next time to save at; infinite when there is none."""
        return self._times[self._next]

    @property
    def after(self) -> float:
        """The time to save at after that."""
        return self._times[self._next + 1]

    def due_before(self, t: float) -> list[float]:
        """The times to save at that come before t."""
        k = bisect_left(self._times, t)
        return self._times[self._next : k]

    @property
    def saved(self) -> Floats:
        """The flat vectors at the times saved, (T, F)."""
        return np.zeros((0, self.z.size)) if self.kept is None else self.kept[: len(self.saved_at)]

    def save(self, t: float, *parts: Floats) -> float:
        """Keep a state at a time of the grid, or at t in the place of all of its times up to t.

        Args:
            t: the time.
            parts: what the flat vector there is made of.

        Returns:
            The next time to save at.
        """
        if self.kept is None:
            # One array from the first of them on: so many states as there are times are neither gathered nor copied again.
            self.kept = np.empty((len(self.grid), sum(part.size for part in parts)))
        np.concatenate(parts, out=self.kept[len(self.saved_at)])
        self.saved_at.append(t)
        k, times = self._next + 1, self._times
        while times[k] <= t and not self.exact:
            k += 1
        self._next = k
        return times[k]
