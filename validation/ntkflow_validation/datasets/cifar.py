"""CIFAR-10: the binary version and the python version, unpacked or as the archive.

The python version is a pickle, and loading a pickle runs whatever it names. Here it may name only the three
things that an array of bytes consists of, and these are read as plain data by the classes below.
"""

import codecs
import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ntkflow.errors import InputError
from ntkflow.runs.border.reading import reading
from ntkflow_validation.config.config import DataConfig
from ntkflow_validation.datasets.base import Dataset, Images, from_two_sets
from ntkflow_validation.datasets.locate import find
from ntkflow_validation.datasets.tarball import members

SIDE, CHANNELS = 32, 3
VALUES = SIDE * SIDE * CHANNELS
BINARY = [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]
PYTHON = [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]
# folder in the archive, names of the training and test batches
VERSIONS = (("cifar-10-batches-bin", BINARY), ("cifar-10-batches-py", PYTHON))
ARCHIVES = (("cifar-10-binary.tar.gz", VERSIONS[0]), ("cifar-10-python.tar.gz", VERSIONS[1]))
Contents = dict[str, bytes]
# Bytes of a batch, with room: 10,000 images take 31 million.
LONGEST = 1 << 28
REMEDY = "download it again"


def read_cifar10(config: DataConfig, seed: int) -> Dataset:
    """CIFAR-10, (N, 32, 32, 3)."""
    contents, (training, testing) = _contents(find(config.name, complete))
    sets = [_joined([_parse(name, contents[name]) for name in names]) for names in (training, testing)]
    return from_two_sets(sets[0], sets[1], config, seed)


def complete(folder: Path | str) -> bool:
    """Whether a folder has one of the two versions, unpacked or as an archive."""
    folder = Path(folder)
    unpacked = any(_folder(folder, inner, names) for inner, names in VERSIONS)
    return unpacked or any((folder / archive).is_file() for archive, _ in ARCHIVES)


def read_binary(name: str, data: bytes) -> Images:
    """Records of one byte for the label and 3072 for the pixels, channel by channel.

    Raises:
        InputError: the length is not a whole number of records, or a label is above 9.
    """
    if len(data) == 0 or len(data) % (1 + VALUES):
        raise InputError(
            "data", name, f"has {len(data)} bytes, not whole records of {1 + VALUES}", "download it again"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + VALUES)
    return _checked(name, records[:, 1:], records[:, 0])


def read_python(name: str, data: bytes) -> Images:
    """A pickled dictionary with the arrays b"data" (N, 3072) and b"labels" (N).

    Raises:
        InputError: the pickle is broken, names anything but a byte array, or does not hold these two.
    """
    try:
        _refuse_memo(data)
        table = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        table = {k.decode() if isinstance(k, bytes) else k: v for k, v in table.items()}
        pixels, labels = table["data"], np.array(table["labels"], dtype=np.int64)
        pixels = pixels.value() if isinstance(pixels, _Array) else None
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError("data", name, f"is not a CIFAR-10 batch ({error!r})", "download it again") from None
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != VALUES or labels.shape != (len(pixels),):
        raise InputError("data", name, "has no array of N x 3072 bytes with N labels", "download it again")
    return _checked(name, pixels, labels)


def _refuse_memo(data: bytes) -> None:
    """Refuse a pickle that numbers what it remembers beyond its own length: room is made for all numbers up to it."""
    for code, number, _ in pickletools.genops(data):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(number or 0) > len(data):
            raise ValueError(f"it remembers {number} things in {len(data)} bytes")


class _Array:
    """What a pickle says about an array of bytes, without numpy taking part."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def value(self) -> np.ndarray:
        _, shape, kind, column_major, content = self.state
        if not isinstance(kind, _Kind) or kind.code not in ("u1", b"u1", "|u1", b"|u1"):
            raise ValueError("not an array of unsigned bytes")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if column_major else "C")


class _Kind:
    """An array's element type, by its code."""

    def __init__(self, code: object, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        pass


def _bytes(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes in an old pickle protocol."""
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return codecs.latin_1_encode(text)[0]


class _Unpickler(pickle.Unpickler):
    """Refuses every name that a byte array does not need."""

    ALLOWED: dict[tuple[str, str], Callable[..., object]] = {  # noqa: RUF012 - read only
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _bytes,
    }

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if (module, name) not in self.ALLOWED:
            raise InputError(
                "data",
                f"{module}.{name}",
                "is named in a pickle that should hold bytes only; it was not loaded",
                "do not use this file",
            )
        return self.ALLOWED[module, name]


def _parse(name: str, data: bytes) -> Images:
    return read_binary(name, data) if name.endswith(".bin") else read_python(name, data)


def _checked(name: str, pixels: np.ndarray, labels: np.ndarray) -> Images:
    if labels.size == 0 or labels.min() < 0 or labels.max() > 9:
        raise InputError("data", name, "has no labels or labels outside 0 .. 9", "download it again")
    images = pixels.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
    return Images(images, labels.astype(np.int64))


def _joined(parts: list[Images]) -> Images:
    return Images(np.concatenate([p.pixels for p in parts]), np.concatenate([p.labels for p in parts]))


def _folder(folder: Path, inner: str, names: tuple[list[str], list[str]]) -> Path | None:
    for place in (folder / inner, folder):
        if all((place / name).is_file() for part in names for name in part):
            return place
    return None


def _contents(folder: Path) -> tuple[Contents, tuple[list[str], list[str]]]:
    for inner, names in VERSIONS:
        place = _folder(folder, inner, names)
        if place is not None:
            return {name: _whole_file(place / name) for part in names for name in part}, names
    archive, (inner, names) = next(a for a in ARCHIVES if (folder / a[0]).is_file())
    return _from_archive(folder / archive, inner, [name for part in names for name in part]), names


def _from_archive(path: Path, inner: str, names: list[str]) -> Contents:
    """Members are read in memory; nothing is unpacked to the disk."""
    found = members(path, [f"{inner}/{name}" for name in names], LONGEST, REMEDY)
    return {name: found[f"{inner}/{name}"] for name in names}


def _whole_file(path: Path) -> bytes:
    with reading("data", path, "a batch of CIFAR-10", REMEDY):
        _refuse_long(path, path.stat().st_size)
        return path.read_bytes()


def _refuse_long(name: object, size: int) -> None:
    if size > LONGEST:
        raise InputError("data", name, f"has {size} bytes, a batch has at most {LONGEST}", REMEDY)
