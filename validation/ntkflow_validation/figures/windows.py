"""The figure of a run's comparison: which window is drawn, and where to."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkflow.runs.files import atomic
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.metrics.compare import Comparison
from ntkflow_validation.runs.compared import ComparedRun, ComparedWindow, Series
from ntkflow_validation.runs.rundir import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Snapshots below which a curve shows nothing.
FEW = 6


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
        shown: panes and size, as `ntkflow_validation.figures.comparison.comparison_figure` takes them.

    Raises:
        InputError: no such pane or size.
    """
    from ntkflow_validation.figures.comparison import comparison_figure

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
