"""A training read back from its run directory: times, states, series, kernels, beside simulations in one figure."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import views
from ntkflow._types import Floats, Integers, Json, Times
from ntkflow.errors import InputError
from ntkflow.integrate.series import DESCRIPTIONS, TIME_UNIT
from ntkflow.integrate.trajectory import Figured
from ntkflow.metrics.components import moments, norms
from ntkflow.metrics.invariant import InvariantTerms
from ntkflow.metrics.neural_collapse import NAMES as COLLAPSE
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.problem.thin import decompose
from ntkflow.runs.border.records import document
from ntkflow.runs.files import staged_directory
from ntkflow.runs.pictures.curves import Curves
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.config.recorded import MARKED, RecordedConfig
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.kernels.found import CONSTANTS
from ntkflow_validation.metrics.probe import invariant_terms
from ntkflow_validation.pipeline.summary import summary
from ntkflow_validation.runs.documents import Line
from ntkflow_validation.runs.followed import LAW_MEANINGS, law_rows
from ntkflow_validation.runs.lock import LOCK, resting
from ntkflow_validation.runs.results import Results
from ntkflow_validation.runs.rundir import OWNED, RunDirectory, StoredSnapshot
from ntkflow_validation.runs.training_run import read_outcome
from ntkflow_validation.saved.comparison import LadderComparison
from ntkflow_validation.saved.measurements import Measurements

if TYPE_CHECKING:
    from pandas import DataFrame
    from xarray import Dataset

# A recorded one has other settings, which are not compared with those of a training from here.
KIND, RECORDED = "training", "recording"
UNFINISHED = "unfinished"
# What simulations have no series for.
MEANINGS = {
    **DESCRIPTIONS,
    "M_norm": "|M|_F, M the class means minus the global mean",
    "H2_norm": "|H2|_F, deviations from the class means over sqrt(m)",
    "b_norm": "|b|",
    "accuracy_train": "share of the training samples that are classified right",
    "accuracy_test": "share of the test samples that are classified right",
    **LAW_MEANINGS,
    **dict.fromkeys(CONSTANTS, "constant of the features' kernel, where that was measured"),
}
# What the table of a run shows.
SHOWN = ("loss", *COLLAPSE, "accuracy_train", "accuracy_test", "E_norm", "E_alignment", *CONSTANTS)


@dataclass(frozen=True, eq=False, repr=False)
class TrainingRun(Figured):
    """A training in its run directory: `times[i]`, `steps[i]` and `state(i)` of its snapshots; `nf.load` gives it.

    A recorded one has a line of metrics at every step that was recorded, and states at those in `kept` alone.

    What it says is what stood there when it was asked first: of a training that goes on, load it again.

    Attributes:
        run: the directory, with everything that commands do with it.
    """

    run: RunDirectory

    @classmethod
    def read(cls, path: Path | str) -> "TrainingRun":
        """The training in a run directory.

        Raises:
            InputError: there is none, or its configuration or metrics are damaged.
        """
        found = cls(RunDirectory.open(path))
        _ = found.metrics
        return found

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.run.path

    @property
    def config(self) -> RunConfig:
        """Its configuration, with the learning rate that was used."""
        return self.run.trained_config

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def _rows(self) -> list[Line]:
        return self.run.metrics()

    @cached_property
    def steps(self) -> Integers:
        """Optimiser steps done at every snapshot, (T,)."""
        return np.array([row.step for row in self._rows], dtype=np.int64)

    @cached_property
    def kept(self) -> Integers:
        """The steps among them whose state was kept; all of them, unless another program was recorded."""
        return np.intersect1d(self.steps, self.run.steps())

    @property
    def timed(self) -> bool:
        """Whether its steps are in flow time; those of Adam and its like are not."""
        return bool(np.isfinite(self.times).all())

    @cached_property
    def times(self) -> Times:
        """Flow time of every snapshot, (T,); that of the sum loss (4), NaN where steps are in none."""
        return np.array([_number(row.time) for row in self._rows], dtype=np.float64)

    def snapshot(self, i: int) -> StoredSnapshot:
        """What was observed at snapshot i: step, flow time, state, sizes; negative i counts from the end.

        Raises:
            InputError: its file is damaged, or its line alone was recorded.
        """
        step = int(self.steps[i])
        if step not in self.kept:
            rule = f"step {step} has its line of metrics alone: states were kept at {views.brief(str(self.kept.tolist()))}"
            raise InputError(
                "i", i, rule, "give the place of one of `kept` in `steps`, or record with snapshots=1"
            )
        return self.run.read_snapshot(step)

    def state(self, i: int) -> State:
        """H on the observed samples, sorted by class, W and b at snapshot i; negative i counts from the end."""
        return self.snapshot(i).state

    @property
    def final(self) -> State:
        """The last state that was kept.

        Raises:
            InputError: there is none.
        """
        if not len(self.kept):
            raise InputError("run", self.path, "has no snapshots yet", "train it on")
        return self.run.read_snapshot(int(self.kept[-1])).state

    @property
    def sizes(self) -> Sizes:
        """C, the observed samples of each class, n."""
        data, n = self.config.data, self.config.model.features
        if isinstance(self.config, RecordedConfig):
            return Sizes(data.classes, self.config.counts, n)
        return Sizes(data.classes, data.probe_per_class or data.counts, n)

    @property
    def result(self) -> str:
        """How it ended: complete or diverged; unfinished before."""
        outcome = read_outcome(self.run)
        return UNFINISHED if outcome is None else str(outcome.result)

    @cached_property
    def metrics(self) -> dict[str, Floats]:
        """What was written of every snapshot, each (T,), NaN where there is no value: losses, norms, NC, accuracies."""
        names = dict.fromkeys(name for row in self._rows for name in row.values)
        return {name: np.array([_number(row.values.get(name)) for row in self._rows]) for name in names}

    @cached_property
    def series(self) -> dict[str, Floats]:
        """`metrics`, the moments of the features, E with the kernel's constants where that was measured, laws where they
        were followed, each (T,).

        The names are those of a solution's series. Losses and norms are sums over the observed samples; E is that of the
        data set under the kernel at that time, so that its drift is a motion and no error.
        """
        return {**self.metrics, **self._moments(), **self._measured, **self._at_steps(law_rows(self.run))}

    def _moments(self) -> dict[str, Floats]:
        rows = {}
        for step in self.kept.tolist():
            found = self.run.read_snapshot(step)
            thin, _ = decompose(found.state, found.sizes, subspace=False)
            rows[step] = {**moments(thin, found.sizes), **norms(thin, found.sizes)}
        return self._at_steps(rows)

    def _at_steps(self, rows: Mapping[int, Mapping[str, float]]) -> dict[str, Floats]:
        """What is known at some steps as series, NaN at the others."""
        names = dict.fromkeys(name for row in rows.values() for name in row)
        return {
            name: np.array([rows.get(step, {}).get(name, np.nan) for step in self.steps.tolist()])
            for name in names
        }

    @cached_property
    def _measured(self) -> dict[str, Floats]:
        """E and the kernel's constants where that was measured, NaN elsewhere; E needs constants in their order."""
        m, first = self.config.trained_per_class, None
        rows: dict[int, dict[str, float]] = {}
        for step, found in self.measurements.items():
            rows[step] = {name: getattr(found, name).value for name in CONSTANTS}
            if found.broken_order is None and self.config.has_invariant:
                snapshot = self.run.read_snapshot(step)
                terms = invariant_terms(snapshot.state, snapshot.sizes, found.block(), m)
                first = terms.E if first is None else first
                rows[step] |= _of_terms(terms, first)
        return self._at_steps(rows)

    @cached_property
    def measurements(self) -> Measurements:
        """The kernels that were measured, by step, without their largest arrays; `measurement(step)` has these too."""
        return Measurements(self.run.measurements())

    def measurement(self, step: int) -> Measurement:
        """All that was measured at a step.

        Raises:
            InputError: nothing was.
        """
        return self.run.measurement(step)

    @property
    def comparison(self) -> LadderComparison | None:
        """How the rungs of the ladder predicted it; None before it was compared."""
        return LadderComparison.of_run(self.run)

    @property
    def settings(self) -> Json:
        """Everything that the training was made with, by name, but not how its kernels were measured."""
        config = self.config.to_dict()
        found: Json = {"seed": config["seed"]} if "seed" in config else {}
        for section in ("data", "model", "training"):
            table = config.get(section, {})
            found |= {section if name == "name" else name: value for name, value in table.items()}
        # Of what is recorded the clock says how it was trained.
        return {**config.get(MARKED, {}), **found}

    def curves(self) -> Curves:
        """What a figure needs of it.

        Raises:
            InputError: there is no snapshot yet.
        """
        if not len(self):
            raise InputError(
                "run", self.path, "has no snapshots yet", "train it: `ntkflow validate train --resume`"
            )
        at = self.times if self.timed else self.steps.astype(np.float64)
        return Curves(
            at, self.series, self._title, constant=False, settings=self.settings, bands={},
            name=self.path.resolve().name, kind=self._kind, sparse=True, timed=self.timed,
        )  # fmt: skip

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Copy the run directory, whole or not at all, with whatever belongs to it; `nf.load` reads the copy.

        Args:
            path: the new directory.
            overwrite: replace a training that lies there; nothing else is ever replaced.

        Raises:
            InputError: something else lies there, or the copy could not be written.
            InUseError: a process works on this run.
        """
        place = Path(path)
        with resting(self.path), staged_directory(place, overwrite, OWNED) as staged:
            for entry in self.path.iterdir():
                if entry.name not in OWNED - {LOCK}:
                    continue
                if entry.is_dir():
                    # Names with a dot are of what is being written, or of chunks of it.
                    shutil.copytree(entry, staged / entry.name, ignore=shutil.ignore_patterns(".*"))
                else:
                    shutil.copy2(entry, staged / entry.name)
        return place

    def summary(self) -> Json:
        """The numbers of summary.json, from what the directory holds: training, kernels, what was predicted."""
        return document(summary(self.run, Results.of(self.run, self.measurements)))

    def ends(self) -> Json:
        """Numbers at both ends under the names of a simulation's summary."""
        found, measured = self.metrics, self._measured
        return {
            "kind": self._kind,
            "loss": _both(found.get("loss")),
            "nc": {name: _both(found.get(name)) for name in COLLAPSE},
            "invariant": {"drift": None, "alignment_final": _both(measured.get("E_alignment"))["final"]},
            "t_end": float(self.times[-1]) if len(self) and self.timed else None,
            "stop_reason": {"key": self.result},
        }

    def to_xarray(self) -> "Dataset":
        """An xarray.Dataset of the series along t, with steps and meanings; needs the extra `ntkflow[xarray]`.

        Along the steps where these are in no flow time.
        """
        coords: Json = {"step": ("step", self.steps, {})}
        if self.timed:
            coords = {"t": ("t", self.times, {"units": TIME_UNIT}), "step": ("t", self.steps, {})}
        attrs = {"title": self._title, **{name: str(value) for name, value in self.settings.items()}}
        return views.dataset(["t" if self.timed else "step"], coords, self.series, MEANINGS, attrs)

    def to_pandas(self) -> "DataFrame":
        """A pandas.DataFrame of steps and series with index t; needs the extra `ntkflow[pandas]`.

        The index are the steps where these are in no flow time.
        """
        if not self.timed:
            return views.dataframe({"step": self.steps, **self.series}, "step")
        return views.dataframe({"t": self.times, "step": self.steps, **self.series}, "t")

    def described(self) -> str:
        """Some lines for people: what it was, and its numbers at both ends."""
        lines = [repr(self), views.text_table(("", "start", "end"), self._table())]
        facts = self.run.training()
        return "\n".join([*lines, *((facts.remarks or ()) if facts else ())])

    def _table(self) -> Iterator[tuple[str, float | None, float | None]]:
        known = {**self.metrics, **self._measured}
        for name in SHOWN:
            if name in known:
                ends = _both(known[name])
                yield name, ends["initial"], ends["final"]

    @property
    def _kind(self) -> str:
        return RECORDED if isinstance(self.config, RecordedConfig) else KIND

    @property
    def _title(self) -> str:
        config, sizes = self.config, self.sizes
        return (
            f"{config.model.name} on {config.data.title}, C = {sizes.C}, m = {config.data.mean_per_class}, n = {sizes.n}, "
            f"{config.recipe_words(config.training.learning_rate)}"
        )

    def __repr__(self) -> str:
        if not len(self):
            return f"TrainingRun({self._title}; no snapshots, {self.result})"
        measured = self.run.measured()
        lines = f"{len(self)} lines of metrics, " if len(self.kept) < len(self) else ""
        facts = [
            f"{lines}{len(self.kept)} snapshots to step {self.steps[-1]}",
            f"t_end = {self.times[-1]:.4g}" if self.timed else "",
            f"kernels at {len(measured)}" if measured else "",
            "compared" if (self.path / "comparison.json").exists() else "",
            self.result,
        ]
        return f"TrainingRun({self._title}; {', '.join(filter(None, facts))})"

    def _repr_html_(self) -> str:
        return views.html_table(repr(self), ("", "start", "end"), self._table())


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _both(values: Floats | None) -> dict[str, float | None]:
    """The first and the last of the numbers that there are."""
    known: Floats = np.empty(0) if values is None else values[np.isfinite(values)]
    return (
        {"initial": float(known[0]), "final": float(known[-1])}
        if len(known)
        else {"initial": None, "final": None}
    )


def _of_terms(terms: InvariantTerms, first: Floats) -> dict[str, float]:
    """The series of E that a simulation has, from its terms and E at the first measured snapshot."""
    parts = ("weights", "means", "features", "within", "global_mean")
    return {
        "E_norm": float(np.linalg.norm(terms.E)),
        "E_drift": float(np.linalg.norm(terms.E - first)) / terms.scale,
        "E_alignment": terms.alignment,
        **{f"E_{part}": float(np.linalg.norm(getattr(terms, part))) for part in parts},
    }
