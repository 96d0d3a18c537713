"""What was measured at a snapshot, kept in a file beside the run. It saves time and changes no bit of any result."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ntkflow.problem.state import State
from ntkflow.runs.files import read_arrays, write_arrays


class Cache:
    """Named arrays in one .npz, computed when first asked for.

    Args:
        path: the file; None keeps nothing.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = None if path is None else Path(path)
        known = self.path is not None and self.path.exists()
        found = read_arrays(self.path, "ladder")[0] if self.path is not None and known else {}
        self.arrays = {name: as_read(array) for name, array in found.items()}

    def get(self, names: tuple[str, ...], compute: Callable[[], tuple[np.ndarray, ...]]) -> list[np.ndarray]:
        """The arrays of these names."""
        if not all(name in self.arrays for name in names):
            self.arrays |= dict(zip(names, (as_read(a) for a in compute()), strict=True))
            self._write()
        return [self.arrays[name] for name in names]

    def put(self, name: str, array: np.ndarray) -> None:
        """Keep one array, in place of another of that name."""
        self.arrays[name] = as_read(array)
        self._write()

    def _write(self) -> None:
        if self.path is not None:
            self.path.parent.mkdir(exist_ok=True)
            write_arrays(self.path, self.arrays)


def as_read(array: np.ndarray) -> np.ndarray:
    """The array as it comes out of the file: of its own and in C order, on which the rounding of sums depends."""
    return np.array(array, order="C")


def fingerprint(state: State) -> str:
    """Name of a measurement's file: it belongs to this state alone."""
    digest = hashlib.sha256(state.W.tobytes() + state.b.tobytes() + state.H.tobytes())
    return digest.hexdigest()[:12]
