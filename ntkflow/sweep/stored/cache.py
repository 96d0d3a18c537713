"""The sweep directory: the specification, and one file per finished cell under its address."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs import atomic, files
from ntkflow.runs.border.reading import Shape, misfit, refuse_deep
from ntkflow.runs.config import PATHS
from ntkflow.runs.processes import locks

SPEC_FILE = "sweep.toml"
# Copies of the files that the base of a sweep names, written before its specification.
COPIES = tuple(f"{name}.npz" for name in PATHS)
# Seconds to wait for another process that makes the directory; it writes two small files.
PATIENCE = 60.0
# The record of a cell that failed.
FAILURE = {"error": {"message": str}}


def failure_of(error: BaseException) -> Json:
    """The content of a cell that failed by an error."""
    return {"error": {"kind": type(error).__name__, "message": str(error) or repr(error)}}


@runtime_checkable
class Specification(Protocol):
    """What a sweep directory asks of the sweep in it: of simulations, or of trainings."""

    def identity(self) -> str:
        """Hash of what decides the cells."""

    def stored_tables(self, directory: Path) -> Json:
        """Tables of sweep.toml that replay from the directory alone; copies what they need into it."""


class Cache:
    """Finished and failed cells of one directory. Every file appears whole: several processes may share it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._cells = directory / "cells"

    def open(self, spec: Specification, overwrite: bool = False) -> None:
        """Create the directory, or enter it again when it holds the same sweep.

        It is born whole: others see none, or one with its specification. Processes that start together share it.

        Args:
            spec: the sweep; another view of the same grid is the same sweep.
            overwrite: replace another sweep's specification; cells that both share are kept.

        Raises:
            InputError: another sweep, something else, or nothing that can be written lies there.
        """
        identity = spec.identity()
        # Looked at first, so that what is refused is not even locked.
        self._refuse_others(identity, overwrite)
        # Whoever makes the directory goes first; in one that is there, only files appear, each of them whole.
        there = (self.directory / SPEC_FILE).is_file()
        try:
            with nullcontext() if there else atomic.reserved(self.directory, PATIENCE):
                self._refuse_others(identity, overwrite)
                if self.directory.exists():
                    self._enter(self.directory, spec, identity)
                else:
                    with atomic.staged(self.directory) as born:
                        self._enter(born, spec, identity)
        except OSError as error:
            raise InputError(
                "out", self.directory, f"cannot be written ({error.strerror})", "choose another directory"
            ) from None
        for folder in (self.directory, self._cells, self.directory / "figures"):
            atomic.clean(folder)
        for remains in self._cells.glob(".*.lock"):
            # Of killed processes; one that is held stays.
            with suppress(locks.HeldError, OSError), locks.held(remains, remove=True):
                pass

    @staticmethod
    def _enter(directory: Path, spec: Specification, identity: str) -> None:
        (directory / "cells").mkdir(exist_ok=True)
        # By the token workers on other machines know the directory from one of the same name.
        record = {**files.run_versions(), "sweep": identity, "token": uuid.uuid4().hex}
        # Last, since it makes the directory one of a sweep.
        files.write_toml(directory / SPEC_FILE, {**spec.stored_tables(directory), "record": record})

    def _refuse_others(self, identity: str, overwrite: bool) -> None:
        if not self.directory.exists():
            return
        if not (self.directory / SPEC_FILE).is_file():
            if self._unborn():
                return
            raise InputError(
                "out", self.directory, "exists and is not a sweep directory", "choose another directory"
            )
        record = files.read_toml(self.directory / SPEC_FILE).get("record")
        before = record.get("sweep") if isinstance(record, dict) else None
        if before != identity and not overwrite:
            raise InputError(
                "out",
                self.directory,
                "holds another sweep",
                "choose another directory, or pass --overwrite, which keeps the cells both share",
            )

    def _unborn(self) -> bool:
        """Whether nothing is there but what a sweep was killed at when it had no specification yet."""
        if not self.directory.is_dir():
            return False
        names = {entry.name for entry in self.directory.iterdir() if not atomic.is_remains(entry)}
        return names <= {"cells", *COPIES} and not (
            self._cells.exists()
            and (not self._cells.is_dir() or any(not atomic.is_remains(e) for e in self._cells.iterdir()))
        )

    def path(self, key: str, failed: bool = False) -> Path:
        """The file of a cell, finished or failed."""
        return self._cells / (f"{key}.failed.json" if failed else f"{key}.json")

    def read(self, key: str) -> Json | None:
        """A finished cell, or None; a damaged file counts as not finished."""
        return self._content(self.path(key), key)

    def finished(self, key: str) -> bool:
        """Whether a cell is finished."""
        return self.read(key) is not None

    def refresh(self) -> None:
        """Look at what other processes have written; here every look is a new one."""

    def flush(self) -> None:
        """Let other processes see what has been written; here every file is whole and there at once."""

    def sink(self) -> object:
        """Where workers that see the directory may write by themselves; None where they hand over what they found."""
        return None

    def read_failed(self, key: str) -> Json | None:
        """The record of a cell that failed at its last attempt, or None."""
        return self._content(self.path(key, failed=True), key, FAILURE)

    @staticmethod
    def _content(path: Path, key: str, shape: Shape = object) -> Json | None:
        try:
            content = refuse_deep(json.loads(path.read_text(encoding="utf-8")))
        # Damaged or of another cell: it is run again, which costs time and loses nothing.
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(content, dict) or content.get("key") != key or misfit(content, shape):
            return None
        return content

    def failed_at(self, key: str) -> int | None:
        """When a cell failed last, in the file system's nanoseconds; None where it did not."""
        with suppress(OSError):
            return self.path(key, failed=True).stat().st_mtime_ns
        return None

    def failures(self) -> dict[str, int]:
        """When each cell failed last that did."""
        end = ".failed.json"
        keys = [path.name.removesuffix(end) for path in self._cells.glob(f"*{end}")]
        return {key: at for key in keys if (at := self.failed_at(key)) is not None}

    @contextmanager
    def claimed(self, key: str) -> Iterator[None]:
        """Keep other processes from running a cell; where nothing can be locked all may.

        Who may have been killed on another machine is not waited for: a cell that is run twice is only work.

        Raises:
            HeldError: another one has it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locks.held(self._cells / f".{key}.lock", remove=True))
            except locks.HeldError as error:
                if error.certain:
                    raise
            except OSError:
                pass
            yield

    def write(self, key: str, content: Json) -> None:
        """Record a finished or failed cell; a finished one drops the record of an earlier failure."""
        # A failure has a file of its own, so that what is finished is told from it by name, without being read.
        failed = "error" in content
        files.write_json(self.path(key, failed), {"key": key, "version": __version__, **content})
        if not failed:
            self.path(key, failed=True).unlink(missing_ok=True)

    def recorded(self, key: str, work: Callable[[], Json]) -> Json:
        """What `work` gives, written by whoever did it; nothing is done that is on record already.

        For long cells on workers that share the directory: a result that its worker could not hand over any
        more is not lost.
        """
        content = self.read(key)
        if content is None:
            # As it will be read again, in which what is not a number is None.
            content = json.loads(files.dump_json(work()))
            if self._cells.is_dir():
                self.write(key, content)
        return content
