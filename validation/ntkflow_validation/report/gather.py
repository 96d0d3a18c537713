"""From a run directory to the plain values that a page shows."""

from dataclasses import dataclass

import numpy as np

from ntkflow._types import Json
from ntkflow_validation.kernels.measurement_file import LARGE, TENSORS
from ntkflow_validation.pipeline.pipeline import deviations
from ntkflow_validation.report.drawing.heat import thinned
from ntkflow_validation.report.drawing.palette import rung_key
from ntkflow_validation.report.words import run_facts, run_title
from ntkflow_validation.runs.rundir import RunDirectory

# Kernels drawn: spread over the measured ones, the first and the last included.
PICTURES = 4


@dataclass(frozen=True, eq=False)
class KernelPicture:
    """A measured kernel.

    Attributes:
        step: snapshot.
        facts: its constants in short, `Measurement.row`.
        matrix: the mean over neurons on some samples of each class, sorted by class; None when not drawn.
    """

    step: int
    facts: Json
    matrix: np.ndarray | None


@dataclass(frozen=True, eq=False)
class RunReport:
    """All that a page shows of one run.

    Attributes:
        title: network and data.
        facts: sizes and recipe in one sentence.
        config: the configuration as nested plain values.
        toml: config.toml as it stands.
        metrics: lines of metrics.jsonl.
        kernels: measured kernels by step.
        comparison: comparison.json; empty when nothing was compared.
    """

    title: str
    facts: str
    config: Json
    toml: str
    metrics: list[Json]
    kernels: list[KernelPicture]
    comparison: Json

    @property
    def windows(self) -> list[Json]:
        """Windows of the comparison in order of their first step."""
        return sorted(self.comparison.get("windows", []), key=lambda w: int(w["step"]))

    @property
    def rungs(self) -> list[Json]:
        """Every rung of any window, once, in the order of the ladder."""
        found: dict[str, Json] = {}
        for window in self.windows:
            for rung in window.get("rungs", []):
                known = found.get(rung_key(rung))
                if known is None or (known.get("refused") and not rung.get("refused")):
                    found[rung_key(rung)] = rung
        return list(found.values())


def gather(run: RunDirectory) -> RunReport:
    """Read a run directory; whatever step has not been done yet is left out of the page."""
    config, comparison = run.config.to_dict(), run.read_json("comparison.json")
    if comparison and not comparison.get("deviations"):
        comparison["deviations"] = deviations(run.config)
    return RunReport(
        title=run_title(config),
        facts=run_facts(config, run.read_json("training.json")),
        config=config,
        toml=(run.path / "config.toml").read_text(encoding="utf-8"),
        metrics=run.metrics(),
        kernels=_kernels(run),
        comparison=comparison,
    )


def _kernels(run: RunDirectory) -> list[KernelPicture]:
    steps = run.measured()
    picked = {steps[round(i)] for i in np.linspace(0, len(steps) - 1, min(PICTURES, len(steps)))}
    return [_kernel(run, step, step in picked) for step in steps]


def _kernel(run: RunDirectory, step: int, drawn: bool) -> KernelPicture:
    found = run.measurement(step, TENSORS if drawn else LARGE)
    K = found.features.mean
    return KernelPicture(step, found.row(), None if K is None else thinned(K, found.labels))
