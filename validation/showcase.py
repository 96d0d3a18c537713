"""What `ntkflow validate run` does with no arguments: a network that the theory describes, and one that it does not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ntkflow.errors import InputError
from ntkflow.staging import refuse_existing
from validation.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from validation.datasets import find_files

# Names of the parts, in the order in which they are run and shown.
PARTS = ("mlp", "resnet")
PAGE = "report.html"
# Full batch, no momentum, no decay and small steps: what is left of the error is the kernel's.
GENTLE = TrainConfig(steps=1500, learning_rate=0.0, stability=0.2, snapshots=36)


def found_data() -> str:
    """Fashion-MNIST where its files are found, otherwise the digits, which need none."""
    try:
        find_files("fashion-mnist")
    except InputError:
        return "digits"
    return "fashion-mnist"


def configurations(data: str, seed: int | None = None, per_class: int | None = None) -> dict[str, RunConfig]:
    """The two runs.

    The MLP has a linear readout before its features, so that its neurons share one kernel; the ResNet's features are
    pooled activations, whose kernels differ between neurons and see each other.

    Args:
        data: name of the data set.
        seed: replaces that of both.
        per_class: replaces the number of samples of each class of both.
    """
    samples = DataConfig(name=data, per_class=20, test_per_class=50)
    mlp = RunConfig(
        data=samples,
        model=ModelConfig(name="mlp"),
        training=GENTLE,
        kernels=KernelConfig(count=4, while_training=True),
    )
    resnet = RunConfig(
        data=samples,
        model=ModelConfig(name="resnet8"),
        training=replace(GENTLE, steps=400, learning_rate=0.1, batch_per_class=10, warmup=20),
        kernels=KernelConfig(count=4, while_training=True),
    )
    return {
        name: config.with_seed(seed).with_per_class(per_class)
        for name, config in zip(PARTS, (mlp, resnet), strict=True)
    }


def check_place(out: Path, overwrite: bool) -> None:
    """Raise InputError where OUT holds a finished page, or anything that is not an unfinished one's.

    With `overwrite` parts and page of an earlier run are replaced.
    """
    if not out.exists():
        return
    ours = {*PARTS, "calibration.json", PAGE}
    names = {entry.name for entry in out.iterdir()} if out.is_dir() else {""}
    if names - ours:
        refuse_existing(out, overwrite=False)
    if PAGE in names and not overwrite:
        refuse_existing(out, overwrite=False)


def finished(out: Path) -> bool:
    """Whether a part has come to its summary."""
    return (out / "summary.json").is_file()


Runner = Callable[[str, RunConfig, Path], Any]
