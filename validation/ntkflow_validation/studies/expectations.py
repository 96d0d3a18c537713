"""What was expected, written down and committed before the runs, and whether it came out."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent / "expectations.toml"
# Numbers by what they are of, a seed or a setting.
Values = Mapping[str, float]


@dataclass(frozen=True)
class Expectation:
    """One statement.

    Attributes:
        name: of the number that it is about.
        says: in words.
        low, high: every number of it lies between these.
        runs: whose numbers, in words.
    """

    name: str
    says: str
    low: float
    high: float
    runs: str


@dataclass(frozen=True)
class Verdict:
    """What came out.

    Attributes:
        expectation: what was stated.
        values: all numbers; NaN for what did not happen.
    """

    expectation: Expectation
    values: Values

    @property
    def within(self) -> int:
        """How many numbers are as expected."""
        low, high = self.expectation.low, self.expectation.high
        return sum(low <= v <= high for v in self.values.values())

    @property
    def met(self) -> bool | None:
        """Whether all are; None before there is any."""
        return self.within == len(self.values) if self.values else None

    @property
    def exceptions(self) -> list[str]:
        """What the numbers that are not as expected are of."""
        low, high = self.expectation.low, self.expectation.high
        return [name for name, v in self.values.items() if not low <= v <= high]


@cache
def expectations(experiment: str) -> tuple[Expectation, ...]:
    """Those of an experiment, in the order of the file."""
    found = tomllib.loads(FILE.read_text())[experiment]
    return tuple(
        Expectation(
            name, row["says"], row.get("low", -math.inf), row.get("high", math.inf), row.get("runs", "")
        )
        for name, row in found.items()
    )


def verdicts(experiment: str, found: Mapping[str, Values]) -> list[Verdict]:
    """Every expectation of an experiment beside what was found.

    Raises:
        KeyError: a number that something was expected of is not read.
    """
    return [
        Verdict(e, {name: float(value) for name, value in found[e.name].items()})
        for e in expectations(experiment)
    ]
