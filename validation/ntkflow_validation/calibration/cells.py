"""The runs of a calibration: the known answers, of a kernel that stands still and of one that moves, then departures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ntkflow.runs.border.costs import CELL, refuse_large
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig

# The known answer: W V x + b on inputs with a block structured Gram matrix, small full-batch steps (theory 15).
CONTROL = RunConfig(
    data=DataConfig(name="block", classes=3, per_class=8, kappa_d=1.5, kappa_c=0.9, kappa_n=0.2),
    model=ModelConfig(name="linear", features=6, scale=0.7),
    training=TrainConfig(steps=1500, learning_rate=0.0, stability=0.03, reduction="sum", snapshots=24),
    kernels=KernelConfig(count=2),
)
# The known answer of a kernel that moves: two layers from an aligned start, blocks on the rows of W all along (theory 18.6), with
# three times as many features as the classifier reads. Its largest rate at collapse, N + mu_global x^2, times the step:
STEP_TIMES_RATE = 0.06
MOVING = RunConfig(
    data=CONTROL.data,
    model=ModelConfig(name="linear", features=6, layers=2, start="aligned", scale=0.3),
    training=TrainConfig(steps=500, learning_rate=1.62e-3, reduction="sum", snapshots=24, spacing="even"),
    kernels=KernelConfig(count=12, quantities=("row-space",)),
)
# In steps of half a decade, from what three constants hardly notice to where they say nothing.
NOISE = (0.1, 0.3, 1.0, 3.0)
BEND = (0.1, 0.3, 1.0, 3.0)
WIDTHS = (256.0, 32.0, 8.0, 2.0)
# Of the branch while it is bent by degrees, and how far it is bent while it is made narrow.
WIDTH, BENT = 32, 1.0
# Kinds of departure in the order in which they are shown.
DEPARTURES = ("noise", "bend", "width")


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        departure: "none", "moving" or one of `DEPARTURES`.
        value: how far.
        config: what is run.
    """

    departure: str
    value: float
    config: RunConfig

    @property
    def name(self) -> str:
        """Name of its directory."""
        return f"{self.departure}-{self.value:g}-seed-{self.config.seed}"


def refuse_many(seeds: int) -> None:
    """Raise InputError for more seeds than whose results fit into memory."""
    needed = seeds * len(_departures(NOISE, BEND, WIDTHS, 0)) * CELL
    refuse_large("--seeds", seeds, needed, "the results of so many take about", "give fewer")


def cells(brief: bool = False, seeds: int = 3) -> list[Cell]:
    """The known answers first, then the departures; brief: two of them only, with one seed.

    Noise on the inputs takes the sample kernel off blocks and leaves it constant and the same for every neuron.
    A nonlinear branch of some width adds a kernel that is again block structured when infinitely wide, but
    fluctuates, differs between neurons and drifts when it is not; making it narrow increases just that.

    Args:
        brief: for a report's statement of the calibration.
        seeds: 0 .. seeds - 1, of every departure.
    """
    if brief:
        return [*_known(), *_departures(NOISE[2:3], BEND[2:3], (), 0)]
    return [*_known(), *(cell for seed in range(seeds) for cell in _departures(NOISE, BEND, WIDTHS, seed))]


def _known() -> list[Cell]:
    return [Cell("none", 0.0, CONTROL), Cell("moving", 0.0, MOVING)]


def _departures(
    noise: Sequence[float], bend: Sequence[float], widths: Sequence[float], seed: int
) -> list[Cell]:
    known = replace(CONTROL, seed=seed)
    found = [Cell("noise", a, replace(known, data=replace(known.data, noise=a))) for a in noise]
    found += [Cell("bend", a, _bent(known, a, WIDTH)) for a in bend]
    return found + [Cell("width", w, _bent(known, BENT, int(w))) for w in widths]


def _bent(known: RunConfig, bend: float, width: int) -> RunConfig:
    return replace(known, model=replace(known.model, name="bent", bend=bend, width=width))
