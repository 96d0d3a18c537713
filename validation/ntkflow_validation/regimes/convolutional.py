"""The part of wide convolutional networks without normalisation: readouts flat and pooled, small starts and lazy ones.

A dense layer on the flat last convolution has neurons that become alike with width, as those of an MLP. Pooled channels are
averages of ReLU outputs, each of its own pattern of activity: their kernels differ at any width (theory 16.5f).
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.regimes.cells import BASE, LAZY, SMALL, Cell, Recipe
from ntkflow_validation.regimes.document import LOG_NC1, RegimeRun
from ntkflow_validation.regimes.expected import BLOCK, CLASSES, TRACED, Expectation, skill

PART = "convolutional"
NEURONS, WHOLE = "neuron-diagonal", "tensor"
RUNGS = (BLOCK, CLASSES, NEURONS, TRACED, WHOLE)
READOUTS: Mapping[str, str] = MappingProxyType({"flat": "linear", "pooled": "pool"})
# Channels of the first convolution; the others have twice as many. A lazy network needs four times the steps.
WIDTHS: Mapping[float, tuple[int, ...]] = MappingProxyType({SMALL: (4, 16, 64), LAZY: (4, 16)})
RECIPES: Mapping[float, Recipe] = MappingProxyType(
    {SMALL: Recipe(0.1, 1000, 1000), LAZY: Recipe(0.5, 4000, 4000)}
)


def cells(seeds: int) -> list[Cell]:
    """All runs of the part, the cheap ones first."""
    found = [
        cell(network, gamma, width, seed)
        for gamma, widths in WIDTHS.items()
        for network in READOUTS
        for width in widths
        for seed in range(seeds)
    ]
    return sorted(found, key=lambda c: c.cost)


def cell(network: str, gamma: float, width: int, seed: int) -> Cell:
    """One run, on digits."""
    recipe = RECIPES[gamma]
    model = ModelConfig(
        "cnn",
        features=BASE.model.features,
        width=width,
        readout=READOUTS[network],
        hidden_bias=False,
        readout_bias=False,
        parametrisation="ntk",
        gamma=gamma,
    )
    training = replace(BASE.training, steps=recipe.steps, stability=recipe.stability)
    config = replace(BASE, seed=seed, model=model, training=training)
    return Cell("digits", gamma, width, seed, config, network, RUNGS)


def iso(run: RegimeRun) -> float:
    """How far neurons differ; NaN where it was not measured."""
    found = None if run.shape is None else run.shape.iso
    return float("nan") if found is None else found


def _gain(rung: str, over: str, run: RegimeRun) -> float:
    return run.skill(rung) - run.skill(over)


def _stated(network: str) -> tuple[Expectation, ...]:
    """What the file of expectations says of a network, row by row."""
    values: dict[str, tuple[float, float]] = STATED[network]
    of = {
        "iso": iso,
        "M, three constants": skill(BLOCK),
        "M, class constants": skill(CLASSES),
        "M, traced kernel": skill(TRACED),
        "M, whole tensor": skill(WHOLE),
        "M, own constants of every neuron less class constants": lambda run: _gain(NEURONS, CLASSES, run),
        "M, whole tensor less traced kernel": lambda run: _gain(WHOLE, TRACED, run),
        "ln NC1(t), traced kernel": skill(TRACED, LOG_NC1),
        "ln NC1(t), whole tensor": skill(WHOLE, LOG_NC1),
    }
    widest = tuple(
        Expectation(network, SMALL, words, of[words], value, margin, max(WIDTHS[SMALL]))
        for words, (value, margin) in values.items()
    )
    value, margin = STATED_LAZY[network]
    words, widest_lazy = "M, three constants", max(WIDTHS[LAZY])
    lazy = Expectation(network, LAZY, words, skill(BLOCK), value, margin, widest_lazy)
    return (*widest, lazy)


STATED: Mapping[str, dict[str, tuple[float, float]]] = MappingProxyType(
    {
        "flat": {
            "iso": (0.20, 0.07),
            "M, three constants": (0.85, 0.08),
            "M, class constants": (0.94, 0.04),
            "M, traced kernel": (0.94, 0.04),
            "M, whole tensor": (0.95, 0.04),
            "M, own constants of every neuron less class constants": (0.00, 0.03),
            "M, whole tensor less traced kernel": (0.02, 0.03),
            "ln NC1(t), traced kernel": (0.98, 0.03),
            "ln NC1(t), whole tensor": (0.98, 0.03),
        },
        "pooled": {
            "iso": (0.60, 0.10),
            "M, three constants": (0.70, 0.12),
            "M, class constants": (0.74, 0.12),
            "M, traced kernel": (0.78, 0.12),
            "M, whole tensor": (0.92, 0.06),
            "M, own constants of every neuron less class constants": (0.10, 0.08),
            "M, whole tensor less traced kernel": (0.15, 0.10),
            "ln NC1(t), traced kernel": (0.88, 0.12),
            "ln NC1(t), whole tensor": (0.95, 0.05),
        },
    }
)
STATED_LAZY: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"flat": (0.20, 0.25), "pooled": (0.14, 0.25)}
)
EXPECTED: tuple[Expectation, ...] = tuple(e for network in READOUTS for e in _stated(network))
