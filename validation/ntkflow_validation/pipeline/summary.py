"""What a finished run says in short: summary.json, and the figure of its comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.runs.border.records import INLINE
from ntkflow.runs.files import atomic
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.metrics.compare import Comparison
from ntkflow_validation.runs.compared import ComparedRun, ComparedWindow, Ends, Series
from ntkflow_validation.runs.documents import KernelRow, MadeBy, Training, kernel_rows
from ntkflow_validation.runs.results import Results, deviations
from ntkflow_validation.runs.rundir import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Snapshots below which a curve shows nothing.
FEW = 6


@dataclass(frozen=True)
class Trained:
    """How far the training is.

    Attributes:
        facts: training.json; None before it begins.
        steps, flow_time: at the last snapshot.
        first, last: lines of metrics.jsonl; empty without snapshots.
    """

    facts: Training | None = field(metadata=INLINE)
    steps: int | None
    flow_time: float | None
    first: Json
    last: Json


@dataclass(frozen=True)
class WindowSummary:
    """A window of the comparison, short.

    Attributes:
        name, step, last_step, loss, step_times_rate, cheapest, sentence: as in `ComparedWindow`.
        skill: of every rung's flow, by quantity.
        refused: why, by rung.
    """

    name: str
    step: int
    last_step: int
    loss: Ends
    step_times_rate: float | None
    cheapest: str | None
    sentence: str | None
    skill: Mapping[str, Mapping[str, float | None]]
    refused: Mapping[str, str]

    @classmethod
    def of(cls, window: ComparedWindow) -> "WindowSummary":
        """In short."""
        flows = [rung for rung in window.rungs if not rung.modifications]
        return cls(
            window.name,
            window.step,
            window.last_step,
            window.loss,
            window.step_times_rate,
            window.cheapest,
            window.sentence,
            {r.name: {q: s.value for q, s in r.skill.centred.items()} for r in flows if r.skill},
            {r.name: r.refused for r in flows if r.refused},
        )


@dataclass(frozen=True)
class Summary:
    """summary.json: what was run, with what, and what came out of every step that was done."""

    version: str
    made_by: MadeBy = field(metadata=INLINE)
    seed: int | None
    config: Json
    deviations: tuple[str, ...]
    training: Trained
    kernels: tuple[KernelRow, ...]
    from_snapshot: int | None
    refused: str | None
    windows: tuple[WindowSummary, ...]


def summary(run: RunDirectory, results: Results) -> Summary:
    """What the run directory holds so far."""
    metrics, comparison = results.metrics, results.comparison
    first, last = (metrics[0], metrics[-1]) if metrics else ({}, {})
    return Summary(
        version=__version__,
        made_by=MadeBy.here(),
        seed=None if isinstance(run.config, RecordedConfig) else run.config.seed,
        config=run.config.to_dict(),
        deviations=deviations(run, results.training),
        training=Trained(results.training, last.get("step"), last.get("time"), first, last),
        kernels=kernel_rows(results.kernels),
        from_snapshot=None if comparison is None else comparison.from_snapshot,
        refused=None if comparison is None else comparison.refused,
        windows=tuple(WindowSummary.of(w) for w in (comparison.windows if comparison else ())),
    )


def draw(run: RunDirectory, comparison: ComparedRun | None) -> str | None:
    """Write figures/comparison.png; its path, or None without a window that was predicted."""
    figure = None if comparison is None else picture(comparison.windows, what(run.config))
    if figure is None:
        return None
    final = run.path / "figures" / "comparison.png"
    final.parent.mkdir(exist_ok=True)
    with atomic(final) as handle:
        figure.savefig(handle, dpi=110, format="png")
    return str(final)


def what(config: RunConfig) -> str:
    """What was trained, in a few words."""
    return f"{config.data.title}, {config.model.name}, N = {config.data.samples}, n = {config.model.features}"


def picture(
    windows: Sequence[ComparedWindow], trained: str, chosen: int | None = None, **shown: Any
) -> "Figure | None":
    """The figure of a comparison: one window's first rung, and the scores of all; None without one that was predicted.

    Args:
        windows: of comparison.json.
        trained: what was, for the title.
        chosen: step of the window; None: the leading one, or the one with most snapshots where that has too few to
            see a curve in.
        shown: panes and size, as `ntkflow_validation.figures.figures.comparison_figure` takes them.

    Raises:
        InputError: no such pane or size.
    """
    from ntkflow_validation.figures.figures import comparison_figure

    found = {w.step: comparison_of(w) for w in windows}
    scored = {step: pair for step, pair in found.items() if pair is not None}
    leading = windows[0].step if windows and chosen is None else chosen
    if leading is None or leading not in scored:
        return None
    if chosen is None:
        leading = worth_drawing(leading, {step: len(c.times) for step, (_, c) in scored.items()})
    rung, lead = scored[leading]
    title = f"{trained}{': ' if trained else ''}predicted from step {leading} with {rung}"
    return comparison_figure(lead, {step: c for step, (_, c) in scored.items()}, title, **shown)


def worth_drawing(leading: int, counts: Mapping[int, int]) -> int:
    """The leading window's step, or that of the window with most snapshots where it has fewer than `FEW`."""
    return leading if counts[leading] >= FEW else max(counts, key=lambda step: counts[step])


def comparison_of(window: ComparedWindow) -> tuple[str, Comparison] | None:
    """The first rung that predicted a window, in words, and its comparison."""
    for rung in window.rungs:
        if rung.skill and rung.predicted and rung.skill_at and not rung.modifications:
            pooled = {q: _number(rung.skill.on(q).value) for q in rung.skill_at}
            observed, predicted, skill = (
                _arrays(series) for series in (window.observed, rung.predicted, rung.skill_at)
            )
            return rung.title, Comparison(np.array(window.times), observed, predicted, skill, pooled)
    return None


def _arrays(series: Series) -> dict[str, np.ndarray]:
    return {name: np.array([_number(v) for v in values]) for name, values in series.items()}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
