"""The paper's Figure 1 for any network, with the block residual beside it. Views in, matplotlib figure out."""

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
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.runs.kernel_view import KernelView, views_of
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.clock import epochs_of

Shown = Measurement | KernelView
TITLES = {
    "outputs": "Traced output NTK Θ",
    "features": "Traced features' NTK Θʰ",
    "output_norms": "Norms of Θ between outputs",
    "neuron_norms": "Norms of Θʰ between neurons",
}
MAP = "viridis"


def kernel_figure(
    kernels: Shown | Mapping[float, Shown],
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
    series = {key: _view(k) for key, k in sorted(_mapping(kernels).items())}
    if not series:
        raise InputError("kernels", "nothing", "there must be a measurement to draw", "measure first")
    key = list(series)[-1] if at is None else at
    if key not in series:
        raise InputError("at", at, f"nothing was measured there, only at {list(series)}", "pick one of these")
    view = series[key]
    maps = [name for name in TITLES if getattr(view, name) is not None]
    figure, panes = _panes(len(maps) + 2)
    for letter, axes, name in zip("abcd", panes, maps, strict=False):
        _heat_map(figure, axes, getattr(view, name), view, name, letter)
    letters = "abcdef"[len(maps) :]
    _over_time(panes[-2], series, "alignment", f"{letters[0]}) Alignment with YᵀY", axis)
    _over_time(panes[-1], series, "block_residual", f"{letters[1]}) Distance from three constants", axis)
    figure.suptitle(_description(view) if title is None else title, fontsize=8.5)
    return figure


def draw_kernels(run: RunDirectory, step: int | None = None, suffix: str = "png") -> Path:
    """Draw what measurements/ of a run holds to figures/kernels.SUFFIX.

    Args:
        run: a run with steps measured in full.
        step: the one whose heat maps are drawn; the last by default.
        suffix: png, pdf or svg.

    Raises:
        InputError: nothing was measured in full, or not that step.
    """
    config = run.config
    views = {_epoch(config, at): view for at, view in views_of(run).items()}
    last = step if step is not None else max(views_of(run), default=0)
    at = None if step is None else _epoch(config, step)
    figure = kernel_figure(views, at=at)
    drawn = f"{config.data.name}, {config.model.name}, step {last}"
    figure.suptitle(f"{drawn}: {figure.get_suptitle()}", fontsize=8.5)
    final = run.path / "figures" / f"kernels.{suffix}"
    final.parent.mkdir(exist_ok=True)
    with atomic(final) as handle:
        figure.savefig(handle, dpi=110, format=suffix)
    return final


def _epoch(config: RunConfig, step: int) -> float:
    return float(epochs_of(config.training, step, config.data.per_class))


def _mapping(kernels: Shown | Mapping[float, Shown]) -> Mapping[float, Shown]:
    return kernels if isinstance(kernels, Mapping) else {0: kernels}


def _view(kernel: Shown) -> KernelView:
    return kernel if isinstance(kernel, KernelView) else KernelView.of(kernel)


def _panes(count: int) -> tuple[Figure, Sequence[Axes]]:
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 2.85 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panes = list(np.atleast_1d(figure.subplots(rows, columns)).flat)
    for axes in panes[count:]:
        axes.set_axis_off()
    return figure, panes[:count]


def _heat_map(
    figure: Figure, axes: Axes, values: np.ndarray, view: KernelView, name: str, letter: str
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
        _separate_classes(axes, view.labels)
        axes.set_xlabel("samples by class", fontsize=7.5)
        return
    which = name.removesuffix("_norms")
    share, error = view.share(which)
    stated = f" ± {error:.1g}" if error > 0 else ""
    for ticks in (axes.xaxis, axes.yaxis):
        ticks.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"{which}; squares off the diagonal {share:.2f}{stated}", fontsize=7.5)


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


def _over_time(axes: Axes, series: Mapping[float, KernelView], name: str, title: str, axis: str) -> None:
    keys = list(series)
    for family, label, colour, marker in (
        ("outputs", "Θ, traced", ORANGE, "s"),
        ("features", "Θʰ, traced", BLUE, "o"),
    ):
        values = [view.number(family, name) for view in series.values()]
        if np.isfinite(values).any():
            axes.plot(keys, values, marker=marker, color=colour, markersize=4, label=label)
    if name == "block_residual":
        of_tensor = [_tensor_residual(view) for view in series.values()]
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


def _tensor_residual(view: KernelView) -> float:
    value = view.numbers.get("tensor_block_residual")
    return float("nan") if value is None else float(value)


def _description(view: KernelView) -> str:
    numbers = view.numbers
    per_class = sorted(set(numbers["samples"]))
    span = str(per_class[0]) if len(per_class) == 1 else f"{per_class[0]} to {per_class[-1]}"
    half = numbers["features"]["alignment_k"]
    return (
        f"{span} samples of each class, {numbers['neurons']} of {numbers['neurons_in_all']} neurons, "
        f"{numbers['method']}, normalisation {numbers['bn']}; alignment on {half} a class"
    )
