"""The figure of each experiment."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ntkflow.runs.atomic import atomic
from ntkflow.runs.pictures.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from ntkflow.runs.pictures.shown import Shown
from ntkflow_validation.studies.document import StudyRun
from ntkflow_validation.studies.outcomes import COLLAPSED, kernel_times_filters, series, times
from ntkflow_validation.studies.parts import forgotten

FORGOTTEN = "λt; without decay, t"
NETWORKS = {"mlp": "MLP", "resnet8-linear": "ResNet8, linear readout", "resnet8": "ResNet8, pooled features"}
# From none to much.
HUES = (GREY, PURPLE, BLUE, GREEN, ORANGE, RED)


def draw(experiment: str, runs: Sequence[StudyRun], path: Path | str) -> Path:
    """Write the figure of an experiment."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    figure = FIGURES[experiment](runs)
    figure.tight_layout()
    with atomic(place) as handle:
        figure.savefig(handle, dpi=110, format="png")
    return place


def _panes(count: int, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    figure = Shown(figsize=(10 if count == 3 else 8, height))
    FigureCanvasAgg(figure)
    found = list(np.atleast_1d(figure.subplots(1, count)))
    for axes in found:
        axes.grid(True, color="0.92", linewidth=0.6)
        axes.tick_params(labelsize=8)
    return figure, found


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)


def _hues(values: Sequence[float]) -> dict[float, str]:
    known = sorted(set(values))
    # No decay is grey in every picture, whether it is there or not.
    shown = HUES if 0.0 in known else HUES[1:]
    return {value: shown[i % len(shown)] for i, value in enumerate(known)}


def forgetting(runs: Sequence[StudyRun]) -> Figure:
    """For each network: invisible variability with what Q foretells and e^(-2 lambda t), then NC1, and for the MLP the floor."""
    parts = list(dict.fromkeys(run.group.rpartition("-lambda")[0] for run in runs))
    figure = Shown(figsize=(10, 3.3 * max(len(parts), 1)))
    FigureCanvasAgg(figure)
    grid = figure.subplots(max(len(parts), 1), 3, squeeze=False)
    for row, part in zip(grid, parts, strict=False):
        own = [run for run in runs if run.group.rpartition("-lambda")[0] == part]
        _invisible(row[0], own, part)
        _collapse(row[1], own)
        _floor(row[2], own)
        for axes in row:
            axes.grid(True, color="0.92", linewidth=0.6)
            axes.tick_params(labelsize=8)
    return figure


def _invisible(axes: Axes, runs: Sequence[StudyRun], part: str) -> None:
    hues = _hues([run.value for run in runs])
    for run in sorted(runs, key=lambda r: r.value):
        first = run.seed == min(r.seed for r in runs)
        label = f"λ = {run.value:g}" if first else None
        x = _forgotten(run)
        axes.plot(x, series(run, "invisible"), color=hues[run.value], linewidth=1, label=label)
        if "foretold" in run.series and first:
            axes.plot(x, series(run, "foretold"), "k:", linewidth=1, label="by Q")
        if first and run.value:
            # The baseline, which knows nothing of Q: for all lambda the same line, but for where it starts.
            axes.plot(x, forgotten(run), "k--", linewidth=0.7, label="start e^(-2λt)")
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    # One entry for the black lines of all lambda, after those of each.
    shown = {str(line.get_label()): line for line in axes.get_lines()}
    names = sorted((n for n in shown if not n.startswith("_")), key=lambda n: not n.startswith("λ"))
    axes.legend([shown[n] for n in names], names, fontsize=7, frameon=False, loc="lower left")
    _label(axes, NETWORKS.get(part, part), FORGOTTEN, "invisible variability")


def _forgotten(run: StudyRun) -> np.ndarray:
    """The clock of forgetting; without decay, flow time."""
    return run.value * times(run) if run.value else times(run)


def _collapse(axes: Axes, runs: Sequence[StudyRun]) -> None:
    hues = _hues([run.value for run in runs])
    for run in runs:
        x = _forgotten(run)
        axes.plot(x, series(run, "NC1"), color=hues[run.value], linewidth=1)
        if not run.value:
            axes.plot(x, series(run, "NC1_visible"), ":", color=hues[run.value], linewidth=1)
    axes.axhline(COLLAPSED, color="k", linewidth=0.7, linestyle="--")
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    _label(axes, "dotted: in row(W), without decay", FORGOTTEN, "NC1")


