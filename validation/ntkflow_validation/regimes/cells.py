"""The runs of the regime study: MLPs from lazy to rich, narrow to wide, on four kinds of inputs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from ntkflow._types import Json
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig

# Inputs as they are, then digits whose class means are made alike, then features of a network that has collapsed.
RAW, MADE = ("digits", "fashion-mnist"), ("equalised", "collapsed")
LAZY, SMALL = 1.0, 16.0
# Of the ladder, which are asked of every MLP.
RUNGS = ("block", "class-block", "sample", "infinite-width")

# Full batch, no momentum, no decay. Pair norms, which say how far neurons differ, are exact and cheap beside the tensor.
BASE = RunConfig(
    data=DataConfig(name="digits", per_class=12, test_per_class=10),
    model=ModelConfig(
        name="mlp", features=12, depth=2, hidden_bias=False, readout_bias=False, parametrisation="ntk"
    ),
    training=TrainConfig(learning_rate=0.0, reduction="sum", snapshots=24),
    kernels=KernelConfig(count=2, quantities=("tensor", "pair-norms")),
)


@dataclass(frozen=True)
class Recipe:
    """How a network of one gamma is trained.

    Attributes:
        stability: share of the largest stable rate at the start. From small features that falls as they grow; a lazy network
            needs ten times the steps, and keeps it.
        steps: on digits.
        steps_raw: on Fashion-MNIST, whose class means are farther from alike.
    """

    stability: float
    steps: int
    steps_raw: int


RECIPES: Mapping[float, Recipe] = MappingProxyType(
    {SMALL: Recipe(0.1, 1800, 3200), LAZY: Recipe(0.5, 2600, 6000)}
)


@dataclass(frozen=True)
class Scale:
    """How much of the study is run.

    Attributes:
        base: data, network and measurement; the rest is of the cells.
        seeds: 0 .. seeds - 1.
        widths: on inputs as they are.
        widths_made: on inputs that are made.
        raw, made: inputs.
        recipes: by gamma.
    """

    base: RunConfig = BASE
    seeds: int = 3
    widths: tuple[int, ...] = (64, 256, 1024)
    widths_made: tuple[int, ...] = (256, 1024)
    raw: tuple[str, ...] = RAW
    made: tuple[str, ...] = MADE
    recipes: Mapping[float, Recipe] = field(default_factory=lambda: RECIPES)


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        inputs: entry of `RAW` or `MADE`.
        gamma, width, seed: of the network; the seed draws its samples too.
        recipe: but for the samples of made inputs, whose file is elsewhere on every machine.
        network: "mlp", or what else it is.
        rungs: that are asked of it.
    """

    inputs: str
    gamma: float
    width: int
    seed: int
    recipe: RunConfig
    network: str = "mlp"
    rungs: tuple[str, ...] = RUNGS

    @property
    def name(self) -> str:
        """Of its document."""
        of = self.inputs if self.network == "mlp" else f"{self.inputs}-{self.network}"
        return f"{of}-gamma{self.gamma:g}-width{self.width}-seed{self.seed}"

    @property
    def is_made(self) -> bool:
        """Whether its inputs are a file that the study makes."""
        return self.inputs in MADE

    @property
    def cost(self) -> int:
        """What its training takes, in some unit."""
        return self.width**2 * self.recipe.training.steps

    def config(self, folder: Path | str) -> RunConfig:
        """What is run, with the inputs in a folder."""
        if not self.is_made:
            return self.recipe
        data = self.recipe.data
        name = str(Path(folder) / input_name(self.inputs, self.seed))
        return replace(self.recipe, data=DataConfig(name, classes=data.classes, per_class=data.per_class))

    @property
    def settings(self) -> Json:
        """What tells whether a document is of this cell: what is not at its default."""
        usual, stated = RunConfig().to_dict(), self.recipe.to_dict()
        return {
            "seed": self.seed,
            "inputs": self.inputs,
            **{
                section: {k: v for k, v in table.items() if v != usual[section][k]}
                for section, table in stated.items()
                if isinstance(table, dict)
            },
        }

    @property
    def digest(self) -> str:
        """Of the settings."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]


def input_name(inputs: str, seed: int) -> str:
    """File of inputs that are made from the samples that a seed draws."""
    return f"{inputs}-seed{seed}.npz"


def cells(scale: Scale) -> list[Cell]:
    """All runs, in the order in which they are worth having if not all get done.

    From small starts first, of which most was expected, then lazy networks; features of collapsed networks and the dearest lazy
    ones at last. Of each the cheap ones first.
    """
    groups = [(scale.raw, scale.widths), (scale.made, scale.widths_made)]
    found = [
        cell(scale, inputs, gamma, width, seed)
        for kinds, widths in groups
        for gamma in sorted(scale.recipes, reverse=True)
        for inputs in kinds
        for width in widths
        for seed in range(scale.seeds)
    ]
    first = [c for c in found if c.gamma != LAZY and c.inputs != "collapsed"]
    others = [c for c in found if c not in first]
    bound = max((c.cost for c in others if c.inputs == "digits"), default=0)
    lazy = [c for c in others if not c.is_made and c.cost <= bound]
    last = [c for c in others if c not in lazy]
    return [c for part in (first, lazy, last) for c in sorted(part, key=lambda c: c.cost)]


def cell(scale: Scale, inputs: str, gamma: float, width: int, seed: int) -> Cell:
    """One run of a scale."""
    base, recipe = scale.base, scale.recipes[gamma]
    steps = recipe.steps_raw if inputs == "fashion-mnist" else recipe.steps
    data = base.data if inputs in MADE else replace(base.data, name=inputs)
    training = replace(base.training, steps=steps, stability=recipe.stability)
    model = replace(base.model, width=width, gamma=gamma)
    return Cell(
        inputs,
        gamma,
        width,
        seed,
        replace(base, seed=seed, data=data, model=model, training=training),
    )
