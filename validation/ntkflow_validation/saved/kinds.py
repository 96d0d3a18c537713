"""What `nf.load` finds here: who knows a path, and who reads it. The entry points `ntkflow.load` lead to these."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ntkflow.errors import InputError
from ntkflow.problem.kernels.kernel_files import MEASURED
from ntkflow.runs.atomic import MARK
from ntkflow.runs.border.reading import archive
from ntkflow.runs.files import read_toml
from ntkflow.runs.saved.brought import json_keys
from ntkflow.sweep.stored.cache import SPEC_FILE

COMPARED, FOLDER = "comparison.json", "measurements"


@dataclass(frozen=True)
class Kind:
    """See `ntkflow.runs.saved.brought.Kind`; whoever is only asked imports nothing slow."""

    knows: Callable[[Path], bool]
    load: Callable[[Path], object]


def _is_training(path: Path) -> bool:
    return (path / MARK).is_file() and (path / "snapshots").is_dir()


def _training(path: Path) -> object:
    from ntkflow_validation.saved.training import TrainingRun

    return TrainingRun.read(path)


def _is_comparison(path: Path) -> bool:
    # A damaged one is still known by its name.
    return path.is_file() and (path.name == COMPARED or {"windows", "deviations"} <= json_keys(path))


def _comparison(path: Path) -> object:
    from ntkflow_validation.saved.comparison import LadderComparison

    return LadderComparison.read(path)


def _is_measurement(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        _, names = archive(path, "measurement", lambda _: False)
    except InputError:
        return False
    return any(name.startswith(MEASURED) for name in names)


def _measurement(path: Path) -> object:
    from ntkflow_validation.kernels import load_measurement

    return load_measurement(path)


def _steps(path: Path) -> list[int]:
    return sorted(int(file.stem) for file in path.glob("*.npz") if file.stem.isdecimal())


def _are_measurements(path: Path) -> bool:
    return path.name == FOLDER and path.is_dir() and bool(_steps(path))


def _measurements(path: Path) -> object:
    from ntkflow_validation.kernels import measurement_file
    from ntkflow_validation.saved.measurements import Measurements

    files = ((step, path / f"{step}.npz") for step in _steps(path))
    return Measurements(
        {step: measurement_file.read(file, measurement_file.LARGE)[0] for step, file in files}
    )


def _is_sweep(path: Path) -> bool:
    # Of simulations it has the tables of a simulation.
    return (path / SPEC_FILE).is_file() and bool({"model", "training"} & set(read_toml(path / SPEC_FILE)))


def _sweep(path: Path) -> object:
    from ntkflow_validation.sweep import sweep_from_tables, tabulate_sweep

    return tabulate_sweep(sweep_from_tables(read_toml(path / SPEC_FILE)), path)


TRAINING = Kind(_is_training, _training)
COMPARISON = Kind(_is_comparison, _comparison)
MEASUREMENT = Kind(_is_measurement, _measurement)
MEASUREMENTS = Kind(_are_measurements, _measurements)
SWEEP = Kind(_is_sweep, _sweep)
