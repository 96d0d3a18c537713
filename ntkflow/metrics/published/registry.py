"""The names of all measures, each with its formula, its source and when it applies; formulas register themselves here.

Letters: mu_c mean of class c, g their centre, M_c = mu_c - g, M with these as rows, W the head with a row per class,
P = I - 11^T / C, S_W the mean over samples of deviation deviation^T, S_B = M^T M / C (every class counts the same).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ntkflow.metrics.published.facts import Facts

PAPER = "Seleznova et al. 2023 (this theory's paper)"
PAPYAN = "Papyan, Han & Donoho 2020"
ZHU = "Zhu et al. 2021"
WU = "Wu & Papyan 2024"


@dataclass(frozen=True)
class Metric:
    """One published measure.

    Attributes:
        name: its key.
        formula: in the letters of this module.
        source: who published it so.
        applies: when it has a value, beyond two classes with different means.
        of_samples: whether it is measured on test features too, against the training means.
        compute: its value; raises `UndefinedError` with a reason where there is none.
    """

    name: str
    formula: str
    source: str
    applies: str
    of_samples: bool
    compute: "Callable[[Facts], float]"


METRICS: dict[str, Metric] = {}


def metric(
    name: str, formula: str, source: str, applies: str = "always", of_samples: bool = False
) -> "Callable[[Callable[[Facts], float]], Callable[[Facts], float]]":
    """Register a function as the measure `name`."""

    def register(compute: "Callable[[Facts], float]") -> "Callable[[Facts], float]":
        METRICS[name] = Metric(name, formula, source, applies, of_samples, compute)
        return compute

    return register
