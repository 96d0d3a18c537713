"""The grid of a sweep of trainings: pairs x initialisations x learning rates x seeds x whatever else."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ntkflow import __version__
from ntkflow._types import Document, Json
from ntkflow.checks import choice, whole
from ntkflow.errors import InputError
from ntkflow.named import is_named
from ntkflow.runs.border.costs import CELL, refuse_many
from ntkflow.runs.border.reading import Shape
from ntkflow.runs.border.typed import Value
from ntkflow.sweep.axis import AXIS, Axis, sweep_table
from ntkflow.sweep.spec import digest
from ntkflow_validation.config.config import DATASETS, MODELS, RunConfig
from ntkflow_validation.config.settings import INITIALISATIONS
from ntkflow_validation.own.data import absolute, is_own
from ntkflow_validation.sweep.settings import DATA, INIT, MODEL, RATE, SEED, SETTINGS, changed, flat

# 30 logarithmic rates in [1e-4, 10^0.25], the last 20 of them where the smallest gave nothing. The captions of
# figures 13-20 name 0.049, 0.068, 0.094 and 0.131, which are 1/30 of the range apart, so one end was left out;
# that it was the upper one is a guess. Source: paper, section 6 and appendix C.
PAPER_RATES: tuple[float, ...] = tuple(float(v) for v in np.logspace(-4, 0.25, 30, endpoint=False))
# Initialisation settings (a), (b), (c) of the paper's section 6.
PAPER_INITS = ("lecun-normal", "uniform", "he-normal")
PAPER = "paper"
# Changes with what a cell holds, so that older cells are not taken for new ones.
CONTENT = 1
# What [sweep] of a sweep.toml may hold.
SPECIFICATION: Shape = {
    "pairs?": [str],
    "rates?": (str, [(int, float)]),
    "inits?": [str],
    "chosen?": [{"init": str, "rate": (int, float)}],
    "seeds?": int,
    "over?": [AXIS],
}


@dataclass(frozen=True, order=True)
class Pair:
    """An architecture on a data set, written MODEL/DATA."""

    model: str
    data: str

    def __post_init__(self) -> None:
        for argument, value, allowed in (("model", self.model, MODELS), ("data", self.data, DATASETS)):
            if value not in allowed and not (is_own(value) if argument == "data" else is_named(value)):
                raise InputError(
                    f"pair: {argument}", repr(value), f"must be one of {', '.join(allowed)}", "pick one"
                )

    def __str__(self) -> str:
        return f"{self.model}/{self.data}"

    @classmethod
    def parse(cls, text: str) -> "Pair":
        """Read MODEL/DATA.

        Raises:
            InputError: it is not of this form, or one of the two does not exist.
        """
        model, slash, data = text.strip().partition("/")
        if not slash:
            raise InputError("pair", repr(text), "is not MODEL/DATA", "as --pair resnet20/mnist")
        if is_named(model):
            # Its source is recorded where the whole grid has one.
            raise InputError("pair", repr(text), "names a network of one's own", "use --set model.name=...")
        return cls(model, absolute(data) if is_own(data) else data)


# The nine pairs of the paper; the first and the second have all 30 rates.
PAPER_PAIRS = tuple(
    Pair(model, data)
    for model, data in (
        ("resnet20", "mnist"),
        ("vgg11", "mnist"),
        ("vgg11", "fashion-mnist"),
        ("vgg16", "cifar10"),
        ("resnet20", "fashion-mnist"),
        ("resnet20", "cifar10"),
        ("densenet40", "mnist"),
        ("densenet40", "fashion-mnist"),
        ("densenet40", "cifar10"),
    )
)


# Samples of each class there are, in whole batches of 12 a class. Source: the paper's code.
SAMPLES = {"mnist": 5412, "fashion-mnist": 6000, "cifar10": 5000}
# Samples of each class on which kernels of large networks are measured. Source: paper, appendix C.
LARGE = {"vgg11": 4, "vgg16": 4}


def of_pair(base: RunConfig, pair: Pair) -> RunConfig:
    """A run on another pair, with no more samples of a class than there are, and of the kernels than fit.

    Raises:
        InputError: the changed run is not possible.
    """
    other = changed(base, {MODEL: pair.model, DATA: pair.data})
    if not (base.data.balanced and other.data.balanced):
        return other
    most = other.data.per_class if other.data.is_own else SAMPLES.get(pair.data, base.data.per_class)
    samples = min(base.data.per_class, most)
    measured = min(base.kernels.per_class or samples, LARGE.get(pair.model, samples))
    unchanged = measured == (base.kernels.per_class or samples)
    return changed(
        other,
        {
            "data.per_class": samples,
            "data.probe_per_class": min(base.data.probe_per_class, samples),
            "kernels.per_class": base.kernels.per_class if unchanged else measured,
        },
    )


def paper_rates(pair: Pair) -> tuple[float, ...]:
    """The paper's learning rates of a pair."""
    return PAPER_RATES if pair in PAPER_PAIRS[:2] else PAPER_RATES[-20:]


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        point: the settings that the sweep names, with their values.
        key: sha256 of the whole configuration and the version of ntkflow.
        run: the configuration; None when it contradicts itself.
        problem: why it cannot be run.
    """

    point: Mapping[str, Value]
    key: str
    run: RunConfig | None
    problem: InputError | None = None


@dataclass(frozen=True)
class TrainingSweep:
    """A grid of trainings.

    Attributes:
        base: what all have in common.
        pairs: architectures and data, see `of_pair`; empty: the base's.
        rates: learning rates; empty: the base's; "paper": those of the paper for each pair.
        inits: initialisations; empty: the base's.
        chosen: initialisations and rates that belong together, in place of `inits` and `rates`.
        seeds: number of seeds, counted from the base's.
        axes: other settings.

    Raises:
        InputError: an initialisation that does not exist, a setting on two axes, less than one seed.
    """

    base: RunConfig
    pairs: tuple[Pair, ...] = ()
    rates: tuple[float, ...] | str = ()
    inits: tuple[str, ...] = ()
    seeds: int = 1
    axes: tuple[Axis, ...] = ()
    chosen: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.inits, *(init for init, _ in self.chosen)):
            choice("init", name, INITIALISATIONS)
        whole("seeds", self.seeds, 1)
        if isinstance(self.rates, str) and self.rates != PAPER:
            raise InputError(
                "learning-rates", self.rates, "is neither numbers nor 'paper'", "give one of them"
            )
        if self.chosen and (self.inits or self.rates):
            raise InputError("chosen", self.chosen, "has no meaning beside inits and rates", "drop one")
        # Before any of them is made.
        refuse_many("over", self.count, "trainings", CELL)
        names = [*self._named, *(name for axis in self.axes for name in axis.fields)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError("over", twice, "is on two axes", "keep one of them")

    @property
    def count(self) -> int:
        """Cells of the grid; unlike a length it may be of any size."""
        trainings = len(self.chosen) or max(len(self.inits), 1)
        if not self.chosen:
            trainings *= max(len(PAPER_RATES) if isinstance(self.rates, str) else len(self.rates), 1)
        others = math.prod(len(axis.values) for axis in self.axes)
        return max(len(self.pairs), 1) * trainings * self.seeds * others

    def __len__(self) -> int:
        return self.count

    @property
    def _named(self) -> tuple[str, ...]:
        """Settings that have options of their own."""
        inits, rates = self.inits or self.chosen, self.rates or self.chosen
        taken = ((MODEL, self.pairs), (DATA, self.pairs), (INIT, inits), (RATE, rates))
        return (*(name for name, given in taken if given), SEED)

    @property
    def swept(self) -> tuple[str, ...]:
        """Columns of the table that say which cell it is; pair, initialisation, rate and seed always do."""
        others = (name for axis in self.axes for name in axis.fields)
        return tuple(dict.fromkeys((MODEL, DATA, INIT, RATE, SEED, *others)))

    def points(self) -> Iterator[dict[str, Value]]:
        """The settings of every cell, in grid order: seeds move fastest but for the other axes."""
        others = [[dict.fromkeys(axis.fields, value) for value in axis.values] for axis in self.axes]
        for pair in self.pairs or (None,):
            for (init, rate), seed in itertools.product(self._trainings(pair), range(self.seeds)):
                given = {SEED: self.base.seed + seed, INIT: init, RATE: rate}
                point: dict[str, Value] = {name: v for name, v in given.items() if v is not None}
                if pair is not None:
                    point |= {MODEL: pair.model, DATA: pair.data}
                for combination in itertools.product(*others):
                    yield {**point, **{name: v for part in combination for name, v in part.items()}}

    def _trainings(self, pair: Pair | None) -> Iterator[tuple[str | None, float | None]]:
        if self.chosen:
            yield from self.chosen
        else:
            yield from itertools.product(self.inits or (None,), self._rates(pair) or (None,))

    def _rates(self, pair: Pair | None) -> tuple[float, ...]:
        if isinstance(self.rates, str):
            return paper_rates(pair or Pair(self.base.model.name, self.base.data.name))
        return self.rates

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells in grid order."""
        return tuple(self._cell(point) for point in self.points())

    def _cell(self, point: dict[str, Value]) -> Cell:
        whole = {**{name: flat(self.base)[name] for name in self.swept}, **point}
        whole = {name: whole[name] for name in self.swept}
        try:
            base = self.base
            if self.pairs:
                base = of_pair(base, Pair(str(point[MODEL]), str(point[DATA])))
            run = changed(base, point)
            return Cell(whole, key_of(run), run)
        except InputError as error:
            given = {**flat(self.base), **point}
            return Cell(whole, digest({"version": __version__, "refused": given}), None, error)

    def tables(self) -> Json:
        """The tables of sweep.toml: those of the base, and [sweep]."""
        sweep: Json = {
            "pairs": [str(pair) for pair in self.pairs],
            "rates": self.rates if isinstance(self.rates, str) else list(self.rates),
            "inits": list(self.inits),
            "chosen": [{"init": init, "rate": rate} for init, rate in self.chosen],
            "seeds": self.seeds,
            "over": [axis.as_dict() for axis in self.axes],
        }
        return {**self.base.to_dict(), "sweep": sweep}

    def stored_tables(self, directory: Path) -> Json:
        """The same: a training names no files of its own."""
        del directory
        return self.tables()

    def identity(self) -> str:
        """Hash of base and grid; settings at their default are left out, so that later versions know it again."""
        default = flat(RunConfig())
        base = {name: value for name, value in flat(self.base).items() if value != default[name]}
        return digest({"base": base, "grid": [list(point.items()) for point in self.points()]})


def key_of(config: RunConfig) -> str:
    """The address of a training: sha256 of its configuration and the version of ntkflow.

    Settings that came later are left out at their defaults: the cells of before are found again.
    """
    return digest({"version": __version__, "content": CONTENT, "config": config.stated()})


def sweep_from_tables(tables: Document) -> TrainingSweep:
    """A sweep from the tables of a sweep.toml, or one of nothing but its base from those of a config.toml.

    Raises:
        InputError: an unknown key, or whatever the parts refuse.
    """
    base = RunConfig.from_dict({k: v for k, v in tables.items() if k not in ("sweep", "record")})
    content = sweep_table(tables, SPECIFICATION)
    rates = content.get("rates", ())
    axes = (Axis.from_dict(entry, SETTINGS) for entry in content.get("over", ()))
    return TrainingSweep(
        base,
        tuple(Pair.parse(text) for text in content.get("pairs", ())),
        rates if isinstance(rates, str) else tuple(float(v) for v in rates),
        tuple(content.get("inits", ())),
        content.get("seeds", 1),
        tuple(axes),
        tuple((entry["init"], float(entry["rate"])) for entry in content.get("chosen", ())),
    )
