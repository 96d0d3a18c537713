"""The cells of a sweep, and their addresses: a cell is made when it is run, an address in microseconds.

An address is a hash of all that decides a cell's numbers. It is told from the configuration alone, without a problem being
made of it, so that a sweep of a million cells knows within seconds which of them are there.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import overload

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs.border.typed import Value
from ntkflow.runs.config import LOOSE_RTOL, SCHEMA, SimulateConfig, fallbacks
from ntkflow.sweep.axis import RATIO
from ntkflow.sweep.spec import SweepSpec, absolute, plain_config, plain_value

# Letters of an address: 128 bits tell any number of cells apart.
LETTERS = 32
# Addresses that are kept: some 10 MB; of a larger grid the rest is worked out again.
KEPT_KEYS = 1 << 17


@dataclass(frozen=True, eq=False)
class Cell:
    """One point of a grid.

    Attributes:
        grid: of which it is.
        number: its place there.
        key: its address, of the completed configuration and the version of ntkflow.
    """

    grid: "Grid"
    number: int
    key: str

    @property
    def point(self) -> dict[str, Value]:
        """Swept fields and their values."""
        return self.grid.point(self.number)

    @cached_property
    def config(self) -> SimulateConfig | None:
        """The configuration; None when it contradicts itself."""
        try:
            return self.grid.config(self.number)
        except InputError:
            return None

    @property
    def problem(self) -> InputError | None:
        """Why it cannot be run, known before running it; None when it can."""
        from ntkflow.runs.layered import prepared_problem

        try:
            prepared_problem(self.grid.config(self.number))
        except InputError as error:
            return error
        return None


class Grid(Sequence[Cell]):
    """All cells of a sweep in grid order, made one by one as they are asked for."""

    def __init__(self, spec: SweepSpec) -> None:
        self._axes = spec.all_axes
        self._counts = [len(axis.values) for axis in self._axes]
        swept = {name for axis in self._axes for name in axis.sets}
        # Of a cell nobody asks for the eighth digit: its run may be as loose as a member of an ensemble.
        changes: Json = {"rtol": spec.base.rtol if spec.base.rtol is not None else LOOSE_RTOL}
        # An axis over one kind of end replaces the other in the base.
        for one, other in (("steps", "t_end"), ("t_end", "steps")):
            if one in swept and other not in swept:
                changes[other] = None
        self._base = absolute(replace(spec.base, **changes))
        self._ratios = _in_order([axis.name for axis in self._axes if RATIO in axis.name])
        below = {name.partition(RATIO)[2] for name in self._ratios} - swept
        self._units = {name: _known(self._base, name) for name in below}
        entries = _entries(_texts(self._base))
        self._template = _written(
            {
                name: f"%({name})s" if name in swept else entry.replace("%", "%%")
                for name, entry in entries.items()
            }
        )
        self._texts = [
            [_entries({name: _text(name, value) for name in axis.sets}) for value in axis.values]
            for axis in self._axes
        ]

        # A growing figure asks for all of them every time.
        self._known: list[str] = []

    def __len__(self) -> int:
        return math.prod(self._counts)

    @overload
    def __getitem__(self, number: int) -> Cell: ...

    @overload
    def __getitem__(self, number: slice) -> list[Cell]: ...

    def __getitem__(self, number: int | slice) -> Cell | list[Cell]:
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number %= len(self)
        if self._ratios:
            return Cell(self, number, self._key_of_ratios(number))
        parts = [texts[place] for texts, place in zip(self._texts, self._places(number), strict=True)]
        return Cell(self, number, self._key(parts))

    def __iter__(self) -> Iterator[Cell]:
        return (Cell(self, number, key) for number, key in enumerate(self.keys()))

    def keys(self) -> Iterator[str]:
        """Addresses of all cells."""
        for number, parts in enumerate(itertools.product(*self._texts)):
            if number < len(self._known):
                yield self._known[number]
                continue
            key = self._key_of_ratios(number) if self._ratios else self._key(parts)
            if number == len(self._known) < KEPT_KEYS:
                self._known.append(key)
            yield key

    def _key(self, parts: Iterable[Mapping[str, str]]) -> str:
        return _digest(self._template % dict(itertools.chain.from_iterable(part.items() for part in parts)))

    def _key_of_ratios(self, number: int) -> str:
        # What a ratio sets depends on other axes too.
        changes = self._changes(number)
        return self._key([_entries({name: _text(name, value) for name, value in changes.items()})])

    def _places(self, number: int) -> list[int]:
        """The place of a cell on every axis, the last of which moves fastest."""
        places = []
        for count in reversed(self._counts):
            number, place = divmod(number, count)
            places.append(place)
        return places[::-1]

    def point(self, number: int) -> dict[str, Value]:
        """Swept fields of a cell and their values."""
        places = zip(self._axes, self._places(number), strict=True)
        return {name: axis.values[place] for axis, place in places for name in axis.fields}

    def config(self, number: int) -> SimulateConfig:
        """The configuration of a cell.

        Raises:
            InputError: it contradicts itself.
        """
        return absolute(replace(self._base, **self._changes(number)))

    def _changes(self, number: int) -> Json:
        """What a cell changes in the base."""
        changes: Json = self.point(number)
        for name in self._ratios:
            above, _, below = name.partition(RATIO)
            changes[above] = changes.pop(name) * (changes[below] if below in changes else self._units[below])
        return changes


def _known(base: SimulateConfig, name: str) -> float:
    """The number that a field of the base has, whether given or by default.

    Raises:
        InputError: nobody knows it before the files are read.
    """
    value = getattr(base, name)
    if value is None and base.state is None and base.kernel_file is None:
        value = {**fallbacks("kernel"), **fallbacks("initial")}.get(name)
    if value is None:
        raise InputError("over", name, "is divided by, and not given", f"say --set {name}=...")
    return float(value)


def _in_order(ratios: Sequence[str]) -> list[str]:
    """Ratios so that what one divides by has been set before.

    Raises:
        InputError: they go round in a circle.
    """
    found: list[str] = []
    left = list(ratios)
    while left:
        set_later = {name.partition(RATIO)[0] for name in left}
        ready = [name for name in left if name.partition(RATIO)[2] not in set_later]
        if not ready:
            raise InputError(
                "over", " and ".join(left), "go round in a circle", "give one of the fields itself"
            )
        found += ready
        left = [name for name in left if name not in ready]
    return found


def key_of(config: SimulateConfig) -> str:
    """The address of a configuration: a hash of its fields and the version of ntkflow.

    A default given and a default left out have one address where the default is a number, and a file counts by its content.
    An end time left open stays open: it follows from the rest, but its last digit depends on the BLAS.

    Raises:
        InputError: a file that cannot be read.
    """
    return _digest(_written(_entries(_texts(config))))


def _texts(config: SimulateConfig) -> dict[str, str]:
    """The fields of a configuration as texts that are equal where they mean the same, by name."""
    values = plain_config(config)
    # Beside a file a number that is left open is the file's, whatever the default.
    if config.state is None and config.kernel_file is None:
        for name, value in itertools.chain.from_iterable(
            fallbacks(t).items() for t in ("sizes", "kernel", "initial")
        ):
            # Other defaults depend on what else is chosen.
            if values[name] is None and isinstance(value, int | float):
                values[name] = SCHEMA.typed_value(name, name, value)
    return {name: json.dumps(value) for name, value in sorted(values.items())}


def _text(name: str, value: Value) -> str:
    return json.dumps(plain_value(name, value.resolve() if isinstance(value, Path) else value))


@cache
def _usual() -> dict[str, str]:
    return _texts(SimulateConfig())


def _entries(texts: Mapping[str, str]) -> dict[str, str]:
    """What each field adds to the address: nothing at its default, so that fields that come later leave addresses as they are."""
    usual = _usual()
    return {name: "" if text == usual[name] else f',"{name}":{text}' for name, text in texts.items()}


def _written(entries: Mapping[str, str]) -> str:
    return f'{{"version":"{__version__}"{"".join(entries.values())}}}'


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:LETTERS]
