"""Observed trajectories from files: an .npz of stacked states, a folder of state files, a run directory."""

from pathlib import Path

import numpy as np

from ntkflow.cli import options
from ntkflow.errors import InputError
from ntkflow.fitting import Observed
from ntkflow.runs import files as store
from ntkflow.runs import rundir

ARRAYS = ("times", "H", "W", "b", "labels")
TIME_KEYS = ("time", "t")
SNAPSHOTS = "snapshots"


def read(path: Path) -> Observed:
    """The observations a path holds.

    A file holds times (T,), H (T, n, N), W (T, C, n), b (T, C), labels (N,). A directory holds state files whose
    meta has `time` or `t`, itself or in `snapshots/`; or it is a run of `ntkflow simulate`, from which the
    initial and the final state are taken.

    Raises:
        InputError: nothing of the kind is there, or it does not fit together.
    """
    if path.is_file():
        return _stacked(path)
    if not path.exists():
        raise InputError("run", path, "does not exist", "check the path")
    if not (path / SNAPSHOTS).is_dir() and (path / rundir.FINAL_STATE).is_file():
        return _simulated(path)
    return _state_files(state_files(path))


def state_files(path: Path) -> list[Path]:
    """The state files of a directory, in it or in its `snapshots/`.

    Raises:
        InputError: there are fewer than two.
    """
    found = sorted((path / SNAPSHOTS if (path / SNAPSHOTS).is_dir() else path).glob("*.npz"))
    if len(found) < 2:
        raise InputError("run", path, f"holds {len(found)} state files", "at least two are needed")
    return found


def _stacked(path: Path) -> Observed:
    arrays, _ = store.read_arrays(path, "run", ARRAYS.__contains__)
    for name in ARRAYS:
        if name not in arrays:
            raise InputError("run", path, f"lacks the array {name!r}", f"give {', '.join(ARRAYS)}")
    return Observed.from_arrays(*(arrays[name] for name in ARRAYS))


def _state_files(files: list[Path]) -> Observed:
    read = [store.read_state(file, kernel=False) for file in files]
    times = np.array([time_of(file, found.meta) for file, found in zip(files, read, strict=True)])
    for file, found in zip(files, read, strict=True):
        if found.sizes != read[0].sizes or not np.array_equal(found.order, read[0].order):
            raise InputError("run", file, f"has other samples than {files[0].name}", "use one run's states")
    order = np.argsort(times, kind="stable")
    return Observed(times[order], tuple(read[i].state for i in order), read[0].sizes)


def time_of(file: Path, meta: dict[str, object]) -> float:
    """The flow time of a state file.

    Raises:
        InputError: its meta has none.
    """
    for key in TIME_KEYS:
        value = meta.get(key)
        if isinstance(value, int | float):
            return float(value)
    raise InputError("run", file, "has no flow time in its meta", "write it as meta['time']")


def _simulated(path: Path) -> Observed:
    config = path / "config.toml"
    if not config.is_file():
        raise InputError("run", path, "has no config.toml", "give the directory of a finished run")
    prepared = options.prepared(config, {})
    problem = prepared.problem
    if not problem.squared_error or problem.decay.any or prepared.config.step_size is not None:
        raise InputError(
            "run", path, "is no squared-error flow without decay", "fit a run that the model describes"
        )
    final = store.read_state(path / rundir.FINAL_STATE, kernel=False)
    end = time_of(path / rundir.FINAL_STATE, final.meta)
    return Observed(np.array([0.0, end]), (problem.state, final.state), problem.sizes)
