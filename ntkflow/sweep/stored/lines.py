"""Lines that tell whether they are whole: a checksum, what they are, an address, a number, and bytes without a line's end.

A process that is killed leaves at most its last line unfinished, and what is damaged in a file costs its own lines alone.
"""

from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

HEAD, SCHEMA, DONE, FAILED = b"H", b"S", b"D", b"F"
_DIGITS = 8
# A byte that stands for itself and for the line's end, with another one behind it.
_ESCAPE, _ESCAPED = b"\x1b", ((b"\x1b", b"\x1b0"), (b"\n", b"\x1b1"))


class Line(NamedTuple):
    """One line.

    Attributes:
        kind: HEAD, SCHEMA, DONE or FAILED.
        key: address of a cell, empty where it is of none.
        number: of the schema that it is, or is written by.
        sealed: what it holds, as it stands in the file.
    """

    kind: bytes
    key: str
    number: int
    sealed: bytes

    @property
    def payload(self) -> bytes:
        """What it holds."""
        found = self.sealed
        if _ESCAPE in found:
            for plain, escaped in reversed(_ESCAPED):
                found = found.replace(escaped, plain)
        return found


def written(kind: bytes, key: str, number: int, payload: bytes) -> bytes:
    """A line with its end."""
    for plain, escaped in _ESCAPED:
        payload = payload.replace(plain, escaped)
    body = b"%b%b %d %b" % (kind, key.encode(), number, payload)
    return b"%08x%b\n" % (crc32(body), body)


def read(data: bytes) -> Iterator[Line | None]:
    """The lines of a piece of a file that ends with a line; None for each that is damaged."""
    for line in data.split(b"\n")[:-1]:
        try:
            if int(line[:_DIGITS], 16) != crc32(line[_DIGITS:]):
                yield None
                continue
            head, number, sealed = line[_DIGITS:].split(b" ", 2)
            yield Line(head[:1], head[1:].decode(), int(number), sealed)
        except ValueError:
            yield None
