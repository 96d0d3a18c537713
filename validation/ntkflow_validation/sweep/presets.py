"""Grids by name."""

from dataclasses import replace

import numpy as np

from ntkflow.checks import choice
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig
from ntkflow_validation.config.presets import PAPER as PAPER_RECIPE
from ntkflow_validation.config.presets import PRESETS, preset
from ntkflow_validation.sweep.grid import PAPER, PAPER_INITS, PAPER_PAIRS, TrainingSweep

# Eight rates over the upper half of the paper's range, the last one its last.
REDUCED_RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(0.005, 10**0.25, 8))

# The paper's recipe, epochs and drops included, on so few samples that an epoch is four steps of half its batch.
DIGITS = RunConfig(
    data=DataConfig(name="digits", per_class=24, test_per_class=50),
    model=ModelConfig(name="resnet8"),
    training=replace(
        PAPER_RECIPE, batch_per_class=6, warmup=40, observed="recalibrated", snapshots=41, spacing="even"
    ),
    kernels=KernelConfig(count=2, per_class=12, while_training=True),
)
_PAPER = preset("paper")
_SMALL = preset("paper-small")

SWEEPS: dict[str, TrainingSweep] = {
    # 24 trainings of about a minute on a core.
    "sweep-digits": TrainingSweep(DIGITS, rates=REDUCED_RATES, inits=PAPER_INITS),
    # What the paper ran: 9 pairs, 600 trainings of 400 epochs; for GPUs. Metrics only at the end.
    "paper": TrainingSweep(
        replace(
            _PAPER,
            training=replace(_PAPER.training, snapshots=2, spacing="even"),
            kernels=replace(_PAPER.kernels, count=2),
        ),
        pairs=PAPER_PAIRS,
        rates=PAPER,
        inits=PAPER_INITS,
    ),
    # The same recipe on 1200 images of Fashion-MNIST.
    "paper-small": TrainingSweep(
        replace(
            _SMALL,
            training=replace(_SMALL.training, snapshots=2, spacing="even"),
            kernels=replace(_SMALL.kernels, count=2),
        ),
        rates=REDUCED_RATES,
        inits=PAPER_INITS,
    ),
}


def sweep_preset(name: str) -> TrainingSweep:
    """The grid of that name, or the one training of a preset of `ntkflow validate run` as a base.

    Raises:
        InputError: there is neither.
    """
    choice("preset", name, dict.fromkeys((*SWEEPS, *PRESETS)), "pick one of these or give --config")
    return SWEEPS[name] if name in SWEEPS else TrainingSweep(PRESETS[name])
