"""Damaged files: what becomes of a good one on a broken disk, in transit, or in the hands of somebody who means harm."""

import copy
import io
import json
import lzma
import random
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from ntkflow.errors import InputError


def member(array: np.ndarray) -> bytes:
    """An .npy."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def with_header(header: str, values: bytes = b"", version: int = 1) -> bytes:
    """An .npy with this header."""
    text = header.encode("latin1") + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + values


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def shape_header(shape: str, kind: str = "<f8") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"


# Headers that promise what is not there, or that are no headers.
HEADERS = {
    "brackets": with_header("(" * 5000),
    "deep": with_header("[" * 300 + "]" * 300),
    "minus": with_header("-" * 9000 + "1"),
    "no table": with_header("3"),
    "lacks the shape": with_header("{'descr': '<f8', 'fortran_order': False}"),
    "unknown type": with_header(shape_header("(3, 4)", "<q9")),
    "code": with_header("__import__('os').getcwd()"),
    "of 10^18": with_header(shape_header("(1000000000, 1000000000)"), bytes(96)),
    "12 GiB": with_header(shape_header("(1610612736,)"), bytes(96)),
    "negative": with_header(shape_header("(-3, -4)"), bytes(96)),
    "too few bytes": with_header(shape_header("(3, 4)"), bytes(90)),
    "too many bytes": with_header(shape_header("(3, 4)"), bytes(100)),
    "objects": member(np.array([{}, 3], dtype=object)),
    "text": member(np.array(["a", "b"])),
    "text in place of numbers": member(np.full((4, 6), "1.0")),
    "dates": member(np.zeros((4, 6), "M8[s]")),
    "records": member(np.zeros((4, 6), [("a", "f8"), ("b", "i4")])),
    "complex": member(np.zeros((4, 6), complex)),
    "truth": member(np.zeros((4, 6), bool)),
    "empty": member(np.zeros((0, 0))),
    "version 3": with_header(shape_header("(3, 4)"), bytes(96), version=3),
    "version 9": b"\x93NUMPY\x09\x00" + bytes(20),
    "no npy": b"these are no numbers",
    "nothing": b"",
    "cut in the magic": b"\x93NU",
    "long header": with_header(shape_header("(3, 4)") + " " * 70000, bytes(96), version=2),
    "NUL": with_header("\0\0\0"),
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94K\x01a.",
    "a number": member(np.float64(1)),
    "huge numbers": member(np.full((4, 6), 1e300)),
    "not finite": member(np.full((4, 6), np.nan)),
}


def archives(good: dict[str, np.ndarray], name: str) -> Iterator[tuple[str, bytes]]:
    """Damaged forms of an .npz, in one of whose arrays most of the damage is."""
    members = {f"{key}.npy": member(value) for key, value in good.items()}
    for what, content in HEADERS.items():
        yield f"{name} {what}", zipped({**members, f"{name}.npy": content})
    yield "member without .npy", zipped({**members, name: b"text"})
    yield "twice", zipped(members) + zipped(members)
    yield "empty archive", zipped({})
    yield "no archive", b"not an archive"
    yield "nothing", b""
    yield "an npy", member(good[name])
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        data = bytearray(zipped(members, method))
        start = data.index(f"{name}.npy".encode()) + len(name) + 12
        data[start : start + 16] = b"\xff" * 16
        yield f"damaged, method {method}", bytes(data)
    for flags, what in ((1, "encrypted"), (0x20, "patched"), (0x40, "strongly encrypted")):
        data = bytearray(zipped(members))
        for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            at = -1
            while (at := data.find(mark, at + 1)) >= 0:
                data[at + offset] |= flags
        yield what, bytes(data)
    data = bytearray(zipped(members))
    at = data.find(b"PK\x01\x02")
    data[at + 10 : at + 12] = struct.pack("<H", 98)
    yield "unknown method", bytes(data)
    data = bytearray(zipped(members))
    data[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)
    yield "says it unpacks to 4 GiB", bytes(data)
    whole, rng = zipped(members), random.Random(0)
    for _ in range(12):
        yield "cut short", whole[: rng.randrange(len(whole))]
    for _ in range(24):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        yield "bytes changed", bytes(data)


TEXTS = {
    "nothing": b"",
    "no text": bytes(range(256)),
    "UTF-16": "{}".encode("utf-16"),
    "brackets": b"[" * 100_000,
    "objects": b'{"a":' * 100_000,
    "a number": b"3",
    "a list": b"[1, 2]",
    "null": b"null",
    "digits": b'{"step": ' + b"9" * 6000 + b"}",
    "half": b'{"step": 3, "resu',
    "empty object": b"{}",
    "xz": lzma.compress(b"{}"),
}
TOMLS = {
    **{name: text for name, text in TEXTS.items() if name not in ("nothing", "empty object")},
    "nested arrays": b"a = " + b"[" * 5_000 + b"]" * 5_000,
    "nested tables": b"a = " + b"{a = " * 5_000 + b"1" + b"}" * 5_000,
    "dotted": b".".join([b"a"] * 3_000) + b" = 1",
    "key twice": b"a = 1\na = 2",
}
WRONG: tuple[Any, ...] = ("text", None, [], {}, -3, True, [None], 1e308, {"": []})


def documents(good: Any, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """A JSON document that is no longer one, or of another shape at one place."""
    for what, text in TEXTS.items():
        yield what, text
    places = list(_places(good, ()))
    rng = random.Random(seed)
    for _ in range(count):
        place = rng.choice(places)
        changed = copy.deepcopy(good)
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        if rng.random() < 0.3:
            del inner[place[-1]]
            what = "lacks"
        else:
            inner[place[-1]] = rng.choice(WRONG)
            what = f"{inner[place[-1]]!r} for"
        yield f"{what} {'.'.join(map(str, place))}", json.dumps(changed).encode()


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in list(entries)[:40]:
        yield (*path, key)
        # The outer levels as often as the many numbers within.
        if len(path) < 5:
            yield from _places(inner, (*path, key))


def tables(good: Mapping[str, Any], count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """A TOML file that is no longer one, or of another shape at one place."""
    yield from TOMLS.items()
    for what, text in documents(good, count, seed):
        if what not in TEXTS and b"null" not in text:
            yield what, tomli_w.dumps(json.loads(text)).encode()


def check(cases: Iterable[tuple[str, bytes]], run: Callable[[bytes], list[str]]) -> None:
    """All wrong answers at once; of no cases there would be none."""
    cases = list(cases)
    assert cases
    found = {f"{i} {what}": wrong for i, (what, content) in enumerate(cases) if (wrong := run(content))}
    assert not found, "\n".join(f"{what}: {wrong}" for what, wrong in found.items())


def refused_or_read(path: Path, cases: Iterable[tuple[str, bytes]], read: Callable[[], object]) -> int:
    """Every damaged file is read, or refused in one line; all that end otherwise at once. Returns how many were refused."""
    wrong, refused = [], 0
    for what, content in cases:
        path.write_bytes(content)
        try:
            read()
        except InputError as error:
            refused += 1
            if "\n" in str(error):
                wrong.append(f"{what}: several lines: {error}")
        except Exception as error:
            wrong.append(f"{what}: {error!r}"[:300])
    assert not wrong, "\n".join(wrong)
    return refused
