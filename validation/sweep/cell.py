"""One cell of a sweep of trainings: a run directory from start to end, wherever it had got to."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.sweep.cache import Cache
from validation.config import RunConfig
from validation.rundir import RunDirectory

# Seconds to wait for a run directory that another process still works on, as after a lost connection.
PATIENCE = 300.0


@dataclass(frozen=True)
class CellTask:
    """What travels to a worker.

    Attributes:
        key: address of the cell.
        config: a RunConfig as nested plain values.
        directory: the sweep's directory; workers share it.
        data_dir: where its files are, when the sweep was told.
    """

    key: str
    config: Json
    directory: str
    data_dir: str | None = None

    @property
    def run_directory(self) -> Path:
        """Where the cell trains."""
        return Path(self.directory) / "runs" / self.key[:16]


def run_cell(task: CellTask) -> Json:
    """Train and measure, or go on with it: {config, training, metrics, kernels, final, seconds}, or {error}.

    A training that diverged is a result. Never raises: one bad cell must not cost the others.
    """
    return Cache(Path(task.directory)).recorded(task.key, lambda: _content(task))


def _content(task: CellTask) -> Json:
    if task.data_dir is not None:
        os.environ["NTKFLOW_DATA"] = task.data_dir
    try:
        return _train(task)
    except Exception as error:
        return {"error": {"kind": type(error).__name__, "message": str(error) or repr(error)}}


def _train(task: CellTask) -> Json:
    from validation.sweep.records import record_of
    from validation.training_run import Result, train_run

    config = RunConfig.from_dict(task.config)
    path = task.run_directory
    path.parent.mkdir(parents=True, exist_ok=True)
    run = RunDirectory.create(path, config, resume=True)
    began = time.perf_counter()
    with _waiting(run):
        outcome = train_run(run)
        if outcome.result is Result.COMPLETE:
            measure_end(run)
        content = record_of(run)
    return {"config": config.to_dict(), **content, "seconds": time.perf_counter() - began}


def measure_end(run: RunDirectory) -> None:
    """The output NTK at the last snapshot, whose alignment panes j show; once."""
    from validation.measurement_run import Settings, measure_in_full
    from validation.training_run import prepare, silent

    step = run.steps()[-1]
    if (run.path / "measurements" / f"{step}.json").exists():
        return
    settings = Settings(quantities=("outputs",), per_class=run.config.kernels.per_class or None)
    for _ in measure_in_full(run, [step], *prepare(run.config), settings, silent):
        pass


class _waiting:  # noqa: N801 -- reads as what it does
    """Hold the run's lock, waiting for a process that still has it."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run

    def __enter__(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            self._lock = self._run.locked()
            try:
                self._lock.__enter__()
                return
            except InputError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def __exit__(self, *error: object) -> None:
        self._lock.__exit__(*error)  # type: ignore[arg-type]
