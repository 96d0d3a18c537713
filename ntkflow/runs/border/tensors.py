"""Arrays by name from files of other tools: .npz, .npy, .csv, .safetensors; nothing in them is run."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs.border.costs import refuse_large
from ntkflow.runs.border.reading import archive, misfit, reading, refuse_deep

SUFFIXES = (".npz", ".npy", ".csv", ".safetensors")
# The name that a file gets whose arrays have none.
ONLY = "H"
# Bytes of the header of a safetensors file, as its own reader limits them.
LONGEST_HEADER = 100_000_000
# Types of safetensors that numpy has; BF16 is float32 without its lower half.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1",
}  # fmt: skip
ENTRY = {"dtype": str, "shape": [int], "data_offsets": [int]}


def read_tensors(
    path: Path, argument: str, needed: Callable[[str], bool] = lambda _: True
) -> dict[str, np.ndarray]:
    """The arrays of a file whose names are needed.

    An .npy holds one array, named H. A .csv has a line of names and numbers below; a column named y, label or
    labels becomes y (numbers or text), all others together, in their order, the rows of H.

    Raises:
        InputError: of another kind, missing, damaged, larger than fits, or with Python objects.
    """
    readers = {".npz": _npz, ".npy": _npy, ".csv": _csv, ".safetensors": _safetensors}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(argument, path, f"must end in {', '.join(SUFFIXES)}", "save it as one of these")
    return reader(path, argument, needed)


def _npz(path: Path, argument: str, needed: Callable[[str], bool]) -> dict[str, np.ndarray]:
    return archive(path, argument, needed)[0]


def _npy(path: Path, argument: str, needed: Callable[[str], bool]) -> dict[str, np.ndarray]:
    with reading(argument, path, ".npy"):
        refuse_large(argument, path, path.stat().st_size, "has")
        # Mapped first: a header that promises more than the file holds fails before anything is allocated.
        array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    return {ONLY: array} if needed(ONLY) else {}


def _csv(path: Path, argument: str, needed: Callable[[str], bool]) -> dict[str, np.ndarray]:
    with reading(argument, path, ".csv", "give a line of names and rows of numbers"):
        # Text and numbers of a line take some times its letters.
        refuse_large(argument, path, 10 * path.stat().st_size, "unpacks to about")
        with path.open(encoding="utf-8-sig", newline="") as handle:
            import csv

            lines = [line for line in csv.reader(handle) if line]
        names = [name.strip() for name in lines[0]] if lines else []
        if len(lines) < 2:
            raise ValueError("it has no rows below a line of names")
        if all(_number(name) for name in names):
            raise ValueError("its first line are numbers, not names")
        uneven = next((k for k, line in enumerate(lines, 1) if len(line) != len(names)), None)
        if uneven is not None:
            raise ValueError(f"line {uneven} has {len(lines[uneven - 1])} columns of {len(names)}")
        of_labels = [k for k, name in enumerate(names) if name.lower() in ("y", "label", "labels")]
        if len(of_labels) > 1:
            raise ValueError("it has several columns of labels")
        kept = [k for k in range(len(names)) if k not in of_labels]
        found = {ONLY: np.array([[float(line[k]) for k in kept] for line in lines[1:]])}
        if of_labels:
            found["y"] = _labels([line[of_labels[0]].strip() for line in lines[1:]])
    return {name: array for name, array in found.items() if needed(name)}


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(texts: list[str]) -> np.ndarray:
    return np.array([float(text) for text in texts] if all(map(_number, texts)) else texts)


def _safetensors(path: Path, argument: str, needed: Callable[[str], bool]) -> dict[str, np.ndarray]:
    with reading(argument, path, ".safetensors"), path.open("rb") as handle:
        total = path.stat().st_size
        size = int.from_bytes(handle.read(8), "little")
        if total < 8 or size > min(LONGEST_HEADER, total - 8):
            raise ValueError("its header is longer than the file")
        header = refuse_deep(json.loads(handle.read(size)))
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
        header.pop("__metadata__", None)
        wrong = misfit(header, {"*": ENTRY})
        if wrong:
            raise ValueError(wrong)
        wanted = {name: entry for name, entry in header.items() if needed(name)}
        start = 8 + size
        spans = {name: _span(name, entry, total - start) for name, entry in wanted.items()}
        refuse_large(argument, path, 2 * sum(end - begin for begin, end in spans.values()), "needs")
        found = {}
        for name, (begin, end) in spans.items():
            handle.seek(start + begin)
            found[name] = _tensor(handle.read(end - begin), wanted[name])
    return found


def _span(name: str, entry: Json, most: int) -> tuple[int, int]:
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"{name!r} is of the unknown type {entry['dtype'][:20]}")
    if len(entry["data_offsets"]) != 2 or min([*entry["data_offsets"], *entry["shape"]]) < 0:
        raise ValueError(f"{name!r} lies nowhere")
    begin, end = entry["data_offsets"]
    promised = math.prod(entry["shape"]) * np.dtype(DTYPES[entry["dtype"]]).itemsize
    if not begin <= end <= most or end - begin != promised:
        raise ValueError(f"{name!r} has {end - begin} bytes for an array of shape {entry['shape']}")
    return begin, end


def _tensor(content: bytes, entry: Json) -> np.ndarray:
    array = np.frombuffer(content, DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":
        array = (array.astype("<u4") << 16).view("<f4")
    return array.reshape(entry["shape"])
