"""What is kept of a training: everything that the paper's figures over epochs and rates are drawn from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs.border.reading import reading
from ntkflow.runs.border.records import INLINE, SPARSE, document, read_record, record
from ntkflow.sweep.stored.cache import SPEC_FILE, Cache
from ntkflow.sweep.table import AGAIN
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.config.recorded import RecordedConfig, config_of
from ntkflow_validation.evidence.document import Evidence
from ntkflow_validation.runs.documents import KernelRow, Line, Training, kernel_rows
from ntkflow_validation.runs.ends import ends
from ntkflow_validation.runs.rundir import RunDirectory, run_paths
from ntkflow_validation.training.steps import epochs_of


@dataclass(frozen=True)
class Content:
    """What a training left.

    Attributes:
        training: how it went; None before it began.
        metrics: lines of metrics.jsonl.
        kernels: what was measured.
        final: moments of the features and alignments of both kernels at the end.
        seconds: that the cell of a sweep took.
    """

    training: Training | None
    metrics: tuple[Line, ...]
    kernels: tuple[KernelRow, ...]
    final: Mapping[str, float | None]
    seconds: float | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class CellFile:
    """A finished cell of a sweep: its whole configuration, and what its training left."""

    config: Mapping[str, object]
    content: Content = field(metadata=INLINE)


@dataclass(frozen=True, eq=False)
class Record:
    """One training, wherever it was read from.

    Attributes:
        config: its configuration.
        content: what it left.
        where: the run directory, or the cell's file.
    """

    config: RunConfig
    content: Content
    where: Path

    @property
    def rows(self) -> tuple[Line, ...]:
        """Lines of metrics.jsonl."""
        return self.content.metrics

    @property
    def rate(self) -> float:
        """The learning rate that was used; 0 where a recorder was told none."""
        facts = self.content.training
        return float((self.config.training.learning_rate if facts is None else facts.learning_rate) or 0.0)

    @property
    def timeless(self) -> bool:
        """Whether it was recorded without flow time, so that nothing is known of its batches either."""
        return isinstance(self.config, RecordedConfig) and not self.config.timed

    @property
    def result(self) -> str:
        """complete or diverged."""
        facts = self.content.training
        return "unfinished" if facts is None or facts.result is None else facts.result

    def last(self, name: str) -> float:
        """A metric at the end, NaN when there is none."""
        found = self.content.final.get(name)
        if found is None and self.rows:
            found = self.rows[-1].get(name)
        return float("nan") if found is None else float(found)

    @cached_property
    def epochs(self) -> np.ndarray:
        """Passes through the data at every row, (T,)."""
        steps = np.array([row.step for row in self.rows], dtype=float)
        found: np.ndarray = epochs_of(self.config.training, steps, self.config.data.mean_per_class)
        return found

    def series(self, name: str) -> np.ndarray:
        """A metric at every row, NaN where it was not measured, (T,)."""
        values = [row.get(name) for row in self.rows]
        return np.array([np.nan if v is None else v for v in values], dtype=float)


def content_of(run: RunDirectory) -> Content:
    """What the training of a run directory left so far."""
    measured = run.measurements()
    return Content(run.training(), tuple(run.metrics()), kernel_rows(measured), ends(run, measured))


def find_records(paths: Iterable[Path | str]) -> list[Record]:
    """All trainings under some sweep and run directories, folders of runs, or documents of `ntkflow validate export`.

    Raises:
        InputError: a path is none of these.
    """
    found: list[Record] = []
    for path in map(Path, paths):
        if path.is_file():
            found.append(_of_document(path))
        elif (path / SPEC_FILE).is_file():
            found += _of_sweep(path)
        elif runs := [run for run in run_paths(path) if (run / "config.toml").is_file()]:
            for run in map(RunDirectory.open, runs):
                found.append(Record(run.config, content_of(run), run.path))
        else:
            raise InputError("path", path, "is neither a sweep nor a run directory", "check the path")
    return found


def _of_document(path: Path) -> Record:
    """An exported training: some of its snapshots, the first and the last of them whole."""
    kept = read_record(path, "path", "an exported training", Evidence, "export the run again")
    with reading("path", path, "an exported training", "export the run again"):
        columns = kept.trajectory
        every = zip(*columns.values(), strict=True)
        rows = [record(Line, dict(zip(columns, values, strict=True))) for values in every]
        rows[0], rows[-1] = kept.first, kept.last
        final: dict[str, float | None] = dict(kept.final or {})
        if kept.kernels and kept.kernels[-1].step == kept.last.step:
            final.setdefault("alignment_features", kept.kernels[-1].alignment)
        return Record(config_of(kept.config), Content(kept.training, tuple(rows), kept.kernels, final), path)


def _of_sweep(path: Path) -> list[Record]:
    records = []
    for file in sorted((path / "cells").glob("*.json")):
        kept = Cache(path).read(file.name.removesuffix(".json"))
        if kept is not None:
            with reading("path", file, "a training of a sweep", AGAIN):
                found = record(CellFile, kept)
                records.append(Record(RunConfig.from_dict(dict(found.config)), found.content, file))
    return records


def cell_entries(kept: Json) -> dict[str, float | str]:
    """A cell's row of the table.

    Raises:
        ValueError: it is of another shape than a cell.
    """
    found = record(CellFile, kept)
    return entries(found.config, found.content)


def entries(config: Mapping[str, object], content: Content) -> dict[str, float | str]:
    """A training's row of a table: settings, how it ended, every metric at the end, and at the start."""
    row: dict[str, float | str] = {}
    for section, values in config.items():
        if isinstance(values, Mapping):
            row |= {f"config.{section}.{name}": _entry(value) for name, value in values.items()}
    facts = content.training
    row["result"] = str(facts and facts.result)
    row["learning_rate"], row["step"], row["parameters"] = (
        _entry(value)
        for value in ((facts.learning_rate, facts.step, facts.parameters) if facts else (None, None, None))
    )
    row["seconds"] = _entry(content.seconds)
    rows = content.metrics
    if rows:
        row |= {name: _entry(value) for name, value in {**document(rows[-1]), **content.final}.items()}
        row |= {f"start.{name}": _entry(value) for name, value in document(rows[0]).items()}
    return row


def _entry(value: object) -> float | str:
    if value is None:
        return float("nan")
    return float(value) if isinstance(value, bool | int | float) else str(value)
