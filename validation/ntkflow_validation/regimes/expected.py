"""What was stated before the study was run, as in validation/results/regimes/expectations.md, and whether it came out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ntkflow_validation.kernels.methods.shape import LAW
from ntkflow_validation.regimes.cells import LAZY, SMALL
from ntkflow_validation.regimes.document import LOG_NC1, RegimeRun

# Width at which it was stated, and the margin of what was stated without one.
WIDEST, MARGIN = 1024, 0.02
BLOCK, CLASSES, TRACED, ANALYTIC = "block", "class-block", "sample", "infinite-width"


@dataclass(frozen=True)
class Expectation:
    """One statement on the mean over seeds at the widest networks.

    Attributes:
        kind, gamma, width: of which runs.
        words: what of them.
        of: that, of one run.
        value: expected; the largest value allowed where there is no margin.
        margin: to either side; None: a bound from above.
    """

    kind: str
    gamma: float
    words: str
    of: Callable[[RegimeRun], float]
    value: float
    margin: float | None = MARGIN
    width: int = WIDEST

    @property
    def said(self) -> str:
        """The number as it stands in the file."""
        return f"below {self.value:g}" if self.margin is None else f"{self.value:.2f} ± {self.margin:.2f}"

    def seeds(self, runs: Sequence[RegimeRun]) -> np.ndarray:
        """Of each seed that was run to the last share, of which it was stated, and has a number."""
        wanted = (self.kind, self.gamma, self.width)
        of = [self.of(run) for run in runs if run.where == wanted and run.finished]
        values = np.array(of, dtype=np.float64)
        return values[np.isfinite(values)]

    def holds(self, runs: Sequence[RegimeRun]) -> bool | None:
        """Whether the mean over seeds is where it was expected; None where nothing was run."""
        values = self.seeds(runs)
        if not values.size:
            return None
        mean = float(values.mean())
        return mean < self.value if self.margin is None else abs(mean - self.value) <= self.margin


def skill(rung: str, quantity: str = "M") -> Callable[[RegimeRun], float]:
    """On a quantity, of a run."""
    return lambda run: run.skill(rung, quantity)


def _gap(run: RegimeRun) -> float:
    return run.skill(ANALYTIC) - run.skill(TRACED)


EXPECTED: tuple[Expectation, ...] = (
    Expectation("digits", SMALL, "M, three constants", skill(BLOCK), 0.90, 0.03),
    Expectation("digits", SMALL, "M, class constants", skill(CLASSES), 0.98),
    Expectation("digits", SMALL, "M, traced kernel", skill(TRACED), 0.99),
    Expectation("digits", SMALL, "ln NC1(t), traced kernel", skill(TRACED, LOG_NC1), 1.00),
    Expectation("digits", SMALL, "NC1 where scores stop", lambda run: run.NC1_end, 0.1, None),
    Expectation("equalised", SMALL, "M, three constants", skill(BLOCK), 0.98),
    Expectation("fashion-mnist", SMALL, "M, three constants", skill(BLOCK), 0.76, 0.06),
    Expectation("fashion-mnist", SMALL, "M, class constants", skill(CLASSES), 0.97),
    Expectation("fashion-mnist", SMALL, "M, traced kernel", skill(TRACED), 0.99),
    Expectation("digits", LAZY, "M, three constants", skill(BLOCK), 0.49, 0.15),
    *(
        Expectation(inputs, gamma, "M, analytic kernel less traced kernel", _gap, 0.0)
        for gamma in (SMALL, LAZY)
        for inputs in ("digits", "fashion-mnist", "equalised", "collapsed")
    ),
)


def start_of(gamma: float) -> str:
    """Which of both laws is that of a gamma."""
    return "lazy" if gamma == LAZY else "small start"


def errors(runs: Sequence[RegimeRun], gamma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """cv, observed error 1 - M of three constants, and that which the law foretells, of each run of a gamma that has them.

    Of runs to the last share: the law is of that.
    """
    rows = [
        (run.shape.cv, 1 - run.skill(BLOCK), run.shape.foretold[start_of(gamma)])
        for run in runs
        if run.gamma == gamma and run.finished and run.shape is not None and run.shape.foretold
    ]
    found = np.array(rows, dtype=np.float64).reshape(-1, 3)
    found = found[np.isfinite(found).all(axis=1)]
    return found[:, 0], found[:, 1], found[:, 2]


def explained(seen: np.ndarray, told: np.ndarray) -> float:
    """R^2 of a law that was not fitted to what is seen; NaN for fewer than three values."""
    if len(seen) < 3 or not np.ptp(seen):
        return float("nan")
    return float(1 - np.sum((seen - told) ** 2) / np.sum((seen - seen.mean()) ** 2))


def of_cv(gamma: float, cv: np.ndarray) -> np.ndarray:
    """The part of the law that cv alone has."""
    found: np.ndarray = LAW[start_of(gamma)][0] * cv**2
    return found
