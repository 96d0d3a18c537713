"""From a run directory to what a page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.kernels.measurement_file import TENSORS
from ntkflow_validation.report.drawing.heat import thinned
from ntkflow_validation.report.words import run_facts, run_title
from ntkflow_validation.runs.compared import ComparedRun, ComparedRung, ComparedWindow
from ntkflow_validation.runs.documents import KernelRow, Line
from ntkflow_validation.runs.followed import RunLaws, read_laws
from ntkflow_validation.runs.results import Results, deviations
from ntkflow_validation.runs.rundir import RunDirectory

# Kernels drawn: spread over the measured ones, the first and the last included.
PICTURES = 4


@dataclass(frozen=True, eq=False)
class KernelPicture:
    """A measured kernel.

    Attributes:
        row: its constants in short.
        matrix: the mean over neurons on some samples of each class, sorted by class; None when not drawn.
    """

    row: KernelRow
    matrix: np.ndarray | None


@dataclass(frozen=True, eq=False)
class RunReport:
    """All that a page shows of one run.

    Attributes:
        title: network and data.
        facts: sizes and recipe in one sentence.
        config: the configuration.
        toml: config.toml as it stands.
        metrics: lines of metrics.jsonl.
        kernels: measured kernels by step.
        comparison: None when nothing was compared.
        deviations: hypotheses of the theory that the run breaks.
        laws: what it conserves; None before `ntkflow validate laws`.
    """

    title: str
    facts: str
    config: RunConfig
    toml: str
    metrics: Sequence[Line]
    kernels: Sequence[KernelPicture]
    comparison: ComparedRun | None
    deviations: Sequence[str] = ()
    laws: RunLaws | None = None

    @property
    def windows(self) -> tuple[ComparedWindow, ...]:
        """Windows of the comparison in order of their first step."""
        return self.comparison.in_order if self.comparison else ()

    @property
    def rungs(self) -> list[ComparedRung]:
        """Every rung of any window, once, in the order of the ladder; one that was run somewhere in place of a refused one."""
        found: dict[str, ComparedRung] = {}
        for window in self.windows:
            for rung in window.rungs:
                known = found.get(rung.key)
                if known is None or (known.refused and not rung.refused):
                    found[rung.key] = rung
        return list(found.values())


def gather(run: RunDirectory, results: Results | None = None) -> RunReport:
    """Read a run directory; whatever step has not been done yet is left out of the page.

    Args:
        run: which.
        results: what its steps have left; None reads it.

    Raises:
        InputError: a file is damaged.
    """
    results = results or Results.of(run)
    comparison = results.comparison
    return RunReport(
        title=run_title(run.config),
        facts=run_facts(run.config, results.training),
        config=run.config,
        toml=(run.path / "config.toml").read_text(encoding="utf-8"),
        metrics=results.metrics,
        kernels=_kernels(run, results.kernels),
        comparison=comparison,
        deviations=(comparison.deviations or deviations(run, results.training)) if comparison else (),
        laws=read_laws(run),
    )


def _kernels(run: RunDirectory, measured: Mapping[int, Measurement]) -> list[KernelPicture]:
    steps = list(measured)
    picked = {steps[round(i)] for i in np.linspace(0, len(steps) - 1, min(PICTURES, len(steps)))}
    pictures = []
    for step in steps:
        found = run.measurement(step, TENSORS) if step in picked else measured[step]
        K = found.features.mean
        matrix = None if K is None else thinned(K, found.labels)
        pictures.append(KernelPicture(KernelRow.of(step, found), matrix))
    return pictures
