"""MNIST and Fashion-MNIST: the IDX format, gzipped or not."""

import gzip
import math
import struct
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from ntkflow.errors import InputError
from ntkflow.runs.border.costs import refuse_large
from ntkflow.runs.border.reading import reading
from ntkflow_validation.config.config import DataConfig
from ntkflow_validation.datasets.base import Dataset, Images, from_two_sets
from ntkflow_validation.datasets.locate import find

UBYTE = 0x08
REMEDY = "download it again"
TRAIN, TEST = ("train-images", "train-labels"), ("t10k-images", "t10k-labels")


def read_idx(path: Path | str) -> np.ndarray:
    """The array of unsigned bytes in an IDX file.

    The format: two zero bytes, the type (8, unsigned byte), the number of axes, their sizes as big-endian
    32-bit integers, then the values.

    Raises:
        InputError: the file cannot be read, is not IDX, or is shorter or longer than its header says.
    """
    with reading("data", path, "IDX", REMEDY), _opened(Path(path)) as file:
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] != UBYTE:
            raise InputError("data", path, "is not an IDX file of unsigned bytes", REMEDY)
        sizes = file.read(4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise InputError("data", path, "ends inside its header", REMEDY)
        shape = struct.unpack(f">{head[3]}I", sizes)
        expected = math.prod(shape)
        refuse_large("data", path, expected)
        # One byte more, to see whether there is more: what it unpacks to may be without end.
        data = file.read(expected + 1)
        if len(data) != expected:
            found = f"has {len(data)} bytes of values{' or more' if len(data) > expected else ''}"
            raise InputError("data", path, f"{found}, its header says {expected}", REMEDY)
        return np.frombuffer(data, np.uint8).reshape(shape)


def _opened(path: Path) -> BufferedIOBase:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def read_pair(folder: Path | str, names: tuple[str, str]) -> Images:
    """Images and labels that belong together.

    Raises:
        InputError: a file is broken, or the two do not fit.
    """
    images, labels = read_idx(_file(folder, names[0], 3)), read_idx(_file(folder, names[1], 1))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise InputError(
            "data",
            folder,
            f"{names[0]} of shape {images.shape} and {names[1]} of shape {labels.shape} do not fit",
            "download both again",
        )
    if images.size == 0:
        raise InputError("data", folder, f"{names[0]} of shape {images.shape} holds no pixel", REMEDY)
    return Images(images[..., None], labels)


def read_mnist(config: DataConfig, seed: int) -> Dataset:
    """MNIST or Fashion-MNIST, (N, 28, 28, 1)."""
    folder = find(config.name, complete)
    return from_two_sets(read_pair(folder, TRAIN), read_pair(folder, TEST), config, seed)


def complete(folder: Path | str) -> bool:
    """Whether a folder has all four files."""
    wanted = [(name, axes) for names in (TRAIN, TEST) for name, axes in zip(names, (3, 1), strict=True)]
    return all(_candidates(folder, name, axes) for name, axes in wanted)


def _candidates(folder: Path | str, name: str, axes: int) -> list[Path]:
    stems = (f"{name}-idx{axes}-ubyte", f"{name}.idx{axes}-ubyte")
    return [p for stem in stems for p in (Path(folder, stem), Path(folder, f"{stem}.gz")) if p.is_file()]


def _file(folder: Path | str, name: str, axes: int) -> Path:
    return _candidates(folder, name, axes)[0]
