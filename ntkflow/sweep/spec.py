"""The specification of a sweep: base configuration, axes, seeds, and what its figure shows."""

import hashlib
import itertools
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ntkflow import checks
from ntkflow._types import Document, Json
from ntkflow.errors import InputError
from ntkflow.integrate.engines.choose import JAX
from ntkflow.runs import config as configuration
from ntkflow.runs import files
from ntkflow.runs.border.costs import ROW, refuse_many
from ntkflow.runs.border.reading import Shape
from ntkflow.runs.border.typed import Value
from ntkflow.runs.config import SCHEMA, SimulateConfig
from ntkflow.sweep.axis import AXIS, Axis, sweep_table

DEFAULT_Y = ("nc.NC1.final",)
SEED = "seed"
# What [sweep] of a sweep.toml may hold: the grid and the fields of `View`.
SPECIFICATION: Shape = {
    "over?": [AXIS],
    "seeds?": int,
    "x?": str,
    "by?": str,
    "y?": [str],
    "theory?": [str],
    "log_x?": bool,
    "log_y?": bool,
    "study?": str,
    "vertical?": str,
    "columns?": [str],
}


@dataclass(frozen=True)
class View:
    """What the figure shows; changing it never runs a cell again.

    Attributes:
        x: quantity or swept field on the x axis; None means the first axis.
        by: field or quantity that tells colours apart; None means the first axis that is not on the x axis.
        y: quantities, one pane each.
        theory: quantities drawn as the theory's line over the pane of the same place; "" for none.
        log_x: log scale on the x axis.
        log_y: log scale of the quantities.
        study: name of the shipped study, which brings title and marks.
        vertical: quantity or swept field on the vertical axis of a heat map; None means one where there are two axes.
        columns: quantities that the table has beside what the figure shows; none means all there are.
    """

    x: str | None = None
    by: str | None = None
    y: tuple[str, ...] = DEFAULT_Y
    theory: tuple[str, ...] = ()
    log_x: bool = False
    log_y: bool = False
    study: str | None = None
    vertical: str | None = None
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.y:
            raise InputError("y", "nothing", "needs at least one quantity", "give --y or leave it out")
        if len(self.theory) > len(self.y):
            raise InputError("theory", self.theory[-1], "has no pane", "give one --y for each --theory")

    def as_dict(self) -> Json:
        """Plain values for sweep.toml."""
        lists = {name: list(getattr(self, name)) for name in ("y", "theory", "columns")}
        return {**vars(self), **lists}

    @property
    def quantities(self) -> tuple[str, ...]:
        """All columns that are asked for by name."""
        singles = (name for name in (self.x, self.by, self.vertical) if name is not None)
        return tuple(dict.fromkeys([*singles, *self.y, *filter(None, self.theory), *self.columns]))


