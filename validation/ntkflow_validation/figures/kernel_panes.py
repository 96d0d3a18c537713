"""The paper's Figure 1 for any network, with the block residual beside it. Measurements in, matplotlib figure out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ntkflow.errors import InputError
from ntkflow.runs.atomic import atomic
from ntkflow.runs.pictures.figures import BLUE, GREEN, ORANGE
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.kernels import Measurement, Summary
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.steps import epochs_of

TITLES = {
    "outputs": "Traced output NTK Θ",
    "features": "Traced features' NTK Θʰ",
    "output_norms": "Norms of Θ between outputs",
    "neuron_norms": "Norms of Θʰ between neurons",
}
MAP = "viridis"


def kernel_figure(
    kernels: Measurement | Mapping[float, Measurement],
    *,
    at: float | None = None,
    axis: str = "epoch",
    title: str | None = None,
) -> Figure:
    """Heat maps of the traced kernels and of the norms over pairs; alignment and block residual over time.

    Args:
        kernels: one measurement, or measurements by epoch (or step); those measured with the quantities
            "outputs", "pair-norms" and "output-pair-norms" have every pane, others have fewer.
        at: key of the one whose heat maps are drawn; the last by default.
        axis: what the keys are.
        title: line above the panes; by default what was measured, on what, and how.

    Returns:
        A figure of its own canvas; `figure.savefig(...)` writes it.

    Raises:
        InputError: there is nothing to draw, or nothing at `at`.

    Source: Figure 1 of the paper. Colours are fractions of the largest value of each map, as there; the
    block residual and the shares off the diagonals are not in the paper.
    """
    series: dict[float, Measurement] = (
        dict(sorted(kernels.items())) if isinstance(kernels, Mapping) else {0: kernels}
    )
    if not series:
        raise InputError("kernels", "nothing", "there must be a measurement to draw", "measure first")
    key = list(series)[-1] if at is None else at
    if key not in series:
        raise InputError("at", at, f"nothing was measured there, only at {list(series)}", "pick one of these")
    found = series[key]
    maps = {name: values for name, values in _maps(found).items() if values is not None}
    figure, panes = _panes(len(maps) + 2)
    for letter, axes, (name, values) in zip("abcd", panes, maps.items(), strict=False):
        _heat_map(figure, axes, values, found, name, letter)
    letters = "abcdef"[len(maps) :]
    _over_time(panes[-2], series, "alignment", f"{letters[0]}) Alignment with YᵀY", axis)
    _over_time(panes[-1], series, "block_residual", f"{letters[1]}) Distance from three constants", axis)
    figure.suptitle(_description(found) if title is None else title, fontsize=8.5)
    return figure


def draw_kernels(run: RunDirectory, step: int | None = None, suffix: str = "png") -> Path:
    """Draw what was measured of a run in full to figures/kernels.SUFFIX.

    Args:
        run: a run with steps measured in full.
        step: the one whose heat maps are drawn; the last by default.
        suffix: png, pdf or svg.

    Raises:
        InputError: nothing was measured in full, or not that step.
    """
    config, found = run.config, in_full(run)
    last = step if step is not None else max(found, default=0)
    at = None if step is None else epoch(config, step)
    figure = kernel_figure({epoch(config, s): kernel for s, kernel in found.items()}, at=at)
    drawn = f"{config.data.title}, {config.model.name}, step {last}"
    figure.suptitle(f"{drawn}: {figure.get_suptitle()}", fontsize=8.5)
    final = run.path / "figures" / f"kernels.{suffix}"
    final.parent.mkdir(exist_ok=True)
    with atomic(final) as handle:
        figure.savefig(handle, dpi=110, format=suffix)
    return final


def in_full(run: RunDirectory) -> dict[int, Measurement]:
    """What was measured of a run with more than the features' block constants, by step."""
    more = [step for step, found in run.measurements().items() if _full(found)]
    return {step: run.measurement(step) for step in more}


def _full(found: Measurement) -> bool:
    return found.outputs is not None or found.pairs is not None or found.output_pairs is not None


def epoch(config: RunConfig, step: int) -> float:
    """Passes through the data at a step, the axis of these figures."""
    return float(epochs_of(config.training, step, config.data.mean_per_class))


