"""Rows of numbers as few bytes: what a row has in common with the first of its kind costs nothing."""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ntkflow._types import Floats, Integers, Json, Truths

LEVEL = 6
# Numbers with digits down there are equal because they are the same thing under two names, not by chance.
_LOW = np.uint64(2**26 - 1)
Row = Mapping[str, float | str]


@dataclass(frozen=True, eq=False)
class Schema:
    """What rows of one kind have in common.

    Attributes:
        names: of their numbers, in order.
        texts: the same in all of them.
        first: numbers of the first such row; a row is told by its differences from it, bit by bit.
    """

    names: tuple[str, ...]
    texts: Mapping[str, str]
    first: Floats

    @cached_property
    def like(self) -> Integers:
        """For each number the place of an earlier one that is the same thing under another name; its own where none is."""
        places: dict[int, int] = {}
        bits = self.first.view(np.uint64)
        return np.array(
            [places.setdefault(int(b), k) if b & _LOW else k for k, b in enumerate(bits)], dtype=np.int64
        )

    @classmethod
    def of(cls, row: Row) -> "Schema":
        """The kind of which a row is the first."""
        numbers = {name: value for name, value in row.items() if not isinstance(value, str)}
        texts = {name: value for name, value in row.items() if isinstance(value, str)}
        return cls(tuple(numbers), texts, np.array(list(numbers.values()), dtype=float))

    def fits(self, row: Row) -> bool:
        """Whether a row can be told by this schema; a number it lacks is NaN then."""
        texts = self.texts
        # Its own words first, which are few; then nothing else may be one, and no number may be new.
        if any(row.get(name) != text for name, text in texts.items()):
            return False
        numbers = row.keys() - texts.keys()
        return numbers <= self._known and not any(isinstance(row[name], str) for name in numbers)

    def packed(self, row: Row) -> bytes:
        """The numbers of a row that fits."""
        get, nothing = row.get, float("nan")
        values = np.array([get(name, nothing) for name in self.names], dtype=float).view(np.uint64)
        differing = values ^ np.where(self._roots, self._first, values[self.like])
        # Bytes of the same place side by side, and last what is there twice: those that agree are long runs of zeros.
        return zlib.compress(differing[self._order].view(np.uint8).reshape(-1, 8).T.tobytes(), LEVEL)

    def unpacked(self, rows: Sequence[bytes]) -> Floats:
        """The numbers of rows, (len(rows), len(names)).

        Raises:
            ValueError: bytes of something else.
        """
        shape = (len(rows), 8, len(self.names))
        try:
            data = np.frombuffer(b"".join(map(zlib.decompress, rows)), np.uint8).reshape(shape)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        differing = np.empty((len(rows), len(self.names)), np.uint64)
        differing[:, self._order] = np.ascontiguousarray(data.transpose(0, 2, 1)).view(np.uint64)[..., 0]
        differing[:, self._roots] ^= self.first.view(np.uint64)[self._roots]
        others = np.flatnonzero(~self._roots)
        differing[:, others] ^= differing[:, self.like[others]]
        found: Floats = differing.view(float)
        return found

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def _first(self) -> npt.NDArray[np.uint64]:
        return self.first.view(np.uint64)

    @cached_property
    def _roots(self) -> Truths:
        roots: Truths = self.like == np.arange(len(self.like))
        return roots

    @cached_property
    def _order(self) -> Integers:
        return np.argsort(~self._roots, kind="stable")

    def dump(self) -> bytes:
        """As bytes, for a file."""
        first = base64.b85encode(self.first.tobytes()).decode()
        return json.dumps({"names": self.names, "texts": self.texts, "first": first}).encode()

    @classmethod
    def load(cls, data: bytes) -> "Schema":
        """Inverse of `dump`.

        Raises:
            ValueError: bytes of something else.
        """
        try:
            found: Json = json.loads(data)
            names = tuple(map(str, found["names"]))
            texts = {str(name): str(text) for name, text in found["texts"].items()}
            first = np.frombuffer(base64.b85decode(found["first"]), dtype=float)
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"no schema: {error!r}") from None
        if len(first) != len(names):
            raise ValueError(f"{len(first)} numbers under {len(names)} names")
        return cls(names, texts, first)


class Schemas:
    """The schemas of one file, made as rows ask for them."""

    def __init__(self, known: Iterable[Schema] = ()) -> None:
        self.known = list(known)

    def number(self, row: Row) -> tuple[int, bool]:
        """Of the schema by which a row is told, and whether it is a new one."""
        for number, schema in enumerate(self.known):
            if schema.fits(row):
                return number, False
        self.known.append(Schema.of(row))
        return len(self.known) - 1, True
