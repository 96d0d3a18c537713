"""Position of a time between the knots of a piecewise linear schedule."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple


class Bracket(NamedTuple):
    """The value at a time is (1 - share) knot[left] + share knot[right]."""

    left: int
    right: int
    share: float


def bracket(times: Sequence[float], t: float, before: bool = False) -> Bracket:
    """The two knots around t; outside the knots the first or last one holds.

    At a knot the segment to its right is taken, so that slopes are right-sided; with `before` the one to
    its left.

    >>> bracket((0.0, 2.0, 3.0), 0.5)
    Bracket(left=0, right=1, share=0.25)
    """
    right = bisect_left(times, t) if before else bisect_right(times, t)
    if right == 0:
        return Bracket(0, 0, 0.0)
    if right == len(times):
        return Bracket(right - 1, right - 1, 0.0)
    left = right - 1
    return Bracket(left, right, (t - times[left]) / (times[right] - times[left]))
