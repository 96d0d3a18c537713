"""RunConfig: every choice of a run, checked once before data are touched, to and from plain values."""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from ntkflow import checks, views
from ntkflow._types import Document, Json
from ntkflow.errors import InputError
from ntkflow.runs.files import read_toml
from ntkflow_validation.config.samples import DATASETS, DataConfig
from ntkflow_validation.config.settings import MODELS, VECTORS, KernelConfig, ModelConfig, TrainConfig
from ntkflow_validation.config.values import whole_numbers
from ntkflow_validation.own import data as own

__all__ = ["DATASETS", "MODELS", "DataConfig", "KernelConfig", "ModelConfig", "RunConfig", "TrainConfig"]

SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainConfig,
    "kernels": KernelConfig,
}


# The settings of the first documents and addresses of cells. Whatever is not named here came later, and is left out of both
# where it stands at its default.
FIRST: dict[str, tuple[str, ...]] = {
    "data": (
        "name", "classes", "per_class", "test_per_class", "probe_per_class", "scaling", "kappa_d", "kappa_c", "kappa_n", "noise",
    ),
    "model": ("name", "features", "width", "depth", "norm", "readout", "scale", "bend", "init"),
    "training": (
        "steps", "epochs", "learning_rate", "stability", "momentum", "nesterov", "weight_decay", "decay_on", "warmup",
        "drop_every", "batch_per_class", "loss", "reduction", "statistics", "observed", "snapshots", "spacing",
    ),
    "kernels": ("count", "neurons", "per_class", "while_training", "method", "quantities", "probes", "bn", "memory"),
}  # fmt: skip


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

    __repr__ = views.changed

    def __post_init__(self) -> None:
        whole_numbers(self, "", {"seed": 0})
        m, batch = min(self.data.counts), self.training.batch_per_class
        if batch:
            self.data.in_batch(batch)
        if self.kernels.per_class > m:
            rule = f"exceeds {self.data.least}"
            raise InputError("kernels.per_class", self.kernels.per_class, rule, "lower it")
        if self.kernels.neurons > self.model.features > 0:
            raise InputError(
                "kernels.neurons",
                self.kernels.neurons,
                f"exceeds model.features = {self.model.features}",
                "lower it",
            )
        if self.data.name == "block" and self.model.name not in VECTORS and not self.model.is_own:
            raise InputError(
                "model.name",
                self.model.name,
                "the block inputs are vectors, not images",
                "use linear, bent or mlp",
            )
        if self.model.start == "aligned":
            self._refuse_unaligned()
        if self.training.initial_bias != "drawn" and not self.model.head_bias:
            rule = "there is no bias to start from there"
            raise InputError(
                "training.initial_bias", self.training.initial_bias, rule, "use model.head_bias = true"
            )
        if self.training.statistics == "frozen" and self.model.norm not in ("batch", "auto"):
            raise InputError(
                "training.statistics",
                "frozen",
                "there are no batch statistics to freeze",
                "use model.norm = 'batch'",
            )
        if (
            self.training.observed == "running"
            and not self.has_running_statistics
            and self.model.norm != "auto"
        ):
            raise InputError(
                "training.observed", "running", "there are no running statistics", "leave it at its default"
            )

    def _refuse_unaligned(self) -> None:
        data, model = self.data, self.model
        if data.name != "block" or data.noise:
            rule = "is of inputs whose Gram matrix is blocks"
            raise InputError("model.start", model.start, rule, "use data.name = 'block' and data.noise = 0")
        if not model.head_bias:
            raise InputError("model.start", model.start, "has b = 1/C", "use model.head_bias = true")
        if model.features < data.classes - 1 or not model.scale:
            rule = f"has a direction of size model.scale > 0 for each of {data.classes - 1} contrasts"
            raise InputError("model.start", model.start, rule, "raise model.features or model.scale")

    @property
    def has_running_statistics(self) -> bool:
        """Whether training averages the statistics of its batches, for use in inference."""
        return self.model.norm == "batch" and self.training.statistics == "batch"

    @property
    def recalibrates(self) -> bool:
        """Whether snapshots replace the running statistics by those of the training set."""
        return self.has_running_statistics and self.training.observed == "recalibrated"

    def recipe_words(self, rate: float) -> str:
        """What titles say of how it was trained, at the rate that was used."""
        return f"rate {rate:.4g}, seed {self.seed}"

    @property
    def unpredicted(self) -> str | None:
        """Why the theory's flow predicts nothing of this training, in words; None where it does."""
        training = self.training
        if training.adaptive:
            how = "scales each parameter's gradient by its own history"
            return f"trained with {training.optimiser}, which {how}: its steps are in no time those of the gradient flow"
        if not self.data.balanced and self.observes_part:
            sizes = f"{min(self.data.counts)} to {max(self.data.counts)} samples"
            return (
                f"trained on classes of {sizes}, and observed on a part of them: no statement says how a part of each class "
                "moves where the classes differ in size; observe all samples (data.probe_per_class = 0)"
            )
        return None

    @property
    def batches_by_class(self) -> bool:
        """Whether a batch holds as many samples of every class."""
        return self.training.batch_per_class > 0

    @property
    def observed_set(self) -> str:
        """Whose statistics are those of batch normalisation where it is recalibrated, in words."""
        return "training set"

    @property
    def deviations(self) -> tuple[str, ...]:
        """Hypotheses of the theory that the configuration does not satisfy, in words."""
        return tuple([*self._of_training(), *self._of_network()])

    def _of_training(self) -> list[str]:
        training, found = self.training, []
        if training.adaptive:
            found.append(f"optimiser {training.optimiser}: not gradient descent, and in no flow time")
        if training.label_smoothing:
            found.append(
                f"labels smoothed by {training.label_smoothing:g}: the flow and its scores are of these targets; "
                "metrics.jsonl has losses against one-hot ones"
            )
        if training.momentum:
            kind = "Nesterov momentum" if training.nesterov else "momentum"
            found.append(
                f"{kind} {training.momentum}: the flow maps its time, the modified predictions have its inertia"
            )
        if training.weight_decay:
            of = "all parameters" if training.decay_on == "all" else "weights"
            found.append(f"decay {training.weight_decay} of {of}: not in the predicted flow")
        if self.batches_by_class:
            found.append(f"batches of {training.batch_per_class} per class: the flow is that of their mean")
        if training.warmup:
            found.append(f"warm-up of {training.warmup} steps: in the clock only")
        if training.loss != "mse":
            found.append(
                f"loss {training.loss}: not the squared error of eq. (4); the flow, its residuals and losses are of this one, "
                "whose parts do not add up to it, and metrics.jsonl has squared errors"
            )
        return found

    def _of_network(self) -> list[str]:
        found = []
        if not self.model.head_bias:
            found.append("head without a bias: the flow holds b = 0, where the theory trains it")
        if self.has_running_statistics:
            recalibrated = self.training.observed == "recalibrated"
            of = f"those of the {self.observed_set}" if recalibrated else "running averages"
            found.append(f"batch normalisation: trained on statistics of batches, measured on {of}")
        if self.model.name != "linear":
            found.append("the kernel of a nonlinear network drifts; the prediction keeps the measured one")
        return found

    @property
    def trained_per_class(self) -> float:
        """Training samples of a class; of classes that differ in size their mean."""
        return self.data.samples / self.data.classes

    @property
    def has_invariant(self) -> bool:
        """Whether E is known of what is observed: of a part of each class where classes are equal, else of all samples."""
        return self.data.balanced or not self.observes_part

    @property
    def observes_part(self) -> bool:
        """Whether H is observed on a part of the training samples."""
        return bool(self.data.probe_per_class)

    def to_dict(self) -> Json:
        """Nested plain values, one table per section."""
        return asdict(self)

    def stated(self) -> Json:
        """The same without settings that came later and stand at their defaults: what was written before stays what it was."""
        tables, defaults = self.to_dict(), RunConfig().to_dict()
        for section, first in FIRST.items():
            found, usual = tables[section], defaults[section]
            tables[section] = {k: v for k, v in found.items() if k in first or v != usual[k]}
        return tables

    @classmethod
    def from_dict(cls, values: Document) -> "RunConfig":
        """Inverse of `to_dict`; missing keys take their defaults, unknown ones are refused by name."""
        _known("", values, cls)
        sections = {}
        for name, kind in SECTIONS.items():
            table = values.get(name, {})
            _known(f"{name}.", table, kind)
            if kind is DataConfig and own.is_own(table.get("name")):
                table = {"classes": 0, "per_class": 0, **table}
            sections[name] = kind(**table)
        return cls(seed=values.get("seed", 0), **sections)

    @classmethod
    def from_toml(cls, path: Path | str) -> "RunConfig":
        """Read a configuration file; paths in it begin at its folder."""
        return cls.from_dict(located(read_toml(Path(path)), Path(path).parent))

    def with_seed(self, seed: int | None) -> "RunConfig":
        """The same run from another seed; None changes nothing."""
        return self if seed is None else replace(self, seed=seed)

    def with_rate(self, rate: float) -> "RunConfig":
        """The same run at this learning rate, such as the one that was chosen for it."""
        return replace(self, training=replace(self.training, learning_rate=rate))

    def with_per_class(self, per_class: int | None) -> "RunConfig":
        """The same run on so many samples of each class; probe, kernels and batches take at most these."""
        if per_class is None:
            return self
        per_class = checks.whole("data.per_class", per_class, 2)
        # What was asked of a larger set is cut with it: a smaller run is not refused for settings of the one it came from.
        probe = min(self.data.probe_per_class, per_class)
        return self._on(replace(self.data, per_class=per_class, class_sizes=(), probe_per_class=probe))

    def with_data(self, name: str) -> "RunConfig":
        """The same run on all samples of another data set, a user's own; batches and kernels take at most these.

        Where its classes differ in size and the batch cannot hold them in proportion, batches are full.

        Raises:
            InputError: the file is missing, or cannot be read.
        """
        data = DataConfig(
            name, classes=0, per_class=0, test_per_class=self.data.test_per_class, scaling=self.data.scaling
        )
        probe = min(self.data.probe_per_class, *data.counts)
        return self._on(replace(data, probe_per_class=probe))

    def _on(self, data: DataConfig) -> "RunConfig":
        kernels, training, m = self.kernels, self.training, min(data.counts)
        batch = min(training.batch_per_class, data.mean_per_class)
        try:
            data.in_batch(batch)
        except InputError:
            batch = 0
        return replace(
            self,
            data=data,
            kernels=replace(kernels, per_class=min(kernels.per_class, m)),
            training=replace(training, batch_per_class=batch),
        )


def located(tables: Json, folder: Path | str) -> Json:
    """The tables of a file with the paths in them as they are from its folder."""
    data = tables.get("data")
    if not isinstance(data, dict) or not own.is_own(data.get("name")):
        return tables
    return {**tables, "data": {**data, "name": own.absolute(data["name"], folder)}}


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
