"""The configuration of a run that another program trains and `Recorder` writes down: what is known of it, and no more."""

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ntkflow._types import Document, Json
from ntkflow.checks import whole
from ntkflow.errors import InputError
from ntkflow.problem.training_clock import Clock
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.config.samples import DataConfig
from ntkflow_validation.config.settings import KernelConfig, ModelConfig, TrainConfig

# The table of config.toml that tells a recorded run from one that is trained here.
MARKED = "clock"
# What `Clock` takes; the rest of what it says of itself follows from these.
ARGUMENTS = (
    "learning_rate", "loss", "reduction", "batch", "momentum", "nesterov", "weight_decay", "decay", "samples", "classes",
    "accumulate", "decay_on", "degree", "frozen", "precision", "label_smoothing",
)  # fmt: skip
# What a file says of each section: settings of trainings from here would be said of a training that has none.
KEPT = {
    "data": ("name", "classes", "per_class", "probe_per_class", "counts", "labels"),
    "model": ("name", "features", "init", "head_bias", "norm", "observed"),
    "training": (
        "learning_rate",
        "momentum",
        "nesterov",
        "weight_decay",
        "decay_on",
        "batch_per_class",
        "loss",
    ),
}
# With which statistics features are read: those of the recorded samples; the network's own, because it was asked for;
# or these because nothing else was possible.
RECALIBRATED, RUNNING, GIVEN = "recalibrated", "running", "as given"
# What files that were written before have not.
LATER = ("norm", "observed")
SQUARES = ("half-squared", "squared")


@dataclass(frozen=True, repr=False)
class RecordedData(DataConfig):
    """Samples whose features are recorded.

    Args:
        counts: of each class.
        labels: a digest of the labels in the order given, which tells one data set from another.
    """

    counts: tuple[int, ...] = ()
    labels: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", tuple(whole("data.counts", m, 1) for m in self.counts))

    @property
    def is_own(self) -> bool:
        """Never: the name is a title, whatever it looks like."""
        return False

    @property
    def samples(self) -> int:
        """Recorded samples."""
        return sum(self.counts)

    @property
    def balanced(self) -> bool:
        """Whether as many samples of every class are recorded."""
        return len(set(self.counts)) <= 1


@dataclass(frozen=True, repr=False)
class RecordedModel(ModelConfig):
    """A network by its name and its number of features.

    Args:
        norm: "batch" where it has running statistics.
        observed: with which of them features are read.
    """

    init: str = "recorded"
    norm: str = "none"
    observed: str = RECALIBRATED

    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True, repr=False)
class RecordedTraining(TrainConfig):
    """A recipe as far as a clock says it; the clock itself is what counts."""

    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True, repr=False)