def _floor(axes: Axes, runs: Sequence[StudyRun]) -> None:
    decayed = [run for run in runs if run.value]
    if not decayed:
        return
    hues = _hues([run.value for run in runs])
    for run in decayed:
        axes.plot([run.value], [run.last("NC1")], "o", color=hues[run.value], markersize=4)
        if run.floors:
            axes.plot([run.value], [run.floors[-1].foretold], "kx", markersize=5)
    values = np.array(sorted({run.value for run in decayed}))
    middle = np.median([run.last("NC1") / run.value for run in decayed if run.value == values[-1]])
    # A line is of what has come to its floor.
    floors = any(run.floors for run in decayed)
    if floors:
        axes.plot(values, middle * values, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(values, [f"{v:g}" for v in values])
    axes.minorticks_off()
    title = "dashed: linear; crosses: foretold" if floors else "at the end of as many steps"
    _label(axes, title, "λ", "NC1 at the end")


def rowspace(runs: Sequence[StudyRun]) -> Figure:
    """NC1 and NC1 in row(W) over steps, without decay and with it; tr S in both parts."""
    figure, panes = _panes(2)
    for run in runs:
        hue, first = (RED if run.value else BLUE), run.seed == 0
        word = "paper's decay" if run.value else "no decay"
        for axes, whole, seen, names in (
            (panes[0], "NC1", "NC1_visible", ("NC1", "NC1 in row(W)")),
            (panes[1], "invisible", "visible", ("invisible tr S", "visible tr S")),
        ):
            axes.plot(
                run.steps,
                series(run, whole),
                color=hue,
                linewidth=1,
                label=f"{names[0]}, {word}" if first else None,
            )
            axes.plot(
                run.steps,
                series(run, seen),
                ":",
                color=hue,
                linewidth=1,
                label=f"{names[1]}, {word}" if first else None,
            )
    for axes, name in zip(panes, ("NC1", "variability"), strict=True):
        axes.set_yscale("log")
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=0)
        axes.legend(fontsize=7, frameon=False, loc="lower left")
        _label(axes, "ResNet8 by the paper's recipe", "step", name)
    return figure


def normalised(runs: Sequence[StudyRun]) -> Figure:
    """mu_c against sum |w|^2, the product over steps, and NC1 against int lambda dt."""
    figure, panes = _panes(3)
    groups = list(dict.fromkeys(run.group for run in runs))
    hues = dict(zip(groups, (GREY, BLUE, GREEN, RED, ORANGE, PURPLE), strict=False))
    for run in runs:
        label = run.group.removeprefix("recipe-") if run.seed == 0 else None
        filters = dict(zip(run.steps, series(run, "filters"), strict=True))
        w = np.array([filters[k.step] for k in run.kernels]) / filters[run.kernels[0].step]
        mu = np.array([k.mu_c for k in run.kernels]) / run.kernels[0].mu_c
        panes[0].plot(w, mu, "o-", color=hues[run.group], markersize=3, linewidth=0.8, label=label)
        steps, product = kernel_times_filters(run)
        panes[1].plot(steps, product, "o-", color=hues[run.group], markersize=3, linewidth=0.8)
        decay = np.array(run.decay, dtype=np.float64)
        if run.value:
            panes[2].plot(decay, series(run, "NC1"), color=hues[run.group], linewidth=1)
    low, high = panes[0].get_xlim()
    line = np.geomspace(max(low, 1e-3), high, 20)
    panes[0].plot(line, 1 / line, color="k", linewidth=0.7, linestyle="--")
    panes[0].set_xscale("log")
    panes[0].set_yscale("log")
    panes[0].legend(fontsize=7, frameon=False)
    _label(panes[0], "dashed: product constant", "Σ|w|² over its start", "μ_c over its start")
    panes[1].axhline(1, color="k", linewidth=0.7, linestyle="--")
    _label(panes[1], "product", "step", "μ_c Σ|w|² over its start")
    panes[2].set_yscale("log")
    panes[2].set_xscale("log")
    panes[2].set_xlim(left=1e-3)
    panes[2].axhline(0.1, color="k", linewidth=0.7, linestyle="--")
    _label(panes[2], "collapse", "∫λ dt", "NC1")
    return figure


def weighted(runs: Sequence[StudyRun]) -> Figure:
    """Skill of three constants in each window, by how they are chosen; hollow without decay."""
    figure, panes = _panes(2)
    kinds = {
        "block": (GREY, "mean over neurons"),
        "row-block": (BLUE, "row(W)"),
        "weighted-block": (RED, "weighted by W"),
        "no-class-structure": ("k", "baseline: no classes"),
    }
    for axes, quantity in zip(panes, ("M", "W"), strict=True):
        for shift, (rung, (hue, word)) in enumerate(kinds.items()):
            # Side by side: what decays, and what does not.
            for decays, inside, beside in ((True, hue, 0.03), (False, "none", -0.03)):
                known = [
                    (i + 1 + 0.17 * (shift - 1.5) + beside, max(y, -1.0))
                    for run in runs
                    if bool(run.value) == decays
                    for i, w in enumerate(run.windows)
                    if (y := {**w.skill, **(w.baselines or {})}.get(rung, {}).get(quantity)) is not None
                ]
                mark = "D" if rung == "no-class-structure" else "o"
                if known:
                    label = word if decays else None
                    places, skills = zip(*known, strict=True)
                    axes.plot(
                        places, skills, mark, color=hue, markerfacecolor=inside, markersize=4, label=label
                    )
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_xticks([1, 2, 3])
        _label(axes, "ResNet8; hollow: without decay", "window", f"skill on {quantity}, cut at -1")
    panes[0].legend(fontsize=7, frameon=False)
    return figure


FIGURES: Mapping[str, Callable[[Sequence[StudyRun]], Figure]] = {
    "forgetting": forgetting,
    "rowspace": rowspace,
    "normalised": normalised,
    "weighted": weighted,
}
