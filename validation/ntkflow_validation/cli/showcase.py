"""What `ntkflow validate run` does with no arguments: a network that the theory describes, and one that it does not."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ntkflow.errors import InputError
from ntkflow.runs.atomic import is_remains, refuse_existing
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.datasets import find_files
from ntkflow_validation.runs.rundir import RunDirectory

# Names of the parts, in the order in which they are run and shown.
PARTS = ("mlp", "resnet")
PAGE = "report.html"
# The rungs that fit into the time: the chain of the attribution up to its costliest, and what may be cheap enough.
RUNGS = (
    "block",
    "block-in-time",
    "class-block",
    "row-class-block",
    "row-product",
    "krylov-4",
    "neuron-diagonal",
    "class-matrix",
    "sample",
    "kronecker",
    "components",
    "tensor",
)
# Full batch, no momentum, no decay, small steps: what is left of the error is the kernel's.
GENTLE = TrainConfig(steps=800, learning_rate=0.0, stability=0.2, snapshots=32)


def found_data() -> str:
    """Fashion-MNIST where its files are found, otherwise the digits, which need none."""
    try:
        find_files(DataConfig(name="fashion-mnist"))
    except InputError:
        return "digits"
    return "fashion-mnist"


def configurations(data: str, seed: int | None = None, per_class: int | None = None) -> dict[str, RunConfig]:
    """The two runs.

    The MLP has a linear readout before its features, so that all its neurons share one kernel; the ResNet's
    features are pooled activations, whose kernels differ between neurons and see each other.

    Args:
        data: name of the data set.
        seed: replaces that of both.
        per_class: replaces the number of samples of each class of both.
    """
    mlp = RunConfig(
        data=DataConfig(name=data, per_class=15, test_per_class=50),
        model=ModelConfig(name="mlp", width=512, features=12),
        training=GENTLE,
        kernels=KernelConfig(count=3, while_training=True),
    )
    resnet = RunConfig(
        data=DataConfig(name=data, per_class=10, test_per_class=50),
        model=ModelConfig(name="resnet8", norm="group"),
        training=replace(GENTLE, steps=300, learning_rate=0.1, warmup=20),
        kernels=KernelConfig(count=3, while_training=True),
    )
    found = zip(PARTS, (mlp, resnet), strict=True)
    return {name: config.with_seed(seed).with_per_class(per_class) for name, config in found}


def check_place(out: Path) -> None:
    """Raise InputError where OUT holds anything that is not of such a run, or is of one with other settings.

    With `overwrite` the parts and the page of an earlier run are replaced.
    """
    if not out.exists():
        return
    names = {entry.name for entry in out.iterdir() if not is_remains(entry)} if out.is_dir() else {""}
    if names - {*PARTS, "calibration.json", PAGE}:
        refuse_existing(out, overwrite=False)


def is_complete(out: Path, wanted: Mapping[str, RunConfig]) -> bool:
    """Whether OUT holds the page of these runs.

    Raises:
        InputError: what is there was made with other settings.
    """
    for name, config in wanted.items():
        difference = RunDirectory.difference(out / name, config)
        if difference is not None:
            rule = f"exists already, and its {name} was made with another {difference}"
            raise InputError("out", out, rule, "choose another directory or pass --overwrite")
    return (out / PAGE).is_file() and all((out / name / "summary.json").is_file() for name in wanted)
