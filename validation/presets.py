"""Named configurations: what a user gets without writing a file."""

from ntkflow.errors import InputError
from validation.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig

PRESETS: dict[str, RunConfig] = {
    # About a minute on two cores.
    "digits": RunConfig(
        training=TrainConfig(steps=4000, learning_rate=0.2, snapshots=50),
        kernels=KernelConfig(count=7),
    ),
    # Closest to the theory's hypotheses: full batch, no momentum, no decay, small step.
    "flow": RunConfig(
        training=TrainConfig(steps=20000, learning_rate=0.05, snapshots=60),
        kernels=KernelConfig(count=8),
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
    if name not in PRESETS:
        raise InputError(
            "preset", name, f"must be one of {', '.join(PRESETS)}", "pick one of these or give --config"
        )
    return PRESETS[name]
