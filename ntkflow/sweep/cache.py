"""The sweep directory: the specification, and one file per finished cell under its address."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ntkflow import __version__, store
from ntkflow._types import Json
from ntkflow.errors import InputError

SPEC_FILE = "sweep.toml"


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

        Args:
            spec: the sweep; another view of the same grid is the same sweep.
            overwrite: replace another sweep's specification; cells that both share are kept.

        Raises:
            InputError: another sweep, something else, or nothing that can be written lies there.
        """
        identity = spec.identity()
        self._refuse_others(identity, overwrite)
        try:
            self._cells.mkdir(parents=True, exist_ok=True)
            record = {**store.run_versions(), "sweep": identity}
            tables = {**spec.stored_tables(self.directory), "record": record}
            store.write_toml(self.directory / SPEC_FILE, tables)
        except OSError as error:
            raise InputError(
                "out", self.directory, f"cannot be written ({error.strerror})", "choose another directory"
            ) from None

    def _refuse_others(self, identity: str, overwrite: bool) -> None:
        if not self.directory.exists():
            return
        if not (self.directory / SPEC_FILE).is_file():
            if self.directory.is_dir() and not any(self.directory.iterdir()):
                return
            raise InputError(
                "out", self.directory, "exists and is not a sweep directory", "choose another directory"
            )
        before = store.read_toml(self.directory / SPEC_FILE).get("record", {}).get("sweep")
        if before != identity and not overwrite:
            raise InputError(
                "out",
                self.directory,
                "holds another sweep",
                "choose another directory, or pass --overwrite, which keeps the cells both share",
            )

    def _path(self, key: str, failed: bool = False) -> Path:
        return self._cells / (f"{key}.failed.json" if failed else f"{key}.json")

    def read(self, key: str) -> Json | None:
        """A finished cell, or None; a damaged file counts as not finished."""
        return self._content(self._path(key), key)

    def read_failed(self, key: str) -> Json | None:
        """The record of a cell that failed at its last attempt, or None."""
        return self._content(self._path(key, failed=True), key)

    def _content(self, path: Path, key: str) -> Json | None:
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and content.get("key") == key else None

    def write(self, key: str, content: Json) -> None:
        """Record a finished or failed cell; a finished one drops the record of an earlier failure."""
        failed = "error" in content
        store.write_json(self._path(key, failed), {"key": key, "version": __version__, **content})
        if not failed:
            self._path(key, failed=True).unlink(missing_ok=True)

    def recorded(self, key: str, work: Callable[[], Json]) -> Json:
        """What `work` gives, written by whoever did it; nothing is done that is on record already.

        For long cells on workers that share the directory: a result that its worker could not hand over any
        more is not lost.
        """
        content = self.read(key)
        if content is None:
            # As it will be read again, in which what is not a number is None.
            content = json.loads(store.dump_json(work()))
            if self._cells.is_dir():
                self.write(key, content)
        return content
