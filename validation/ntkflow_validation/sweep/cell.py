"""One cell of a sweep of trainings: a run directory from start to end, wherever it had got to."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ntkflow._types import Json
from ntkflow.runs.atomic import InUseError
from ntkflow.runs.border.records import document
from ntkflow.sweep.stored.cache import Cache, failure_of
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.runs.rundir import RunDirectory

if TYPE_CHECKING:
    from ntkflow_validation.runs.training_run import Outcome

# Seconds to wait for a run directory that a process on another machine may still work on.
PATIENCE = 300.0
# Seconds between two looks at whether it has finished the cell.
LOOK = 2.0


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
        # Of the key, so that a sweep that shares the cell shares its directory; 64 bits tell any number of cells apart.
        return Path(self.directory) / "runs" / self.key[:16]


def run_cell(task: CellTask) -> Json:
    """Train and measure, or go on with it: {config, training, metrics, kernels, final, seconds}, or {error}.

    A training that diverged is a result. Never raises: one bad cell must not cost the others.
    """
    cache = Cache(Path(task.directory))
    return cache.recorded(task.key, lambda: _content(task, cache))


def _content(task: CellTask, cache: Cache) -> Json:
    if task.data_dir is not None:
        os.environ["NTKFLOW_DATA"] = task.data_dir
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _train(task)
        except Exception as error:
            # Another sweep that shares the directory may have finished it, and removed the run.
            known = cache.read(task.key)
            if known is not None:
                return known
            # Who surely works on it will end; who may have been killed on another machine is not waited for for ever.
            if not isinstance(error, InUseError) or (not error.certain and time.monotonic() > deadline):
                return failure_of(error)


def run_cells(tasks: Sequence[CellTask]) -> list[Json]:
    """As `run_cell`, of trainings that are one program; a cell that cannot be in it is run by itself afterwards."""
    found: dict[str, Json] = {}
    with ExitStack() as claims:
        runs = {}
        for task in tasks:
            # Whatever is wrong with one, or with all together, is said when they are run one by one.
            with suppress(Exception):
                if task.data_dir is not None:
                    os.environ["NTKFLOW_DATA"] = task.data_dir
                run = _directory(task)
                claims.enter_context(run.locked())
                if Cache(Path(task.directory)).read(task.key) is None:
                    runs[task.key] = run
        with suppress(Exception):
            found = _trained_together(runs)
    done = [
        None if (content := found.get(task.key)) is None
        else Cache(Path(task.directory)).recorded(task.key, partial(_given, content))
        for task in tasks
    ]  # fmt: skip
    return [content or run_cell(task) for content, task in zip(done, tasks, strict=True)]


def _given(content: Json) -> Json:
    return content


def _trained_together(runs: Mapping[str, RunDirectory]) -> dict[str, Json]:
    from ntkflow_validation.runs.training_run import train_runs

    began = time.perf_counter()
    outcomes = train_runs(list(runs.values()))
    took = time.perf_counter() - began
    return {
        key: _finished(run, outcome, took / len(runs))
        for (key, run), outcome in zip(runs.items(), outcomes, strict=True)
    }


def _directory(task: CellTask) -> RunDirectory:
    path = task.run_directory
    path.parent.mkdir(parents=True, exist_ok=True)
    return RunDirectory.create(path, RunConfig.from_dict(task.config), resume=True)


def _train(task: CellTask) -> Json:
    from ntkflow_validation.runs.training_run import train_run

    run = _directory(task)
    began = time.perf_counter()
    # A short wait, and a look at the cache in between: who holds the lock may finish the cell instead.
    with run.locked(LOOK):
        known = Cache(Path(task.directory)).read(task.key)
        if known is not None:
            return known
        outcome = train_run(run)
        return _finished(run, outcome, time.perf_counter() - began)


def _finished(run: RunDirectory, outcome: "Outcome", seconds: float) -> Json:
    """What the cell's file holds of a training that has ended after these seconds."""
    from ntkflow_validation.runs.training_run import Result
    from ntkflow_validation.sweep.records import CellFile, content_of

    began = time.perf_counter()
    if outcome.result is Result.COMPLETE:
        measure_end(run)
    content, took = content_of(run), seconds + time.perf_counter() - began
    return document(CellFile(run.config.to_dict(), replace(content, seconds=took)))


def measure_end(run: RunDirectory) -> None:
    """The output NTK at the last snapshot, whose alignment panes j show; once."""
    from ntkflow_validation.runs.measurement_run import measure_steps

    for _ in measure_steps(run, run.steps()[-1:], run.config.kernels.with_quantities("outputs")):
        pass