@dataclass(frozen=True)
class SweepSpec:
    """A grid of simulations.

    Attributes:
        base: configuration of every cell before the axes change it.
        axes: swept fields; the grid is their product, the last axis moving fastest.
        seeds: number of seeds, counted from the seed of `base` (0 when it has none); 0 sweeps no seed.
        view: what the figure shows.

    Raises:
        InputError: nothing to vary, a field on two axes, seeds beside an axis over the seed, or an engine for ensembles alone.
    """

    base: SimulateConfig
    axes: tuple[Axis, ...]
    seeds: int = 0
    view: View = field(default_factory=View)

    def __post_init__(self) -> None:
        if not self.axes and not self.seeds:
            raise InputError("over", "nothing", "a sweep needs something to vary", "give --over or --seeds")
        checks.whole("seeds", self.seeds, 0)
        # Before any list of them is made.
        refuse_many("over", self.count, "cells", ROW)
        names = [name for axis in self.all_axes for name in axis.sets]
        for name in names:
            if names.count(name) > 1:
                raise InputError("over", name, "is on two axes", "keep one of them")
        # Every cell would say so, once the directory is there.
        engines = next((axis.values for axis in self.axes if "engine" in axis.sets), (self.base.engine,))
        if JAX in engines:
            what = "integrates ensembles, and cells of a sweep go in lockstep by themselves"
            raise InputError("engine", repr(JAX), what, "use engine='auto'")

    @property
    def all_axes(self) -> tuple[Axis, ...]:
        """The axes of the grid, the seeds last."""
        if not self.seeds:
            return self.axes
        first = self.base.seed or 0
        return (*self.axes, Axis((SEED,), tuple(range(first, first + self.seeds))))

    @property
    def count(self) -> int:
        """Cells of the grid; unlike a length it may be of any size."""
        return max(self.seeds, 1) * math.prod(len(axis.values) for axis in self.axes)

    def __len__(self) -> int:
        return self.count

    def points(self) -> Iterator[dict[str, Value]]:
        """The swept fields of every cell, in grid order."""
        axes = self.all_axes
        for values in itertools.product(*(axis.values for axis in axes)):
            yield {name: v for axis, v in zip(axes, values, strict=True) for name in axis.fields}

    def tables(self) -> Json:
        """The tables of sweep.toml: those of the base configuration, and [sweep]."""
        over = [axis.as_dict() for axis in self.axes]
        view = {name: value for name, value in self.view.as_dict().items() if value is not None}
        return {**self.base.tables(), "sweep": {"over": over, "seeds": self.seeds, **view}}

    def stored_tables(self, directory: Path | str) -> Json:
        """`tables` with copies in `directory` of the files the base names."""
        copies: Json = {}
        for name, path in base_files(self.base).items():
            copy = Path(directory) / f"{name}.npz"
            # A sweep that goes on reads its own copies, which must not be written over themselves.
            if path.resolve() != copy.resolve():
                with path.open("rb") as source, files.atomic(copy) as target:
                    shutil.copyfileobj(source, target)
            copies[name] = Path(copy.name)
        return replace(self, base=replace(self.base, **copies)).tables()

    def identity(self) -> str:
        """Hash of what decides the cells: base and grid, not the view; a file counts by its content.

        Fields at their default are left out, so that a later version with new fields knows the sweep again.
        """
        grid = [[axis.fields, [str(v) for v in axis.values]] for axis in self.all_axes]
        default = plain_config(SimulateConfig())
        base = {name: v for name, v in plain_config(self.base).items() if v != default[name]}
        return digest({"base": base, "grid": grid})


def spec_from_tables(tables: Document, folder: Path | str) -> SweepSpec:
    """A specification from the tables of a sweep.toml; relative paths in it are relative to `folder`.

    Raises:
        InputError: an unknown table or key, or a value of the wrong type.
    """
    folder = Path(folder)
    base = configuration.from_tables({k: v for k, v in tables.items() if k != "sweep"}, folder)
    content = sweep_table(tables, SPECIFICATION)
    axes = tuple(_axis_from(entry, folder) for entry in content.pop("over", []))
    seeds = content.pop("seeds", 0)
    view: Json = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    return SweepSpec(base, axes, seeds, View(**view))


def _axis_from(entry: Document, folder: Path) -> Axis:
    if SCHEMA.kinds.get(next(iter(entry["fields"]), "")) is Path:
        entry = {**entry, "values": [folder / str(value) for value in entry["values"]]}
    return Axis.from_dict(entry)


def plain_config(config: SimulateConfig) -> Json:
    """The fields of a configuration with the types of the class; a file is replaced by its content's hash."""
    return {name: plain_value(name, value) for name, value in vars(config).items()}


def plain_value(name: str, value: object) -> object:
    """One field of it.

    Raises:
        InputError: a file that cannot be read.
    """
    if isinstance(value, Path):
        # Its content, since the same name may hold another kernel tomorrow, and a copy has another name.
        try:
            return hashlib.sha256(value.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(name, value, f"cannot be read ({error.strerror})", "check the path") from None
    if value is None or isinstance(value, tuple | list):
        return value
    return SCHEMA.typed_value(name, name, value)


def digest(value: object) -> str:
    """sha256 of a plain value, the same for the same content in any order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def base_files(config: SimulateConfig) -> dict[str, Path]:
    """The files a configuration names, by field."""
    return {name: value for name, value in vars(config).items() if isinstance(value, Path)}


def absolute(config: SimulateConfig) -> SimulateConfig:
    """The configuration with its files named from the root, as a worker in another folder needs them."""
    changes: Json = {name: path.resolve() for name, path in base_files(config).items()}
    return replace(config, **changes) if changes else config
