"""What the experiments run: base configurations, and what is varied."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ntkflow._types import Json
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig

# lambda, per unit of flow time.
DECAYS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
# What is compared where three constants are chosen in several ways.
CHOICES = ("block", "row-block", "weighted-block")


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        name: of its document; cells of several experiments that have one name are one run.
        group: what it is a sample of; the seeds of a group differ in nothing else.
        value: that is varied between groups.
        config: what is run.
        rungs: of the kernel ladder, where kernels are measured.
    """

    name: str
    group: str
    value: float
    config: RunConfig
    rungs: tuple[str, ...] = ()

    @property
    def settings(self) -> Json:
        """What is not at its default."""
        usual, stated = RunConfig().to_dict(), self.config.to_dict()
        return {
            "seed": self.config.seed,
            **{
                section: {k: _plain(v) for k, v in table.items() if v != usual[section][k]}
                for section, table in stated.items()
                if isinstance(table, dict)
            },
            "rungs": list(self.rungs),
        }

    @property
    def digest(self) -> str:
        """Of the settings: a document of others is made anew."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    """As a file gives it back."""
    return list(value) if isinstance(value, tuple) else value


def per_flow_time(config: RunConfig, decay: float) -> RunConfig:
    """The run with this lambda; weight_decay = lambda/(N C), since the mean loss is differentiated."""
    data, training = config.data, config.training
    return replace(config, training=replace(training, weight_decay=decay / (data.samples * data.classes)))


# A body without biases is homogeneous, so that its floor is foretold; full batch and plain small steps, so that laws are exact
# but for eta^2 |grad|^2. Rate .12 is 1e-4 of flow time a step, some .4 of the largest stable one.
MLP = RunConfig(
    data=DataConfig(name="digits", per_class=12, test_per_class=10),
    model=ModelConfig(name="mlp", features=24, width=64, depth=2, hidden_bias=False, readout_bias=False),
    training=TrainConfig(learning_rate=0.12, decay_on="all", snapshots=40),
    kernels=KernelConfig(count=1, quantities=("matrix",)),
)
MLP_STEP = 1e-4
# Flow time: of lambda > 0 so long that lambda t is this, of lambda = 0 this itself.
MLP_REACH, MLP_UNDECAYED = 2.5, 2.5
# Full batch too: with momentum the clock is what is not exact. A step is 8.3e-4 of flow time, all steps 1.5.
RESNET = RunConfig(
    data=DataConfig(name="digits", per_class=12, test_per_class=10),
    model=ModelConfig(name="resnet8"),
    training=TrainConfig(
        steps=1800, learning_rate=0.1, momentum=0.9, nesterov=True, decay_on="all", warmup=100, snapshots=24
    ),
    kernels=KernelConfig(count=1),
)
# The paper's recipe on 600 digits, as far as the first drop of the rate would be: steps are half of those before it.
RECIPE = RunConfig(
    data=DataConfig(name="digits", per_class=60),
    model=ModelConfig(name="resnet8"),
    training=TrainConfig(
        steps=1500,
        learning_rate=0.2,
        momentum=0.9,
        nesterov=True,
        warmup=200,
        batch_per_class=12,
        snapshots=24,
    ),
    kernels=KernelConfig(count=6, per_class=12, quantities=("row-space",)),
)
# Pairs of weight decay (of the mean loss) and rate.
PAIRS = ((0.0, 0.2), (5e-4, 0.2), (5e-4, 0.05), (2e-3, 0.2))


def forgetting(seeds: int, parts: Sequence[str] = ("mlp", "resnet8", "resnet8-linear")) -> list[Cell]:
    """lambda in `DECAYS` on three networks, of which the first and the last have an imbalance Q."""
    linear = replace(RESNET, model=ModelConfig(name="resnet8", readout="pool-linear"))
    bases = {"mlp": MLP, "resnet8": RESNET, "resnet8-linear": linear}
    return [
        _decayed(part, bases[part], decay, seed)
        for part in parts
        # Three seeds of all first, then more.
        for seed in range(seeds)
        for decay in reversed(DECAYS)
    ]


def _decayed(part: str, base: RunConfig, decay: float, seed: int) -> Cell:
    config = per_flow_time(replace(base, seed=seed), decay)
    if part == "mlp":
        reach = MLP_REACH / decay if decay else MLP_UNDECAYED
        config = replace(config, training=replace(config.training, steps=round(reach / MLP_STEP)))
    group = f"{part}-lambda{decay:g}"
    return Cell(f"{group}-seed{seed}", group, decay, config)


def recipe(pairs: Sequence[tuple[float, float]], seeds: int) -> list[Cell]:
    """ResNet8 by the paper's recipe, with other decays and rates."""
    found = []
    for seed in range(seeds):
        for decay, rate in pairs:
            training = replace(RECIPE.training, weight_decay=decay, learning_rate=rate)
            group = f"recipe-decay{decay:g}-rate{rate:g}"
            config = replace(RECIPE, seed=seed, training=training)
            found.append(Cell(f"{group}-seed{seed}", group, decay, config, CHOICES))
    return found


def rowspace(seeds: int) -> list[Cell]:
    """Without decay, beside the paper's."""
    return recipe(PAIRS[:2], seeds)


def normalised(seeds: int) -> list[Cell]:
    """All pairs of decay and rate."""
    return recipe(PAIRS, seeds)


def weighted(seeds: int) -> list[Cell]:
    """The paper's decay and none: the same runs as those of `rowspace`."""
    return recipe(PAIRS[:2], seeds)