def _maps(found: Measurement) -> dict[str, np.ndarray | None]:
    """The maps by the names of `TITLES`; None where a quantity was not measured."""
    neurons, outputs = found.neuron_pairs, found.class_pairs
    return {
        "outputs": None if found.outputs is None else _by_class(found.outputs),
        "features": _by_class(found.features),
        "output_norms": None if outputs is None else outputs.norms,
        "neuron_norms": None if neurons is None else neurons.norms,
    }


def _by_class(family: Summary) -> np.ndarray | None:
    # A picture shows classes as blocks, whatever the order in which the samples were given.
    order = np.argsort(family.labels, kind="stable")
    return None if family.mean is None else family.mean[np.ix_(order, order)]


def _panes(count: int) -> tuple[Figure, Sequence[Axes]]:
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 2.85 * rows + 0.4), layout="compressed")
    FigureCanvasAgg(figure)
    panes = list(np.atleast_1d(figure.subplots(rows, columns)).flat)
    for axes in panes[count:]:
        axes.set_axis_off()
    return figure, panes[:count]


def _heat_map(
    figure: Figure, axes: Axes, values: np.ndarray, found: Measurement, name: str, letter: str
) -> None:
    relative = values / np.abs(values).max()
    image = axes.imshow(
        relative, cmap=MAP, vmin=min(0.0, float(relative.min())), vmax=1.0, interpolation="nearest"
    )
    axes.set_title(f"{letter}) {TITLES[name]}", fontsize=8.5)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=7.5)
    axes.tick_params(labelsize=7.5)
    if name in ("outputs", "features"):
        _separate_classes(axes, found.labels)
        axes.set_xlabel("samples by class", fontsize=7.5)
        return
    which = name.removesuffix("_norms")
    pairs = found.neuron_pairs if which == "neuron" else found.class_pairs
    assert pairs is not None
    stated = f" ± {pairs.share_error:.1g}" if pairs.share_error else ""
    for ticks in (axes.xaxis, axes.yaxis):
        ticks.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"{which}; squares off the diagonal {pairs.share:.2f}{stated}", fontsize=7.5)


def _separate_classes(axes: Axes, labels: np.ndarray) -> None:
    counts = np.bincount(labels)
    ends = np.cumsum(counts)
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color="white", linewidth=0.6)
        axes.axvline(end - 0.5, color="white", linewidth=0.6)
    if len(counts) <= 20:
        names = [str(c) for c in range(len(counts))]
        axes.set_xticks(ends - counts / 2 - 0.5, names)
        axes.set_yticks(ends - counts / 2 - 0.5, names)
        axes.tick_params(length=0)


def _over_time(axes: Axes, series: Mapping[float, Measurement], name: str, title: str, axis: str) -> None:
    keys = list(series)
    for family, label, colour, marker in (
        ("outputs", "Θ, traced", ORANGE, "s"),
        ("features", "Θʰ, traced", BLUE, "o"),
    ):
        values = [_number(getattr(found, family), name) for found in series.values()]
        if np.isfinite(values).any():
            axes.plot(keys, values, marker=marker, color=colour, markersize=4, label=label)
    if name == "block_residual":
        of_tensor = [_tensor_residual(found) for found in series.values()]
        if np.isfinite(of_tensor).any():
            axes.plot(keys, of_tensor, "^--", color=GREEN, markersize=4, label="Θʰ, all pairs of neurons")
    axes.set_title(title, fontsize=8.5)
    axes.set_ylim(0, 1)
    axes.set_xlabel(axis, fontsize=7.5)
    axes.tick_params(labelsize=7.5)
    axes.grid(True, color="0.92", linewidth=0.6)
    axes.legend(fontsize=7.5, frameon=False)
    positive = [key for key in keys if key > 0]
    if len(positive) > 2 and positive[-1] > 50 * positive[0]:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
        axes.set_xlim(-0.2 * positive[0], 1.3 * positive[-1])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _number(family: Summary | None, name: str) -> float:
    value = None if family is None else getattr(family, name)
    return float("nan") if value is None else float(value)


def _tensor_residual(found: Measurement) -> float:
    pairs = found.neuron_pairs
    return float("nan") if pairs is None else pairs.block_residual(found.features.block_square)


def _description(found: Measurement) -> str:
    per_class = sorted(set(found.counts.tolist()))
    span = str(per_class[0]) if len(per_class) == 1 else f"{per_class[0]} to {per_class[-1]}"
    return (
        f"{span} samples of each class, {found.neurons} of {found.total_neurons} neurons, "
        f"{found.method}, normalisation {found.bn}; alignment on {found.features.alignment_k} a class"
    )
