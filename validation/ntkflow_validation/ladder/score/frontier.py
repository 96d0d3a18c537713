"""The smallest description that predicts: skill against the number of constants."""

from collections.abc import Sequence
from dataclasses import replace

from ntkflow_validation.runs.compared import Point

# By convention: what leaves a fifth of the squared change unexplained passes for a prediction.
THRESHOLD = 0.8


def frontier(points: Sequence[Point]) -> list[Point]:
    """All points by constants, those on the frontier marked."""
    found, highest = [], float("-inf")
    for point in sorted(points, key=lambda p: (p.constants, float("inf") if p.skill is None else -p.skill)):
        best = point.skill is not None and point.skill > highest
        if point.skill is not None:
            highest = max(highest, point.skill)
        found.append(replace(point, best=best))
    return found


def cheapest(points: Sequence[Point], threshold: float = THRESHOLD) -> str | None:
    """The rung with the fewest constants whose skill reaches the threshold; the plain flow where that does.

    A flow before the training's own steps: it needs nothing but the kernel.
    """
    good = [p for p in points if p.skill is not None and p.skill >= threshold]
    return min(good, key=lambda p: (p.constants, p.trained, -(p.skill or 0.0))).rung if good else None
