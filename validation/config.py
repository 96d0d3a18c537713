"""RunConfig: every choice of a run, checked once before data are touched, to and from plain values."""

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ntkflow.errors import InputError
from ntkflow.kernels import BlockKernel

DATASETS = ("digits", "block")
MODELS = ("cnn", "mlp", "linear")
NORMS = ("none", "group", "batch")
READOUTS = ("pool", "linear")
LOSSES = ("mse",)
REDUCTIONS = ("mean", "sum")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(name, value, f"must be one of {', '.join(allowed)}", "pick one of these")


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(name, value, f"must be a whole number >= {least}", "give such a number")


def _number(name: str, value: object, low: float, high: float = float("inf")) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
        raise InputError(name, value, f"must be a number in [{low:g}, {high:g})", "give such a number")


@dataclass(frozen=True)
class DataConfig:
    """Which samples: `per_class` of each of `classes` classes, balanced; they are also the probe set.

    Args:
        name: entry of `DATASETS`; "block" are synthetic inputs with an exactly block structured Gram matrix.
        classes: C; for digits the first C classes.
        per_class: m, training samples per class. The samples left over are the test set.
        kappa_d, kappa_c, kappa_n: Gram matrix of the "block" inputs; not used by other datasets.
    """

    name: str = "digits"
    classes: int = 10
    per_class: int = 20
    kappa_d: float = 1.0
    kappa_c: float = 0.5
    kappa_n: float = 0.1

    def __post_init__(self) -> None:
        _one_of("data.name", self.name, DATASETS)
        _whole("data.classes", self.classes, 2)
        _whole("data.per_class", self.per_class, 2)
        BlockKernel(self.kappa_d, self.kappa_c, self.kappa_n)


@dataclass(frozen=True)
class ModelConfig:
    """Which network: features of dimension `features`, then a linear head.

    Args:
        name: entry of `MODELS`.
        features: n, dimension of the last-layer features.
        width: channels of the first convolution, or units of the hidden layers.
        depth: hidden layers of the MLP.
        norm: normalisation after each convolution; "batch" is measured with its running statistics.
        readout: features of the cnn: "linear", a dense layer without activation, or "pool", mean channels.
        scale: factor on the initial weights of the "linear" model.
    """

    name: str = "cnn"
    features: int = 32
    width: int = 16
    depth: int = 2
    norm: str = "none"
    readout: str = "linear"
    scale: float = 1.0

    def __post_init__(self) -> None:
        _one_of("model.name", self.name, MODELS)
        for name, least in (("features", 1), ("width", 1), ("depth", 1)):
            _whole(f"model.{name}", getattr(self, name), least)
        _one_of("model.norm", self.norm, NORMS)
        _one_of("model.readout", self.readout, READOUTS)
        _number("model.scale", self.scale, 0)


@dataclass(frozen=True)
class TrainConfig:
    """How it is trained: SGD on 1/2 |f - y|^2.

    Args:
        steps: optimiser steps.
        learning_rate: peak rate, per step.
        momentum: heavy-ball momentum beta.
        weight_decay: coupled L2 decay on tensors with more than one axis.
        warmup: steps over which the rate rises linearly from 0 to its peak.
        batch_per_class: samples of each class in a batch; 0 = all, full batch.
        loss: entry of `LOSSES`.
        reduction: "mean" over samples and outputs, or "sum" over both, as in eq. (4).
        snapshots: about how many snapshots, log-spaced in steps; steps 0 and the last are always among them.
    """

    steps: int = 1000
    learning_rate: float = 0.5
    momentum: float = 0.0
    weight_decay: float = 0.0
    warmup: int = 0
    batch_per_class: int = 0
    loss: str = "mse"
    reduction: str = "mean"
    snapshots: int = 40

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("warmup", 0), ("batch_per_class", 0), ("snapshots", 2)):
            _whole(f"training.{name}", getattr(self, name), least)
        _number("training.learning_rate", self.learning_rate, 1e-12)
        _number("training.momentum", self.momentum, 0, 1)
        _number("training.weight_decay", self.weight_decay, 0)
        _one_of("training.loss", self.loss, LOSSES)
        _one_of("training.reduction", self.reduction, REDUCTIONS)


@dataclass(frozen=True)
class KernelConfig:
    """Where and how the features' NTK is measured.

    Args:
        count: number of snapshots at which it is measured, spread evenly over the log-spaced snapshots.
        neurons: feature neurons used, the first ones; 0 = all n.
        per_class: samples of each class used; 0 = all m.
    """

    count: int = 6
    neurons: int = 0
    per_class: int = 0

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("neurons", 0), ("per_class", 0)):
            _whole(f"kernels.{name}", getattr(self, name), least)
        if self.per_class == 1:
            raise InputError(
                "kernels.per_class", 1, "kappa_c needs two samples of a class", "give 0 or at least 2"
            )


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainConfig,
    "kernels": KernelConfig,
}


@dataclass(frozen=True)
class RunConfig:
    """A whole run; two runs with equal configurations on one machine give equal numbers.

    Raises:
        InputError: a value or a combination of values is not possible; the message names it.

    >>> RunConfig.from_dict({"seed": 3, "training": {"steps": 10}}).training.steps
    10
    """

    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    kernels: KernelConfig = field(default_factory=KernelConfig)

    def __post_init__(self) -> None:
        _whole("seed", self.seed, 0)
        m, batch = self.data.per_class, self.training.batch_per_class
        if batch and m % batch:
            raise InputError(
                "training.batch_per_class",
                batch,
                f"must divide data.per_class = {m}, or samples would be dropped",
                "change one",
            )
        if self.kernels.per_class > m:
            raise InputError(
                "kernels.per_class", self.kernels.per_class, f"exceeds data.per_class = {m}", "lower it"
            )
        if self.kernels.neurons > self.model.features:
            raise InputError(
                "kernels.neurons",
                self.kernels.neurons,
                f"exceeds model.features = {self.model.features}",
                "lower it",
            )
        if self.model.norm == "batch" and self.model.name != "cnn":
            raise InputError(
                "model.norm", "batch", "only the cnn has normalisation layers", "use norm = 'none'"
            )
        if self.data.name == "block" and self.model.name == "cnn":
            raise InputError(
                "model.name", "cnn", "the block inputs are vectors, not images", "use linear or mlp"
            )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, one table per section."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """Inverse of `to_dict`; missing keys take their defaults, unknown ones are refused by name."""
        _known("", values, cls)
        sections = {}
        for name, kind in SECTIONS.items():
            table = values.get(name, {})
            _known(f"{name}.", table, kind)
            sections[name] = kind(**table)
        return cls(seed=values.get("seed", 0), **sections)

    @classmethod
    def from_toml(cls, path: Path) -> "RunConfig":
        """Read a configuration file."""
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError("config", path, f"cannot be read ({error.strerror})", "check the path") from None
        except tomllib.TOMLDecodeError as error:
            raise InputError("config", path, f"is not valid TOML ({error})", "fix the file") from None
        return cls.from_dict(values)

    def with_seed(self, seed: int | None) -> "RunConfig":
        """The same run from another seed; None changes nothing."""
        return self if seed is None else replace(self, seed=seed)


def _known(prefix: str, values: object, kind: type) -> None:
    if not isinstance(values, dict):
        raise InputError(
            prefix.rstrip(".") or "config", values, "must be a table of settings", "write it as a section"
        )
    names = [f.name for f in fields(kind)]
    for key in values:
        if key not in names:
            raise InputError(
                f"{prefix}{key}",
                values[key],
                f"no such setting; known: {', '.join(names)}",
                "remove or rename it",
            )
