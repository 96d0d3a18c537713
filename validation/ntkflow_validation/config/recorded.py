"""The configuration of a run that another program trains and `Recorder` writes down: what is known of it, and no more."""

from dataclasses import asdict, dataclass, field
from typing import Any

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
    "accumulate", "decay_on", "degree", "frozen", "precision",
)  # fmt: skip
# What a file says of each section: settings of trainings from here would be said of a training that has none.
KEPT = {
    "data": ("name", "classes", "per_class", "probe_per_class", "counts", "labels"),
    "model": ("name", "features", "init", "head_bias"),
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
SQUARES = ("half-squared", "squared")


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class RecordedModel(ModelConfig):
    """A network by its name and its number of features."""

    init: str = "its own"

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", "none")


@dataclass(frozen=True)
class RecordedTraining(TrainConfig):
    """A recipe as far as a clock says it; the clock itself is what counts."""

    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True)
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
        cls, clock: Clock, data: RecordedData, model: RecordedModel, kernels: KernelConfig
    ) -> "RecordedConfig":
        """From a clock and the samples."""
        said = clock.as_dict()
        kept = {name: said[name] for name in (*ARGUMENTS, "schedule") if said[name] is not None}
        return cls(0, data, model, _recipe(clock, data.classes), kernels, tuple(kept.items()))

    @property
    def counts(self) -> tuple[int, ...]:
        """Recorded samples of each class."""
        assert isinstance(self.data, RecordedData)
        return self.data.counts

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
    def deviations(self) -> tuple[str, ...]:
        """What the recipe breaks, and what else of the training the predictions leave out, in words."""
        clock, found = self.time_keeper(), [*super().deviations]
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
        return {"seed": self.seed, **kept, "kernels": whole_["kernels"], MARKED: dict(self.clock)}

    @classmethod
    def from_dict(cls, values: Document) -> "RecordedConfig":
        """Inverse of `to_dict`."""
        try:
            data = RecordedData(**{name: values["data"][name] for name in KEPT["data"]})
            model = RecordedModel(**{name: values["model"][name] for name in KEPT["model"]})
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
        return cls(0, data, model, _recipe(keeper, data.classes, values.get("training")), kernels, clock)


def config_of(tables: Document) -> RunConfig:
    """The configuration that the tables of a config.toml hold, of either kind."""
    return RecordedConfig.from_dict(tables) if MARKED in tables else RunConfig.from_dict(tables)


def _recipe(clock: Clock, C: int, written: Document | None = None) -> RecordedTraining:
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
    )
