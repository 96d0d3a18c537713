"""What is kept of a training: everything that the paper's figures over epochs and rates are drawn from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.metrics.components import moments
from ntkflow.problem.thin import decompose
from ntkflow.runs.border.reading import NUMBER, Shape, misfit, reading
from ntkflow.sweep.cache import SPEC_FILE, Cache
from ntkflow.sweep.table import AGAIN
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.kernels.measurement_file import LARGE
from ntkflow_validation.pipeline.summary import kernel_rows
from ntkflow_validation.runs.documents import METRICS, TRAINING
from ntkflow_validation.runs.rundir import RunDirectory, StoredSnapshot, run_paths
from ntkflow_validation.training.clock import epochs_of

# A record as it lies in a cell of a sweep.
SHAPE: Shape = {
    "config": {"*": object},
    "training": TRAINING,
    "metrics": [METRICS],
    "kernels": list,
    "final": {"*": NUMBER},
    "seconds?": NUMBER,
}


@dataclass(frozen=True, eq=False)
class Record:
    """One training, wherever it was read from.

    Attributes:
        config: its configuration.
        content: {training, metrics, kernels, final, seconds}, plain values.
        where: the run directory, or the cell's file.
    """

    config: RunConfig
    content: Json
    where: Path

    @property
    def rows(self) -> list[Json]:
        """Lines of metrics.jsonl."""
        return list(self.content["metrics"])

    @property
    def rate(self) -> float:
        """The learning rate that was used."""
        return float(self.content["training"].get("learning_rate", self.config.training.learning_rate))

    @property
    def result(self) -> str:
        """complete or diverged."""
        return str(self.content["training"].get("result", "unfinished"))

    def last(self, name: str) -> float:
        """A metric at the end, NaN when there is none."""
        found = self.content["final"].get(name)
        if found is None and self.rows:
            found = self.rows[-1].get(name)
        return float("nan") if found is None else float(found)

    @cached_property
    def epochs(self) -> np.ndarray:
        """Passes through the data at every row, (T,)."""
        steps = np.array([row["step"] for row in self.rows], dtype=float)
        found: np.ndarray = epochs_of(self.config.training, steps, self.config.data.mean_per_class)
        return found

    def series(self, name: str) -> np.ndarray:
        """A metric at every row, NaN where it was not measured, (T,)."""
        values = [row.get(name) for row in self.rows]
        return np.array([np.nan if v is None else v for v in values], dtype=float)


def record_of(run: RunDirectory) -> Json:
    """The content of a record from a run directory."""
    return {
        "training": run.read_json("training.json"),
        "metrics": run.metrics(),
        "kernels": kernel_rows(run),
        "final": {**final_norms(run.read_snapshot(run.steps()[-1])), **alignments(run)}
        if run.steps()
        else {},
    }


def alignments(run: RunDirectory) -> dict[str, float]:
    """Cosines of the traced kernels Theta^h and Theta with Y^T Y at the end, as far as they were measured."""
    step = run.steps()[-1]
    if step not in run.measured():
        return {}
    last = run.measurement(step, LARGE)
    families = {"features": last.features, "outputs": last.outputs}
    known = {name: None if family is None else family.alignment for name, family in families.items()}
    return {f"alignment_{name}": value for name, value in known.items() if value is not None}


def final_norms(snapshot: StoredSnapshot) -> dict[str, float]:
    """Moments of the features of a snapshot. Source: panes i of the paper's figures 3-12."""
    thin, _ = decompose(snapshot.state, snapshot.sizes, subspace=False)
    return moments(thin, snapshot.sizes)


def find_records(paths: Iterable[Path | str]) -> list[Record]:
    """All trainings under some sweep and run directories, or folders of runs.

    Raises:
        InputError: a path is neither, nor a folder of runs.
    """
    found: list[Record] = []
    for path in map(Path, paths):
        if (path / SPEC_FILE).is_file():
            found += _of_sweep(path)
        elif runs := [run for run in run_paths(path) if (run / "config.toml").is_file()]:
            for run in map(RunDirectory.open, runs):
                found.append(Record(run.config, record_of(run), run.path))
        else:
            raise InputError("path", path, "is neither a sweep nor a run directory", "check the path")
    return found


def _of_sweep(path: Path) -> list[Record]:
    records = []
    for file in sorted((path / "cells").glob("*.json")):
        content = Cache(path).read(file.name.removesuffix(".json"))
        if content is not None:
            with reading("path", file, "a training of a sweep", AGAIN):
                records.append(Record(RunConfig.from_dict(_whole(content)["config"]), content, file))
    return records


def _whole(content: Json) -> Json:
    """The content itself; one of another shape than its readers rely on raises ValueError."""
    wrong = misfit(content, SHAPE)
    if wrong:
        raise ValueError(wrong)
    return content


def entries(content: Json) -> dict[str, float | str]:
    """A cell's row of the table: settings, how it ended, every metric at the end, and at the start."""
    row: dict[str, float | str] = {}
    _whole(content)
    for section, values in content["config"].items():
        if isinstance(values, Mapping):
            row |= {f"config.{section}.{name}": _entry(value) for name, value in values.items()}
    facts = content["training"]
    row["result"] = str(facts.get("result"))
    for name in ("learning_rate", "step", "parameters"):
        row[name] = _entry(facts.get(name))
    row["seconds"] = _entry(content.get("seconds"))
    rows = content["metrics"]
    if rows:
        row |= {name: _entry(value) for name, value in {**rows[-1], **content["final"]}.items()}
        row |= {f"start.{name}": _entry(value) for name, value in rows[0].items()}
    return row


def _entry(value: Any) -> float | str:
    if value is None:
        return float("nan")
    return float(value) if isinstance(value, bool | int | float) else str(value)
