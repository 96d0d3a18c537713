"""The smallest description that predicts: skill against the number of constants."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ntkflow._types import Json

THRESHOLD = 0.8


@dataclass(frozen=True)
class Point:
    """One rung of one window.

    Attributes:
        rung: its name.
        constants: how many numbers it takes from the network.
        skill: on centred class means.
        error: standard error over probe sets, or None.
        best: whether no rung with as few constants has a higher skill.
        trained: whether it took the training's own steps, with momentum, decay and batches, instead of the flow.
    """

    rung: str
    constants: int
    skill: float
    error: float | None
    best: bool = False
    trained: bool = False

    @property
    def label(self) -> str:
        """Name, and whether as trained."""
        return f"{self.rung} as trained" if self.trained else self.rung

    def to_dict(self) -> Json:
        """Plain values."""
        skill = self.skill if np.isfinite(self.skill) else None
        return {**vars(self), "rung": self.label, "skill": skill}


def frontier(points: Sequence[Point]) -> list[Point]:
    """All points by constants, those on the frontier marked."""
    found, highest = [], -np.inf
    for point in sorted(points, key=lambda p: (p.constants, -p.skill if np.isfinite(p.skill) else np.inf)):
        best = bool(np.isfinite(point.skill)) and point.skill > highest
        highest = point.skill if best else highest
        found.append(replace(point, best=best))
    return found


def cheapest(points: Sequence[Point], threshold: float = THRESHOLD) -> str | None:
    """The rung with the fewest constants whose skill reaches the threshold; the plain flow where that does."""
    good = [p for p in points if p.skill >= threshold]
    return min(good, key=lambda p: (p.constants, p.trained, -p.skill)).label if good else None
