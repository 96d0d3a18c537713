"""Chunks of a long measurement, so that an interrupted one goes on where it stopped."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ntkflow.errors import InputError
from ntkflow.runs.atomic import atomic
from ntkflow.runs.border.reading import archive

Chunk = dict[str, np.ndarray]


@runtime_checkable
class ChunkStore(Protocol):
    """Where finished chunks go; names contain a digest of everything the chunk depends on."""

    def get(self, name: str) -> Chunk | None:
        """The chunk of that name, if there is one."""

    def put(self, name: str, chunk: Chunk) -> None:
        """Keep a chunk; it is complete or absent, never torn."""

    def drop(self, name: str) -> None:
        """Forget a chunk that is part of one kept since."""


class NoStore:
    """Keeps nothing."""

    def get(self, name: str) -> Chunk | None:
        """Nothing."""
        del name
        return None

    def put(self, name: str, chunk: Chunk) -> None:
        """Forget it."""

    def drop(self, name: str) -> None:
        """Nothing to forget."""
        del name


class FolderStore:
    """One .npz file a chunk, written under another name and renamed.

    Args:
        path: folder; made when the first chunk is stored.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def get(self, name: str) -> Chunk | None:
        """The chunk, or None when it is absent or unreadable, in which case it is measured again."""
        try:
            return archive(self.path / f"{name}.npz", "chunk")[0]
        except InputError:
            return None

    def put(self, name: str, chunk: Chunk) -> None:
        """Write a chunk atomically."""
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic(self.path / f"{name}.npz") as file:
            np.savez(file, **chunk)  # type: ignore[arg-type]

    def drop(self, name: str) -> None:
        """Remove the chunk's file, if there is one."""
        (self.path / f"{name}.npz").unlink(missing_ok=True)
