"""What other packages bring to `nf.load`, `nf.figure` and the commands on runs: directories and files of their own kinds.

The entry points `ntkflow.load` name them. None is imported unless a path is of no kind of this package.
"""

import json
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs import rundir
from ntkflow.runs.pictures.curves import Curves
from ntkflow.runs.saved.ensembles import ARRAYS

ENTRY_POINTS = "ntkflow.load"


@runtime_checkable
class Kind(Protocol):
    """A kind of directory or file: what an entry point leads to."""

    def knows(self, path: Path) -> bool:
        """Whether it is one of these, by a look that costs little; whether it is a good one is for `load` to say."""

    def load(self, path: Path) -> object:
        """What it holds.

        Raises:
            InputError: it is damaged.
        """


@runtime_checkable
class Saved(Protocol):
    """A thing of another package that has a file of its own."""

    def save(self, path: Path | str, *, overwrite: bool = False) -> object:
        """Write it where `nf.load` finds it again.

        Raises:
            InputError: something lies there that may not be replaced.
        """


@runtime_checkable
class BroughtCurves(Protocol):
    """What has lines along time, as a figure lays them over those of others."""

    def curves(self) -> Curves:
        """What a figure needs of it."""


@runtime_checkable
class BroughtRun(Saved, BroughtCurves, Protocol):
    """A run of another package, as figures and tables put it beside those of this one."""

    @property
    def settings(self) -> Json:
        """The settings it was made with, by names of one word where that is clear."""

    def ends(self) -> Json:
        """Its `kind`, and numbers at its ends under the names that the summary of a simulation has for them."""

    def summary(self) -> Json:
        """The document that --json prints."""

    def described(self) -> str:
        """The same for people, some lines."""


def kind_of(path: Path) -> Kind | None:
    """Who can read a path that is of no kind of this package; None where nobody can."""
    for point in _points():
        kind: Kind = point.load()
        if kind.knows(path):
            return kind
    return None


def refuse_folder(path: Path) -> None:
    """Raise InputError for a folder that is no run but holds some, which are named."""
    if not path.is_dir() or is_own(path):
        return
    folders = (entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith("."))
    names = [entry.name for entry in folders if is_own(entry) or kind_of(entry) is not None]
    if names:
        runs = "one run" if len(names) == 1 else f"{len(names)} runs"
        raise InputError(
            "path",
            path,
            f"is no run, but holds {runs}: {', '.join(names)}",
            f"give one, as {path / names[0]}",
        )


def is_brought(thing: object) -> TypeGuard[Saved]:
    """Whether it is of a package that brings kinds of its own, and has a file."""
    packages = {point.module.partition(".")[0] for point in _points()}
    return type(thing).__module__.partition(".")[0] in packages and isinstance(thing, Saved)


def json_keys(path: Path) -> frozenset[str]:
    """The keys of a JSON document, by which its kind is known; none where it is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return frozenset()
    return frozenset(found) if isinstance(found, dict) else frozenset()


def _points() -> Sequence[Any]:
    # Any: not always entry points of the standard library, a backport that something else has imported gives its own.
    return sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)


def is_own(path: Path) -> bool:
    """Whether it is the directory of a run of this package."""
    return any((path / name).is_file() for name in (rundir.TRAJECTORY, ARRAYS, rundir.LAYERS))
