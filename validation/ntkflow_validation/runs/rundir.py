"""The run directory: configuration, metrics, state files, measurements, comparison, summary.

    config.toml          the complete RunConfig; replay with --config
    metrics.jsonl        one line per snapshot, appended
    training.json        learning rate, parameters, samples, device, versions; at the end how training ended
    parameters/step_*.npz  parameters, running statistics and optimiser state, by name
    checkpoint.npz       the same, between snapshots, while training
    snapshots/step_*.npz   state files (H, W, b, labels)
    measurements/STEP.npz  kernels measured at a snapshot, see `ntkflow_validation.kernels.Measurement.save`
    comparison.json, summary.json, figures/
    lock                 locked while a process works on the run; holds its number

Every file but metrics.jsonl is written under a temporary name and renamed. A snapshot exists once
its state file, written last, has its name; a torn last line of metrics.jsonl, or a measurement without its snapshot,
is not read.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ntkflow import checks
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.runs.atomic import MARK
from ntkflow.runs.border.reading import NUMBER, misfit, read_json, reading
from ntkflow.runs.border.records import document, read_record, record
from ntkflow.runs.files import (
    atomic,
    dump_json,
    read_arrays,
    read_state,
    read_toml,
    staged_directory,
    write_arrays,
    write_json,
    write_state,
    write_toml,
)
from ntkflow_validation.config.config import KernelConfig, RunConfig
from ntkflow_validation.config.recorded import RecordedConfig, config_of
from ntkflow_validation.kernels import Measurement, measurement_file
from ntkflow_validation.models.base import from_named, named_leaves
from ntkflow_validation.runs.compared import ComparedRun
from ntkflow_validation.runs.documents import Line, Training, first_difference
from ntkflow_validation.runs.lock import LOCK, locked
from ntkflow_validation.training.complete import completed
from ntkflow_validation.training.train import Snapshot, TrainState

# All that a run directory may hold; --overwrite replaces nothing else.
OWNED = frozenset(
    {
        "config.toml", "metrics.jsonl", "training.json", "checkpoint.npz", "comparison.json",
        "summary.json", "snapshots", "parameters", "measurements", "ladder", "figures", "lock", "report.html",
        "calibration.json", "laws.json", "laws",
    }
)  # fmt: skip
COMPARISON, TRAINING, SUMMARY, MEASUREMENTS, METRICS_FILE = (
    "comparison.json",
    "training.json",
    "summary.json",
    "measurements",
    "metrics.jsonl",
)
REPEAT = "remove the file and run the step again"
# Seconds to wait for another process that makes the directory; it writes one small file.
MAKING = 60.0


@dataclass(frozen=True)
class StoredSnapshot:
    """A snapshot as it stands on disk, without parameters.

    Attributes:
        step: optimiser steps done.
        time: flow time.
        state: H, W, b, samples sorted by class.
        sizes: C, m, n.
    """

    step: int
    time: float
    state: State
    sizes: Sizes


@dataclass(frozen=True)
class RunDirectory:
    """A run on disk; `create` starts or resumes one, `open` reads one.

    Attributes:
        path: the directory.
        config: the run's configuration.
    """

    path: Path
    config: RunConfig

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @classmethod
    def create(
        cls, path: Path | str, config: RunConfig, overwrite: bool = False, resume: bool = False
    ) -> "RunDirectory":
        """A new directory, or with `resume` an existing one of the same configuration.

        With `resume` processes that start together share it; the lock of the run is what they work under in turn.

        Raises:
            InputError: the directory exists and neither flag is given, or the configurations differ.
        """
        path, config = Path(path), completed(config)
        if resume and (path / MARK).exists():
            return cls._resumed(path, config)
        if overwrite and (path / LOCK).exists():
            with locked(path):  # a run in progress is not overwritten
                pass
        try:
            with staged_directory(path, overwrite, OWNED, MAKING if resume else 0.0) as staged:
                own = () if isinstance(config, RecordedConfig) else ("parameters",)
                for folder in ("snapshots", *own, "figures"):
                    (staged / folder).mkdir()
                write_toml(staged / MARK, config.to_dict())
        except InputError:
            if resume and (path / MARK).exists():
                return cls._resumed(path, config)  # another process was first
            raise
        return cls(path, config)

    @classmethod
    def _resumed(cls, path: Path, config: RunConfig) -> "RunDirectory":
        found = cls.open(path)
        difference = first_difference(config.to_dict(), found.config.to_dict())
        if difference:
            raise InputError(
                "resume", path, f"was made with another {difference}", "drop --resume or the setting"
            )
        return found

    @classmethod
    def open(cls, path: Path | str) -> "RunDirectory":
        """An existing run.

        Raises:
            InputError: there is no run, or one of `ntkflow simulate`, or its configuration cannot be read.
        """
        path = Path(path)
        if not (path / "config.toml").is_file():
            rule, remedy = (
                "is not a run directory (no config.toml)",
                "start with `ntkflow validate train` or nf.Recorder",
            )
            raise InputError("run", path, rule, remedy)
        tables = read_toml(path / "config.toml")
        if "sizes" in tables:
            raise InputError(
                "run", path, "is a run of `ntkflow simulate`", "use `ntkflow show` or `ntkflow plot`"
            )
        return cls(path, config_of(tables))

    @classmethod
    def difference(cls, path: Path | str, config: RunConfig) -> str | None:
        """In what the run in a directory differs from a configuration; None where it does not, or there is none."""
        if not (Path(path) / MARK).is_file():
            return None
        return first_difference(config.to_dict(), cls.open(path).config.to_dict())

    def locked(self, patience: float = 0.0) -> AbstractContextManager[None]:
        """A context in which no other process may work on this run.

        Args:
            patience: seconds to wait for another one.

        Raises:
            InUseError: another one does.
        """
        return locked(self.path, patience)

    def write_snapshot(self, snapshot: Snapshot, line: Line) -> None:
        """Parameters first, then the metrics line, the state file last: it marks the snapshot complete."""
        write_arrays(self._parameters(snapshot.step), named_leaves(snapshot.train._asdict()))
        self.append_metrics(line)
        self.write_observed(StoredSnapshot(snapshot.step, snapshot.time, snapshot.state, snapshot.sizes))

    def append_metrics(self, line: Line) -> None:
        """One line of metrics.jsonl."""
        # Through `dump_json`, which knows numpy's numbers and NaN, and again, since a line has no indents.
        with (self.path / METRICS_FILE).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(json.loads(dump_json(document(line))), allow_nan=False) + "\n")

    def write_observed(self, seen: StoredSnapshot, compressed: bool = True) -> None:
        """The state file of a snapshot."""
        meta = {"step": seen.step, "time": seen.time}
        write_state(
            self._snapshot(seen.step), seen.state, seen.sizes.labels, meta=meta, compressed=compressed
        )

    def steps(self) -> list[int]:
        """Steps of the complete snapshots, increasing."""
        names = (path.stem.removeprefix("step_") for path in (self.path / "snapshots").glob("step_*.npz"))
        return sorted(int(name) for name in names if name.isdecimal())

    def read_snapshot(self, step: int) -> StoredSnapshot:
        """State and flow time at one step."""
        path = self._snapshot(step)
        file = read_state(path, kernel=False)
        wrong = misfit(file.meta, {"step": int, "time": NUMBER}, "meta")
        if wrong:
            raise InputError("snapshot", path, wrong, "train the run again")
        # An optimiser that is not gradient descent has no flow time: null in the file.
        time = float("nan") if file.meta["time"] is None else float(file.meta["time"])
        return StoredSnapshot(file.meta["step"], time, file.state, file.sizes)

    def read_train_state(self, step: int, template: TrainState) -> TrainState:
        """Parameters and optimiser state at one step."""
        arrays, _ = read_arrays(self._parameters(step), "parameters")
        restored: TrainState = from_named(template._asdict(), arrays)
        return TrainState(**restored)  # type: ignore[arg-type]

    def write_checkpoint(self, step: int, state: TrainState) -> None:
        """Replace checkpoint.npz."""
        write_arrays(self._checkpoint, {**named_leaves(state._asdict()), "step": np.array(step)})

    def remove_checkpoint(self) -> None:
        """Remove checkpoint.npz, if there is one."""
        self._checkpoint.unlink(missing_ok=True)

    def read_latest(self, template: TrainState) -> tuple[int, TrainState] | None:
        """Step and state that training goes on from: checkpoint or snapshot, whichever is later; None at first.

        A checkpoint between two snapshots is only used when the snapshots before it are complete, which
        they are, since it is written after them.
        """
        steps = self.steps()
        if self._checkpoint.exists():
            arrays, _ = read_arrays(self._checkpoint, "checkpoint")
            with reading(
                "checkpoint", self._checkpoint, "a checkpoint", "remove it: training goes on before"
            ):
                step = checks.whole("step", arrays.pop("step")[()], 0)
            if steps and step > steps[-1]:
                return step, TrainState(**from_named(template._asdict(), arrays))
        return (steps[-1], self.read_train_state(steps[-1], template)) if steps else None

    def training(self) -> Training | None:
        """training.json; None before training begins.

        Raises:
            InputError: the file is damaged.
        """
        path = self.path / TRAINING
        kind = "JSON of a training"
        return read_record(path, "training", kind, Training, REPEAT) if path.exists() else None

    def write_training(self, found: Training) -> None:
        """training.json."""
        write_json(self.path / TRAINING, document(found))

    @property
    def trained_config(self) -> RunConfig:
        """The configuration with the rate that was chosen when training began."""
        found = self.training()
        rate = None if found is None else found.learning_rate
        return self.config if rate is None else self.config.with_rate(float(rate))

    def metrics(self) -> list[Line]:
        """Lines of metrics.jsonl, one per step; a torn line is left out.

        So is one whose snapshot is missing: training goes on before it. Of a recorded run, which has more lines than
        snapshots, every whole line counts.
        """
        path = self.path / METRICS_FILE
        recorded = isinstance(self.config, RecordedConfig)
        complete, rows = set(self.steps()), dict[int, Line]()
        with reading("metrics", path, "JSON lines", "train the run again"):
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for number, text in enumerate(lines, 1):
            try:
                values = json.loads(text)
            except (ValueError, RecursionError):
                continue
            with reading("metrics", path, "JSON lines", "remove the line"):
                line = record(Line, values, f"line {number}")
            if recorded or line.step in complete:
                rows[line.step] = line
        return [rows[step] for step in sorted(rows)]

    def repair_metrics(self) -> None:
        """Rewrite metrics.jsonl with its complete lines only, before a resumed run appends to it."""
        rows = self.metrics()
        # A torn last line has no end: what is appended would become part of it.
        with atomic(self.path / METRICS_FILE, "w") as handle:
            handle.writelines(json.dumps(document(row)) + "\n" for row in rows)

    def write_measurement(self, step: int, found: Measurement, how: KernelConfig, seconds: float) -> None:
        """measurements/STEP.npz, in place of what was measured there before."""
        path = self.measurement_path(step)
        path.parent.mkdir(exist_ok=True)
        found.save(path, overwrite=True, step=step, seconds=seconds, settings=asdict(how))

    def measured(self) -> list[int]:
        """Steps of the snapshots that were measured, increasing."""
        names = (path.stem for path in (self.path / MEASUREMENTS).glob("*.npz"))
        # A measurement made while training is written before its snapshot, and a kill may leave it alone.
        return sorted({int(name) for name in names if name.isdecimal()} & set(self.steps()))

    def measurement(self, step: int, without: Sequence[str] = ()) -> Measurement:
        """What was measured at a step, without some arrays: see `ntkflow_validation.kernels.measurement_file.read`.

        Raises:
            InputError: nothing was, or the file is damaged.
        """
        return measurement_file.read(self.measurement_path(step), without)[0]

    def measurements(self, read: Mapping[int, Measurement] | None = None) -> dict[int, Measurement]:
        """Everything that was measured, by step, without its kernels of samples and tensors, but for those `read` before."""
        known, large = read or {}, measurement_file.LARGE
        return {step: known.get(step) or self.measurement(step, large) for step in self.measured()}

    def measured_how(self, step: int) -> KernelConfig:
        """The settings with which a step was measured.

        Raises:
            InputError: they cannot be read.
        """
        path = self.measurement_path(step)
        details = measurement_file.read_details(path)
        with reading("measurement", path, "a measurement of a run", REPEAT):
            return KernelConfig(**details["settings"])

    def comparison(self) -> ComparedRun | None:
        """comparison.json; None before the run was compared.

        Raises:
            InputError: the file is damaged.
        """
        path = self.path / COMPARISON
        return read_record(path, "run", "a comparison", ComparedRun, REPEAT) if path.exists() else None

    def write_comparison(self, found: ComparedRun) -> None:
        """comparison.json."""
        write_json(self.path / COMPARISON, document(found))

    def summary(self) -> Json | None:
        """summary.json as it was written; None before, and then the run is not complete.

        Raises:
            InputError: the file is damaged.
        """
        path = self.path / SUMMARY
        return read_json(path, "run", REPEAT) if path.exists() else None

    def write_summary(self, found: object) -> None:
        """summary.json from its record, written last: it marks the run complete."""
        write_json(self.path / SUMMARY, document(found))

    def compared(self, argument: str = "run") -> ComparedRun:
        """comparison.json with its windows.

        Raises:
            InputError: there is none, or none could be made of this training, with the reason.
        """
        found = self.comparison()
        if found is not None and found.refused:
            raise InputError(argument, self.path, f"has no prediction: {found.refused}", "train one that has")
        if found is None or not found.windows:
            remedy = f"run `ntkflow validate compare {self.path}` first"
            raise InputError(argument, self.path, "has no comparison", remedy)
        return found

    @property
    def _checkpoint(self) -> Path:
        return self.path / "checkpoint.npz"

    def measurement_path(self, step: int) -> Path:
        """The file of a measurement."""
        return self.path / MEASUREMENTS / f"{step}.npz"

    def _snapshot(self, step: int) -> Path:
        return self.path / "snapshots" / f"step_{step:07d}.npz"

    def _parameters(self, step: int) -> Path:
        return self.path / "parameters" / f"step_{step:07d}.npz"


def run_paths(path: Path | str) -> list[Path]:
    """The runs that a path stands for: itself, or those in a folder that is no run, as `validate run` makes."""
    path = Path(path)
    if not (path / MARK).is_file() and path.is_dir():
        inside = (entry for entry in sorted(path.iterdir()) if not entry.name.startswith("."))
        found = [run for run in inside if (run / MARK).is_file() and (run / "snapshots").is_dir()]
        return found or [path]
    return [path]
