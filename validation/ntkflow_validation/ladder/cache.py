"""What the ladder found at a snapshot, kept in files beside the run. It saves time and changes no bit of any result."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from ntkflow.errors import InputError
from ntkflow.problem.state import State
from ntkflow.runs.border.reading import archive
from ntkflow.runs.files import write_arrays
from ntkflow_validation.kernels import Measurement, load_measurement


class Cache:
    """Named arrays in one .npz, computed when first asked for; of the file no more is read than is asked for.

    Measurements lie beside it. A damaged file is as good as none.

    Args:
        path: the file; None keeps nothing.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._known: dict[str, np.ndarray] = {}
        self._measured: dict[str, Measurement] = {}
        self._unread = self._names()

    def get(self, names: tuple[str, ...], compute: Callable[[], tuple[np.ndarray, ...]]) -> list[np.ndarray]:
        """The arrays of these names."""
        if not self.has(*names):
            self._known |= dict(zip(names, (as_read(a) for a in compute()), strict=True))
            self._write()
        return [self._known[name] for name in names]

    def measurement(self, name: str, measured: Callable[[], Measurement]) -> Measurement:
        """A measurement in a file of its own beside the arrays, in the form of all measurements."""
        place = self._place(name)
        if name not in self._measured and place is not None and place.exists():
            # What cannot be read is measured again.
            with suppress(InputError):
                self._measured[name] = load_measurement(place)
        if name not in self._measured:
            self._measured[name] = measured()
            if place is not None:
                place.parent.mkdir(exist_ok=True)
                self._measured[name].save(place, overwrite=True)
        return self._measured[name]

    def has_measurement(self, name: str) -> bool:
        """Whether it is there, or a file that should hold it."""
        place = self._place(name)
        return name in self._measured or (place is not None and place.exists())

    def _place(self, name: str) -> Path | None:
        return None if self.path is None else self.path.with_name(f"{self.path.stem}-{name}.npz")

    def has(self, *names: str) -> bool:
        """Whether arrays of these names are there; they are read when they are asked for."""
        wanted = self._unread.intersection(names)
        self._unread -= wanted
        if self.path is not None and wanted:
            # What cannot be read is computed again.
            with suppress(InputError):
                found = archive(self.path, "ladder", wanted.__contains__)[0]
                self._known |= {name: as_read(array) for name, array in found.items()}
        return all(name in self._known for name in names)

    def known(self, name: str) -> np.ndarray | None:
        """The array of this name, if there is one."""
        return self._known[name] if self.has(name) else None

    def put(self, name: str, array: np.ndarray) -> None:
        """Keep one array, in place of another of that name."""
        self._known[name] = as_read(array)
        self._write()

    def _names(self) -> set[str]:
        with suppress(InputError):
            if self.path is not None and self.path.exists():
                return set(archive(self.path, "ladder", lambda _: False)[1])
        return set()

    def _write(self) -> None:
        if self.path is not None:
            self.has(*self._unread)
            self.path.parent.mkdir(exist_ok=True)
            write_arrays(self.path, self._known)


def as_read(array: np.ndarray) -> np.ndarray:
    """The array as it comes out of the file: of its own and in C order, on which the rounding of sums depends."""
    return np.array(array, order="C")


def fingerprint(state: State) -> str:
    """Name of a measurement's file: it belongs to this state alone."""
    digest = hashlib.sha256(state.W.tobytes() + state.b.tobytes() + state.H.tobytes())
    return digest.hexdigest()[:12]
