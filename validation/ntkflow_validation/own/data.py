"""A user's own samples: an .npz of X and y, perhaps of X_test and y_test, checked array by array."""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ntkflow.errors import InputError
from ntkflow.foreign.labels import is_one_hot
from ntkflow.problem.sizes import repeated
from ntkflow.runs.border.reading import archive, reading

SUFFIX = ".npz"
ENVIRONMENT = "NTKFLOW_DATA"
NAMES = ("X", "y", "X_test", "y_test")
# Names of classes that a sentence can hold.
SHOWN = 12


@dataclass(frozen=True, eq=False)
class OwnData:
    """The arrays of a file; classes are numbered 0 .. C-1 in the order of their labels.

    Attributes:
        X: inputs, (N, ...), uint8 or float32.
        classes: class of each, int64, (N,).
        X_test: test inputs; None where the file has none.
        classes_test: their classes.
        names: the labels as they stand in the file, sorted; for one-hot labels 0 .. C-1.
    """

    X: np.ndarray
    classes: np.ndarray
    X_test: np.ndarray | None
    classes_test: np.ndarray | None
    names: tuple[int, ...]


@dataclass(frozen=True)
class Contents:
    """What is known of a file before its inputs are read.

    Attributes:
        sha256: of its bytes.
        counts: training samples of each class.
        names: see `OwnData`.
    """

    sha256: str
    counts: tuple[int, ...]
    names: tuple[int, ...]


def is_own(name: object) -> bool:
    """Whether a data set's name is the path of a file."""
    return isinstance(name, str) and name.endswith(SUFFIX)


def absolute(name: str, folder: Path | str | None = None) -> str:
    """The path from the root, so that a run finds it from every folder; a relative one begins at `folder` or here."""
    with reading("data.name", repr(name), "a path"):
        return str((Path(folder or "") / Path(name).expanduser()).resolve())


def located(name: str) -> Path:
    """The file; where it has gone, one of its name in the folder of NTKFLOW_DATA (the option --data-dir).

    Raises:
        InputError: it is in neither.
    """
    path, told = Path(name), os.environ.get(ENVIRONMENT)
    if not path.is_file() and told:
        path = Path(told) / path.name
    if not path.is_file():
        looked = f"{name} or {path}" if str(path) != name else name
        raise InputError(
            "data.name", name, f"there is no file {looked}", "put it back, or give its folder as --data-dir"
        )
    return path


def contents(name: str) -> Contents:
    """Hash, classes and counts of a file.

    Raises:
        InputError: it is not there, damaged, or its labels are none.
    """
    path = located(name)
    return _contents(path, *_stamp(path))


@lru_cache(maxsize=16)
def _contents(path: Path, changed: int, size: int) -> Contents:
    del changed, size
    path = Path(path)
    arrays, _ = archive(path, "data", lambda member: member == "y")
    classes, names = _classes(path, "y", arrays)
    return Contents(sha256_of(path), tuple(np.bincount(classes).tolist()), names)


def verify(name: str, sha256: str) -> Path:
    """The file, known to be the one of this hash.

    Raises:
        InputError: it is not there, or another one.
    """
    path = located(name)
    found = _sha256(path, *_stamp(path))
    if found != sha256:
        raise InputError(
            "data.sha256",
            sha256,
            f"{path} has another hash, {found}: it is not the file the run was made with",
            "put that one back, or start a new run",
        )
    return path


def sha256_of(path: Path | str) -> str:
    """The hash of a file's bytes, in hexadecimal.

    Raises:
        InputError: it cannot be read.
    """
    place = Path(path)
    return _sha256(place, *_stamp(place))


