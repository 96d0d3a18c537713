"""The guard around every reader: whatever a damaged file makes it raise is one sentence; no more is read than fits.

A damaged file makes a parser raise almost anything (zipfile alone has nine exceptions), so the guard takes every
`Exception`. What stands under it only parses; the work with what was read stands outside.
"""

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from ntkflow._types import Document, Floats, Json
from ntkflow.errors import InputError
from ntkflow.runs.border.costs import refuse_large

T = TypeVar("T")

DEEP = "it is nested too deep"
# Levels of a document; ours have less than ten.
DEEPEST = 50
DAMAGED = "it may be truncated or of another format"
# Bytes in which the header of an array has to end; numpy itself takes no longer one for safe.
HEADER = 1 << 16


@contextmanager
def reading(argument: str, path: object, form: str, remedy: str = DAMAGED) -> Iterator[None]:
    """Whatever is raised while a file is read becomes one `InputError` that names it.

    Args:
        argument: what the file was given as.
        path: the file.
        form: what it should have been, as ".npz".
        remedy: what to do.

    Raises:
        InputError: as it was raised inside, or in place of everything else but Ctrl-C.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(argument, path, "cannot be read, it does not exist", "check the path") from None
    except OSError as error:
        rule = f"cannot be read as {form} ({error.strerror or _first_line(error)})"
        raise InputError(argument, path, rule, remedy if error.errno is None else "check the path") from None
    except (RecursionError, MemoryError):
        raise InputError(argument, path, f"cannot be read as {form} ({DEEP})", remedy) from None
    except Exception as error:
        rule = f"cannot be read as {form} ({_first_line(error)})"
        raise InputError(argument, path, rule, remedy) from None


def _first_line(error: Exception) -> str:
    text = (str(error).splitlines() or [""])[0].strip()
    if isinstance(error, KeyError):
        return f"it lacks {text}"
    # What a damaged file says about itself may be as long as it likes.
    return text[:200] or type(error).__name__


def archive(
    path: Path, argument: str, needed: Callable[[str], bool] = lambda _: True
) -> tuple[dict[str, Floats], tuple[str, ...]]:
    """The arrays of an .npz whose names are needed, and the names of all.

    Headers are looked at first: an array is not allocated unless the archive has as many bytes for it as it promises,
    and all of them fit into memory.

    Raises:
        InputError: the file is missing, damaged, no .npz, too large, or holds Python objects.
    """
    with reading(argument, path, ".npz"), path.open("rb") as handle:
        if not zipfile.is_zipfile(handle):
            raise zipfile.BadZipFile("it is no .npz archive")
        with zipfile.ZipFile(handle) as members:
            found = {info.filename.removesuffix(".npy"): info for info in members.infolist()}
            wanted = {name: info for name, info in found.items() if needed(name)}
            refuse_large(argument, path, sum(info.file_size for info in wanted.values()))
            arrays = {}
            for name, info in wanted.items():
                with cast(zipfile.ZipExtFile, members.open(info)) as member:
                    arrays[name] = _array(name, member, info.file_size)
    return arrays, tuple(found)


def _array(name: str, member: zipfile.ZipExtFile, size: int) -> Floats:
    """One array of an archive, read as numpy does but for what its header may promise."""
    head = io.BytesIO(member.read(HEADER))
    version = np.lib.format.read_magic(head)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name!r} is of the unknown version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, column_major, dtype = read(head)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    count = math.prod(shape)
    promised = count * dtype.itemsize
    if any(length < 0 for length in shape) or promised != size - head.tell():
        raise ValueError(f"{name!r} has {size - head.tell()} bytes for an array of shape {shape}")
    flat = np.empty(count, dtype)
    if promised:
        content = memoryview(flat.view(np.uint8))  # type: ignore[arg-type]
        start = head.readinto(content)
        while start < promised:
            got = member.readinto(content[start:])
            if not got:
                raise EOFError(f"{name!r} is cut short")
            start += got
        if member.read(1):
            raise ValueError(f"{name!r} is longer than its header says")
    return flat.reshape(shape[::-1]).T if column_major else flat.reshape(shape)


def refuse_deep(document: T) -> T:
    """The document itself; one that whoever prints or compares it could not get to the end of raises ValueError."""
    level = [document]
    for _ in range(DEEPEST):
        level = [
            v for d in level if isinstance(d, dict | list) for v in (d.values() if isinstance(d, dict) else d)
        ]
        if not level:
            return document
    raise ValueError(DEEP)


# What a JSON document has to look like: a type; a tuple of what it may be; a list of one for all entries; a table of
# keys, in which those with ? may be missing and * stands for all others; object is anything.
Shape = Any
NOTHING = type(None)
NUMBER = (NOTHING, int, float)  # NaN is written as null


def read_json(path: Path, argument: str, remedy: str, shape: Shape = None) -> Json:
    """A JSON document of the shape that its readers rely on.

    Raises:
        InputError: it is missing, no JSON, no object, or of another shape.
    """
    with reading(argument, path, "JSON", remedy):
        found = refuse_deep(json.loads(path.read_text(encoding="utf-8")))
        wrong = misfit(found, shape or {})
    if wrong:
        raise InputError(argument, path, wrong, remedy)
    return dict(found)


def misfit(value: object, shape: Shape, where: str = "") -> str | None:
    """What of a document is not as `shape` says; None where all is."""
    name = where or "the document"
    if isinstance(shape, dict):
        return _misfit_table(value, shape, where) if isinstance(value, Mapping) else f"{name} is no object"
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{name} is no list"
        wrongs = (misfit(v, shape[0], f"{where}[{i}]") for i, v in enumerate(value))
        return next((wrong for wrong in wrongs if wrong), None)
    if isinstance(shape, tuple):
        found = [misfit(value, kind, where) for kind in shape]
        return None if None in found else found[-1]
    # A truth value is an int to Python and none to a reader.
    right = shape is object or (isinstance(value, shape) and isinstance(value, bool) <= (shape is bool))
    return None if right else f"{name} is of another type ({type(value).__name__})"


def _misfit_table(value: Document, shape: Mapping[str, Shape], where: str) -> str | None:
    prefix = f"{where}." if where else ""
    named = {key.rstrip("?"): inner for key, inner in shape.items() if key != "*"}
    for key in shape:
        if key != "*" and not key.endswith("?") and key not in value:
            return f"lacks {prefix}{key}"
    for key, entry in value.items():
        wrong = misfit(entry, named.get(key, shape.get("*", object)), f"{prefix}{key}")
        if wrong:
            return wrong
    return None
