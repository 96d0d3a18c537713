"""The variable in which steps are even: time itself, or its logarithm.

What a flow does it does over ever longer times: the solution is as smooth in s = ln(1 + (t - begin)/unit) all along, and
dz/ds = (unit + t - begin) dz/dt is solved with formulas on an equidistant grid of s.
"""

import math
from dataclasses import dataclass

import numpy as np

from ntkflow._types import Times

# Log time is worth it where a run is so many times as long as its first changes.
EVEN_FROM = 10.0
# Biases change fastest early, where a run in log time has few steps: with this weight they are as good as in even time.
BIASES = 3.0
# What moves by so many tolerances in an e-fold of time comes to rest next. A run does so in time itself: what is left of it dies
# out from step to step, and a step in log time would go on for as long as the run has lasted.
NEARLY_AT_REST = 1e4
# Longest step in log time: stop conditions are met that much late at most.
LONGEST = 0.15


@dataclass(frozen=True)
class Clock:
    """Time as it is."""

    def read(self, t: float) -> float:
        """The variable at a time."""
        return t

    def reads(self, times: Times) -> Times:
        """`read` of many."""
        return times

    def time(self, s: float) -> float:
        """The time at a value of the variable."""
        return s

    def pace(self, s: float) -> float:  # noqa: ARG002
        """dt/ds there."""
        return 1.0


@dataclass(frozen=True)
class LogClock(Clock):
    """The logarithm of time.

    Attributes:
        begin: time at which the variable is 0.
        unit: what the time gone by is compared with; long before it the variable is that time in this unit.
    """

    begin: float
    unit: float

    def read(self, t: float) -> float:
        """The variable at a time."""
        return math.log1p((t - self.begin) / self.unit)

    def reads(self, times: Times) -> Times:
        """`read` of many."""
        read: Times = np.log1p((times - self.begin) / self.unit)
        return read

    def time(self, s: float) -> float:
        """The time at a value of the variable."""
        return self.begin + self.unit * math.expm1(s)

    def pace(self, s: float) -> float:
        """dt/ds there."""
        return self.unit * math.exp(s)


PLAIN_TIME = Clock()