@lru_cache(maxsize=16)
def _sha256(path: Path, changed: int, size: int) -> str:
    del changed, size
    with reading("data", path, "a file"), path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when a file does, so that an unchanged one is not read again."""
    with reading("data", path, "a file"):
        found = path.stat()
    return found.st_mtime_ns, found.st_size


def read(path: Path | str) -> OwnData:
    """All arrays of a file.

    Raises:
        InputError: it is damaged or too large, one is missing, of another type or shape, or not finite.
    """
    path = Path(path)
    arrays, _ = archive(path, "data", lambda member: member in NAMES)
    classes, names = _classes(path, "y", arrays)
    X = _inputs(path, "X", arrays, len(classes))
    if ("X_test" in arrays) != ("y_test" in arrays):
        lone = "X_test" if "X_test" in arrays else "y_test"
        raise _refusal(path, f"has {lone} alone", "give X_test and y_test, or neither")
    if "X_test" not in arrays:
        return OwnData(X, classes, None, None, names)
    tested, _ = _classes(path, "y_test", arrays, names, _row(arrays["y"]).ndim)
    X_test = _inputs(path, "X_test", arrays, len(tested))
    if (X_test.shape[1:], X_test.dtype) != (X.shape[1:], X.dtype):
        rule = f"has X_test of {_form(X_test)} and X of {_form(X)}"
        raise _refusal(path, rule, "make inputs and their type the same")
    return OwnData(X, classes, X_test, tested, names)


def _inputs(path: Path, name: str, arrays: dict[str, np.ndarray], N: int) -> np.ndarray:
    if name not in arrays:
        raise _refusal(path, f"lacks {name!r}", "save it with np.savez(path, X=X, y=y)")
    X = np.asarray(arrays[name])
    if X.dtype != np.uint8 and X.dtype.kind != "f":
        raise _refusal(path, f"has {name} of type {X.dtype}", "make it uint8, or floats: X.astype('float32')")
    if X.ndim < 2 or len(X) != N:
        rule = f"has {name} of shape {X.shape} for {N} labels"
        raise _refusal(path, rule, "samples come first: (N, features) or (N, height, width, channels)")
    if X[:1].size == 0:
        raise _refusal(path, f"has {name} of shape {X.shape}, without a number", "give inputs")
    # What does not fit into a float32 is as little a number for the network as what is none.
    with np.errstate(over="ignore"):
        X = X if X.dtype == np.uint8 else X.astype(np.float32)
    if X.dtype != np.uint8 and not np.isfinite(X).all():
        bad = int(X.size - np.isfinite(X).sum())
        raise _refusal(path, f"has {name} with {bad} entries that are not finite float32 numbers", "clean it")
    return X


def _classes(
    path: Path, name: str, arrays: dict[str, np.ndarray], known: tuple[int, ...] = (), axes: int = 0
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Class of each sample, and the labels of the classes: those that are known, or those that occur."""
    if name not in arrays:
        raise _refusal(path, f"lacks {name!r}", "save it with np.savez(path, X=X, y=y)")
    y = _row(arrays[name])
    if axes and y.ndim != axes:
        raise _refusal(
            path, f"has {name} of shape {y.shape}, unlike y", "give both as integers or as one-hot"
        )
    if y.ndim == 2:
        return _from_one_hot(path, name, y, len(known))
    if y.ndim != 1 or y.dtype.kind not in "iu":
        rule = f"has {name} of {_form(y)}"
        raise _refusal(path, rule, "labels are N whole numbers, or one-hot rows (N, C): y.astype(int)")
    labels, classes = np.unique(y, return_inverse=True)
    if not known:
        _refuse_few(path, name, labels)
        return classes.astype(np.int64), tuple(labels.tolist())
    strange = sorted(set(labels.tolist()) - set(known))
    if strange:
        raise _refusal(path, f"has the label {strange[0]} in {name}, and not in y", "drop these samples")
    numbers = {label: c for c, label in enumerate(known)}
    return np.array([numbers[label] for label in labels.tolist()], np.int64)[classes], known


def _row(y: np.ndarray) -> np.ndarray:
    """A column of labels as the labels."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else np.asarray(y)


def _from_one_hot(path: Path, name: str, y: np.ndarray, known: int) -> tuple[np.ndarray, tuple[int, ...]]:
    if y.dtype.kind not in "iufb" or not is_one_hot(y):
        rule = f"has {name} of shape {y.shape} that is not one-hot"
        raise _refusal(path, rule, "give one 1 in each row and zeros, or N whole numbers")
    if known and y.shape[1] != known:
        raise _refusal(path, f"has {name} with {y.shape[1]} columns and y with {known}", "make them the same")
    classes = y.argmax(axis=1).astype(np.int64)
    if not known:
        _refuse_few(path, name, np.arange(y.shape[1]))
        empty = np.flatnonzero(np.bincount(classes, minlength=y.shape[1]) == 0)
        if empty.size:
            raise _refusal(path, f"has no sample of class {empty[0]}", "drop that column")
    return classes, tuple(range(y.shape[1]))


def _refuse_few(path: Path, name: str, labels: np.ndarray) -> None:
    if len(labels) < 2:
        raise _refusal(path, f"has {len(labels)} class(es) in {name}", "give at least 2")


def _refusal(path: Path, rule: str, remedy: str) -> InputError:
    return InputError("data", path, rule, remedy)


def _form(array: np.ndarray) -> str:
    return f"type {array.dtype} and shape {array.shape}"


def said(name: str, found: Contents) -> str:
    """In a sentence: which labels are which classes, and how many samples they have."""
    labels = repeated(found.names) if len(found.names) <= SHOWN else f"{found.names[0]} .. {found.names[-1]}"
    numbered = found.names == tuple(range(len(found.names)))
    renamed = "" if numbered else f", the labels {labels} in this order"
    return (
        f"{Path(name).name}: classes 0 .. {len(found.names) - 1}{renamed}; {repeated(found.counts)} samples"
    )
