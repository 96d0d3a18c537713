"""Named configurations: what a user gets without writing a file."""

from dataclasses import replace

from ntkflow.checks import choice
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig

# The paper's recipe, section 6: Nesterov momentum, decay of the weights, batches of 12 per class, the mean loss.
PAPER = TrainConfig(
    epochs=400,
    learning_rate=0.05,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    drop_every=120,
    batch_per_class=12,
    observed="running",
    # every second epoch
    snapshots=201,
    spacing="even",
)

PRESETS: dict[str, RunConfig] = {
    # ResNet20 on all of Fashion-MNIST as the paper trains it; for a GPU.
    "paper": RunConfig(
        data=DataConfig(name="fashion-mnist", per_class=6000, probe_per_class=120),
        model=ModelConfig(name="resnet20"),
        training=PAPER,
        kernels=KernelConfig(count=201, per_class=12, while_training=True),
    ),
    # The same on 1200 images, with as many drops of the rate in fewer epochs.
    "paper-small": RunConfig(
        data=DataConfig(name="fashion-mnist", per_class=120, test_per_class=100),
        model=ModelConfig(name="resnet20"),
        training=replace(
            PAPER, epochs=60, drop_every=20, warmup=20, observed="recalibrated", snapshots=40, spacing="log"
        ),
        kernels=KernelConfig(count=6, per_class=12, while_training=True),
    ),
    # About a minute on two cores.
    "digits": RunConfig(
        training=TrainConfig(steps=4000, learning_rate=0.2, snapshots=50),
        kernels=KernelConfig(count=7, while_training=True),
    ),
    # Closest to the theory's hypotheses: full batch, no momentum, no decay, small step.
    "flow": RunConfig(
        training=TrainConfig(steps=20000, learning_rate=0.0, stability=0.1, snapshots=60),
        kernels=KernelConfig(count=8, while_training=True),
    ),
    # The known answer: a two-layer linear network, whose features' NTK is exactly block structured.
    "control": RunConfig(
        data=DataConfig(name="block", classes=3, per_class=4),
        model=ModelConfig(name="linear", features=5, scale=0.7),
        training=TrainConfig(steps=3000, learning_rate=1e-3, reduction="sum", snapshots=30),
        kernels=KernelConfig(count=2),
    ),
    # A few seconds, for tests and first tries.
    "tiny": RunConfig(
        data=DataConfig(classes=3, per_class=4),
        model=ModelConfig(features=6, width=2),
        training=TrainConfig(steps=40, learning_rate=0.2, snapshots=8),
        kernels=KernelConfig(count=2),
    ),
}


def preset(name: str) -> RunConfig:
    """The preset of that name.

    Raises:
        InputError: there is none.
    """
    return PRESETS[choice("preset", name, PRESETS, "pick one of these or give --config")]
