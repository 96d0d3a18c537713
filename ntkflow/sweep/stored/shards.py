"""Where finished cells of simulations go: every process that finishes some appends to a file of its own, a shard.

Nobody ever writes to another one's shard, so that no lock is needed, on whatever file system and from however many machines.
What a killed process left unfinished is its last line, which is dropped.
"""

import errno
import json
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.runs import files
from ntkflow.runs.processes import host
from ntkflow.sweep.stored import lines
from ntkflow.sweep.stored.cache import SPEC_FILE, Cache
from ntkflow.sweep.stored.packing import Schema, Schemas

SUFFIX = ".shard"
# Bytes that are read at a time.
PIECE = 1 << 24
# Sweeps for which one process keeps a shard open.
MOST_WRITERS = 16


class Writer:
    """The shard of one process; it is made when there is something to write.

    Args:
        folder: where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._file, self._size = folder, -1, 0
        self._schemas = Schemas()
        self._writing = threading.Lock()

    def write(self, key: str, content: Json) -> None:
        """Append a cell: {row}, or {error} with kind and message.

        Raises:
            OSError: it cannot be written.
        """
        with self._writing:
            if self._file < 0 or not self._whole():
                self.close()
                self._begin()
            if "error" in content:
                text = json.dumps(content["error"]).encode()
                self._append(lines.written(lines.FAILED, key, 0, text))
                return
            number, new = self._schemas.number(content["row"])
            schema = self._schemas.known[number]
            # In one call, so that none is there without the other.
            before = lines.written(lines.SCHEMA, "", number, schema.dump()) if new else b""
            self._append(before + lines.written(lines.DONE, key, number, schema.packed(content["row"])))

    def sync(self) -> None:
        """Let other machines see what has been written, and a failing power leave it."""
        with self._writing:
            if self._file >= 0:
                os.fsync(self._file)

    def close(self) -> None:
        """Let go of the file; what is written later goes to another one."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _whole(self) -> bool:
        """Whether the file is what was written; a directory that was removed and made again has lost it."""
        found = os.fstat(self._file)
        return found.st_nlink > 0 and found.st_size == self._size

    def _begin(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        for name in ("O_CLOEXEC", "O_BINARY", "O_NOINHERIT"):
            flags |= getattr(os, name, 0)
        self._schemas, self._size = Schemas(), 0
        self._file = os.open(self._folder / f"{uuid.uuid4().hex}{SUFFIX}", flags, 0o644)
        facts = {"format": 1, "version": __version__, "process": str(host.this_process())}
        self._append(lines.written(lines.HEAD, "", 0, json.dumps(facts).encode()))

    def _append(self, data: bytes) -> None:
        try:
            if os.write(self._file, data) == len(data):
                self._size += len(data)
                return
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            # Half a line may stand there now: what follows goes to another file.
            self.close()
            raise


_WRITERS: dict[tuple[int, Path], Writer] = {}


def writer(folder: Path) -> Writer:
    """The shard of this process in a folder."""
    # Of this very process: a fork has the number of an open file, and must not use it.
    found = _WRITERS.setdefault((os.getpid(), folder.resolve()), Writer(folder))
    while len(_WRITERS) > MOST_WRITERS:
        _WRITERS.pop(next(iter(_WRITERS))).close()
    return found


@dataclass(frozen=True)
class Sink:
    """Where a worker writes its cells by itself, if it sees the sweep's directory.

    Attributes:
        directory: as this machine names it.
        token: by which a directory of the same name on another machine is told from it.
    """

    directory: str
    token: str

    def writer(self) -> Writer | None:
        """The shard of this process there; None where the directory is not seen."""
        path = Path(self.directory)
        with suppress(Exception):
            if files.read_toml(path / SPEC_FILE)["record"]["token"] == self.token:
                return writer(path / "cells")
        return None


class Stored(NamedTuple):
    """What is left to say of a cell whose worker has written it.

    Attributes:
        succeeded: whether it is finished.
    """

    succeeded: bool


@dataclass(eq=False)
class _Shard:
    """What is known of a shard: how far it has been read, and its schemas by number."""

    read: int = 0
    schemas: dict[int, Schema] = field(default_factory=dict)


class Shards(Cache):
    """Finished and failed cells of one directory, from all shards in it.

    Attributes:
        done: addresses of the finished ones.
        errors: of those that failed: kind and message, and a mark that another failure changes.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.done: set[str] = set()
        self.errors: dict[str, tuple[int, Mapping[str, str]]] = {}
        self._shards: dict[str, _Shard] = {}
        self._marks = count()

    def sink(self) -> Sink | None:
        """Where workers may write by themselves."""
        record = files.read_toml(self.directory / SPEC_FILE).get("record")
        token = record.get("token") if isinstance(record, dict) else None
        return Sink(str(self.directory.resolve()), token) if isinstance(token, str) else None

    def refresh(self) -> None:
        """Look at what has been written since, by whatever process."""
        for name, shard in self._found():
            for line in self._lines(name, shard):
                if line.kind == lines.DONE:
                    self.done.add(line.key)
                elif line.kind == lines.FAILED:
                    with suppress(ValueError):
                        self.errors[line.key] = next(self._marks), _failure(line.payload)

    def finished(self, key: str) -> bool:
        """Whether a cell is known to be finished."""
        return key in self.done

    def failed_at(self, key: str) -> int | None:
        """A mark of the last failure of a cell; None where it has not failed."""
        found = self.errors.get(key)
        return None if found is None else found[0]

    def failures(self) -> dict[str, int]:
        """The mark of each cell that failed."""
        return {key: mark for key, (mark, _) in self.errors.items()}

    def read_failed(self, key: str) -> Json | None:
        """The record of a cell that failed at its last attempt, or None."""
        found = self.errors.get(key)
        return None if found is None or key in self.done else {"key": key, "error": found[1]}

    def write(self, key: str, content: Json) -> None:
        """Append a finished or failed cell to the shard of this process."""
        writer(self._cells).write(key, content)

    def flush(self) -> None:
        """Let others see what has been written."""
        writer(self._cells).sync()
        self.refresh()

    def rows(self, most: int = 4096) -> Iterator[tuple[Schema, list[str], list[bytes]]]:
        """All finished cells: some at a time, of one schema each, addresses and packed rows."""
        for name, _ in self._found():
            shard = _Shard()
            waiting: dict[int, tuple[list[str], list[bytes]]] = {}
            for line in self._lines(name, shard):
                if line.kind == lines.DONE and line.number in shard.schemas:
                    keys, packed = waiting.setdefault(line.number, ([], []))
                    keys.append(line.key)
                    packed.append(line.payload)
                    if len(keys) >= most:
                        yield shard.schemas[line.number], *waiting.pop(line.number)
            for number, (keys, packed) in waiting.items():
                yield shard.schemas[number], keys, packed

    def schemas(self) -> Iterator[Schema]:
        """Of all shards, as far as they have been looked at."""
        for shard in self._shards.values():
            yield from shard.schemas.values()

    def _found(self) -> Iterator[tuple[str, _Shard]]:
        with suppress(FileNotFoundError):
            names = sorted(e.name for e in os.scandir(self._cells) if e.name.endswith(SUFFIX))
            yield from ((name, self._shards.setdefault(name, _Shard())) for name in names)

    def _lines(self, name: str, shard: _Shard) -> Iterator[lines.Line]:
        """Lines of a shard from where it has been read to; schemas are kept, heads and damaged lines passed over."""
        # Opened anew every time: only so does a network file system look whether there is more.
        with suppress(FileNotFoundError), (self._cells / name).open("rb") as file:
            file.seek(shard.read)
            rest = b""
            for piece in iter(partial(file.read, PIECE), b""):
                whole, end, rest = (rest + piece).rpartition(b"\n")
                shard.read += len(whole) + len(end)
                for line in lines.read(whole + end):
                    if line is None:
                        continue
                    if line.kind == lines.SCHEMA:
                        with suppress(ValueError):
                            shard.schemas[line.number] = Schema.load(line.payload)
                    elif line.kind != lines.HEAD:
                        yield line


def _failure(payload: bytes) -> Mapping[str, str]:
    """Kind and message of a failure.

    Raises:
        ValueError: bytes of something else.
    """
    try:
        found = json.loads(payload)
    except RecursionError as error:
        raise ValueError("no failure") from error
    if not isinstance(found, dict) or not isinstance(found.get("message"), str):
        raise ValueError("no failure")
    return found