class RecordedConfig(RunConfig):
    """A run that is recorded.

    Args:
        clock: what `Clock` was given, as pairs; a schedule by its name.
    """

    clock: tuple[tuple[str, Any], ...] = field(default=())

    def __post_init__(self) -> None:
        pass

    @classmethod
    def of(
        cls,
        clock: Clock,
        data: RecordedData,
        model: RecordedModel,
        kernels: KernelConfig,
    ) -> "RecordedConfig":
        """From a clock and the samples; a clock without a rate says how many these are, and nothing of the training."""
        said = clock.as_dict()
        timed = clock.learning_rate is not None or clock.schedule is not None
        names = (*ARGUMENTS, "schedule") if timed else ("samples", "classes")
        kept = {name: said[name] for name in names if said[name] is not None}
        recipe = _recipe(clock, data.classes, model.observed)
        return cls(0, data, model, recipe, kernels, tuple(kept.items()))

    @property
    def counts(self) -> tuple[int, ...]:
        """Recorded samples of each class."""
        assert isinstance(self.data, RecordedData)
        return self.data.counts

    @property
    def observed(self) -> str:
        """With which running statistics features are read."""
        assert isinstance(self.model, RecordedModel)
        return self.model.observed

    @property
    def timed(self) -> bool:
        """Whether its steps are in flow time: of Adam and its like they are not, and there is no rate to tell it."""
        return {"learning_rate", "schedule"} & dict(self.clock).keys() != set()

    def recipe_words(self, rate: float) -> str:
        """See `RunConfig.recipe_words`; nothing is known of a seed."""
        return f"recorded, rate {rate:.4g}" if self.timed else "recorded without flow time"

    @property
    def unpredicted(self) -> str | None:
        """See `RunConfig.unpredicted`."""
        if not self.timed:
            return "recorded without a learning rate: its steps are in no flow time, in which the predictions are"
        if dict(self.clock).get("frozen") == "body":
            return "recorded with frozen='body': its features stay where they are, and there is nothing to predict"
        return super().unpredicted

    @property
    def trained_per_class(self) -> float:
        """Training samples of a class, by the clock."""
        return self.time_keeper().samples / self.data.classes

    @property
    def observes_part(self) -> bool:
        """Whether fewer samples are recorded than are trained on."""
        return sum(self.counts) < self.time_keeper().samples

    @property
    def scheduled(self) -> str | None:
        """The name of the schedule of rates, which the file does not hold; None where the rate is constant."""
        return dict(self.clock).get("schedule")

    def time_keeper(self) -> Clock:
        """The clock again; of a schedule without its rates, so that it tells the loss's scale and the decay alone."""
        kept = dict(self.clock)
        kept.pop("schedule", None)
        return Clock(**kept)

    @property
    def batches_by_class(self) -> bool:
        """Never: the clock knows how large the batches were, not how they were drawn."""
        return False

    @property
    def observed_set(self) -> str:
        """Those whose features are recorded."""
        return "recorded samples"

    @property
    def deviations(self) -> tuple[str, ...]:
        """What the recipe breaks, and what else of the training the predictions leave out, in words."""
        clock, found = self.time_keeper(), [*super().deviations]
        if self.kernels.bn == "batch":
            found.append(
                "kernels are those of training mode, in which statistics move along with their batch"
            )
        if self.scheduled is not None:
            found.append(f"rates by {self.scheduled}: in the clock only")
        if clock.weight_decay and clock.decay_form == "decoupled" and clock.momentum:
            found.append("decoupled decay beside momentum: not in the predicted steps")
        if clock.batch is not None:
            found.append(f"batches of {clock.batch}: the flow is that of their mean")
        found.append(
            "recorded outside: rungs are those of the measured kernels, and the motion at the start is the difference "
            "of the first two snapshots"
        )
        return tuple(found)

    def to_dict(self) -> Json:
        """Nested plain values, what is known alone."""
        whole_ = asdict(self)
        kept = {name: {key: whole_[name][key] for key in keys} for name, keys in KEPT.items()}
        if not self.timed:
            del kept["training"]
        return {**kept, "kernels": whole_["kernels"], MARKED: dict(self.clock)}

    def stated(self) -> Json:
        """All of it: nothing is at a default."""
        return self.to_dict()

    @classmethod
    def from_dict(cls, values: Document) -> "RecordedConfig":
        """Inverse of `to_dict`."""
        try:
            data = RecordedData(**{name: values["data"][name] for name in KEPT["data"]})
            model = RecordedModel(
                **{n: values["model"][n] for n in KEPT["model"] if n in values["model"] or n not in LATER}
            )
            clock = tuple(values[MARKED].items())
            plain = {name: value for name, value in clock if name != "schedule"}
            keeper = Clock(**plain)
            kernels = KernelConfig(**values.get("kernels", {}))
        except InputError:
            raise
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                "config.toml", repr(error), "is not that of a recorded run", "record it again"
            ) from None
        recipe = _recipe(keeper, data.classes, model.observed, values.get("training"))
        return cls(0, data, model, recipe, kernels, clock)


def described(
    clock: Clock, labels: np.ndarray, name: str, model: RecordedModel, kernels: KernelConfig
) -> RecordedConfig:
    """The configuration of a recorder: what is recorded of which samples of a data set of this name."""
    N, C, samples = len(labels), clock.classes or int(labels.max()) + 1, clock.samples
    data = RecordedData(
        name=name,
        classes=C,
        per_class=samples // C,
        probe_per_class=0 if samples == N else N // C,
        counts=tuple(np.bincount(labels, minlength=C).tolist()),
        labels=hashlib.sha256(labels.astype(np.int64).tobytes()).hexdigest()[:16],
    )
    return RecordedConfig.of(clock, data, model, kernels)


def config_of(tables: Document) -> RunConfig:
    """The configuration that the tables of a config.toml hold, of either kind."""
    return RecordedConfig.from_dict(tables) if MARKED in tables else RunConfig.from_dict(tables)


def _recipe(clock: Clock, C: int, observed: str, written: Document | None = None) -> RecordedTraining:
    rate = clock.learning_rate
    if rate is None and clock.schedule is not None:
        rate = float(clock.schedule.first(1)[0])
    if rate is None:
        rate = float((written or {}).get("learning_rate", 0.0))
    return RecordedTraining(
        learning_rate=rate,
        momentum=clock.momentum,
        nesterov=clock.nesterov,
        weight_decay=clock.weight_decay or 0.0,
        decay_on=clock.decay_on,
        # No whole number where batches are drawn without looking at classes; epochs are counted by it.
        batch_per_class=0 if clock.batch is None else clock.batch / C,  # type: ignore[arg-type]
        loss="mse" if clock.loss in SQUARES else clock.loss,
        observed=observed,
        label_smoothing=clock.label_smoothing,
    )
