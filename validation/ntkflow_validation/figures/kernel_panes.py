"""The paper's Figure 1 for any network, with the block residual beside it. Measurements in, matplotlib figure out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ntkflow.errors import InputError
from ntkflow.runs.atomic import atomic
from ntkflow.runs.pictures.figures import BLUE, GREEN, ORANGE
from ntkflow.runs.pictures.layout import filled, inches, sides, some
from ntkflow.runs.pictures.shown import Shown
from ntkflow.words import spelled
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
OVER_TIME = {"alignment": "Alignment with YᵀY", "block_residual": "Distance from three constants"}
CONSTANTS = "constants"
KEYS = (*TITLES, *OVER_TIME, CONSTANTS)
# What stands below the constants: kappas of features and gammas of outputs have one place.
SYMBOLS = {
    "d": "d",
    "c": "c",
    "n": "n",
    "mu_single": "μ single",
    "mu_class": "μ class",
    "mu_global": "μ global",
}
MAP = "viridis"
# A narrower pane has no room for its map and the bar beside it.
LEAST_PANE = 2.4


@spelled
def kernel_figure(
    kernels: Measurement | Mapping[float, Measurement],
    *,
    at: float | None = None,
    axis: str = "epoch",
    title: str | None = None,
    panes: Sequence[str] | None = None,
    size: float | tuple[float, float] | None = None,
) -> Figure:
    """Heat maps of the traced kernels and of the norms over pairs; alignment and block residual over time.

    Of one measurement, which has no time, the constants with their errors stand where these two would.

    Args:
        kernels: one measurement, or measurements by epoch (or step); those measured with the quantities
            "outputs", "pair-norms" and "output-pair-norms" have every pane, others have fewer.
        at: key of the one whose heat maps are drawn; the last by default.
        axis: what the keys are.
        title: line above the panes; by default what was measured, on what, and how.
        panes: some of `KEYS`; by default every map that was measured, and what is told above.
        size: width in inches, or width and height; by default as large as the panes need.

    Returns:
        A figure of its own canvas; `figure.savefig(...)` writes it.

    Raises:
        InputError: there is nothing to draw, or nothing at `at`; a map that was not measured; no such pane or size.

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
    lines = {name: drawn for name in OVER_TIME if (drawn := _lines_of(series, name))}
    names = some(panes, KEYS, [*maps, *(lines if isinstance(kernels, Mapping) else (CONSTANTS,))])
    if not names:
        rule = "of batch mode, or of constants alone, have nothing of pairs of samples that could be drawn"
        raise InputError("kernels", f"{len(series)} measurements", rule, "see their constants in a report")
    unmeasured = [name for name in names if name not in (*maps, *lines, CONSTANTS)]
    if unmeasured:
        raise InputError("panes", unmeasured[0], "was not measured", "ask for it with quantities=")
    figure, grid = _panes(len(names), size)
    for letter, axes, name in zip("abcdefg", grid, names, strict=False):
        if name in maps:
            _heat_map(figure, axes, maps[name], found, name, letter)
        elif name == CONSTANTS:
            _constants(axes, found, letter)
        else:
            _over_time(axes, list(series), lines[name], f"{letter}) {OVER_TIME[name]}", axis)
    words = _description(found) if title is None else title
    figure.suptitle(fill(words, int(18 * figure.get_figwidth())), fontsize=8.5)
    return figure


def draw_kernels(
    run: RunDirectory,
    step: int | None = None,
    suffix: str = "png",
    measured: Mapping[int, Measurement] | None = None,
) -> Path:
    """Draw what was measured of a run in full to figures/kernels.SUFFIX.

    Args:
        run: a run with steps measured in full.
        step: the one whose heat maps are drawn; the last by default.
        suffix: png, pdf or svg.
        measured: everything that was measured, without its large arrays; None reads it.

    Raises:
        InputError: nothing was measured in full, or not that step.
    """
    config, found = run.config, in_full(run, measured)
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


def in_full(run: RunDirectory, measured: Mapping[int, Measurement] | None = None) -> dict[int, Measurement]:
    """What was measured of a run with more than the features' block constants, by step."""
    known = run.measurements() if measured is None else measured
    more = [step for step, found in known.items() if _full(found)]
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


def _panes(count: int, size: float | tuple[float, float] | None) -> tuple[Figure, Sequence[Axes]]:
    columns = min(count, 3 if size is None else max(1, min(3, int(sides(size)[0] / LEAST_PANE))))
    rows = -(-count // columns)
    columns = -(-count // rows)  # rows of equal length: two and two, not three and one
    figure = Shown(figsize=inches(size, (3.2 * columns, 2.85 * rows + 0.4)), layout="compressed")
    FigureCanvasAgg(figure)
    return figure, filled(figure, count, rows, columns)


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


def _lines_of(series: Mapping[float, Measurement], name: str) -> list[tuple[list[float], str, str, str]]:
    """Values, style, colour and label of every line of a pane over time."""
    lines = [
        ([_number(found.outputs, name) for found in series.values()], "s-", ORANGE, "Θ, traced"),
        ([_number(found.features, name) for found in series.values()], "o-", BLUE, "Θʰ, traced"),
    ]
    if name == "block_residual":
        whole = [_tensor_residual(found) for found in series.values()]
        lines.append((whole, "^--", GREEN, "Θʰ, all pairs of neurons"))
    return [line for line in lines if np.isfinite(line[0]).any()]


def _over_time(
    axes: Axes,
    keys: Sequence[float],
    lines: Sequence[tuple[list[float], str, str, str]],
    title: str,
    axis: str,
) -> None:
    for values, style, colour, label in lines:
        axes.plot(keys, values, style, color=colour, markersize=4, label=label)
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


def _constants(axes: Axes, found: Measurement, letter: str) -> None:
    """Every constant of both families with its standard error, where there is one."""
    families = (("outputs", "Θ, traced", ORANGE, "s"), ("features", "Θʰ, mean over neurons", BLUE, "o"))
    names: list[str] = []
    for name, label, colour, marker in families:
        family: Summary | None = getattr(found, name)
        if family is None:
            continue
        names = list(family.constants)
        constants = family.constants.values()
        errors = [constant.standard_error or 0.0 for constant in constants]
        values = [constant.value for constant in constants]
        axes.errorbar(
            range(len(names)), values, errors, fmt=marker, color=colour, markersize=4, capsize=3, label=label
        )
    axes.set_xticks(range(len(names)), [SYMBOLS[name] for name in names], rotation=35, ha="right")
    axes.set_title(f"{letter}) Constants κ and γ, with standard errors", fontsize=8.5)
    axes.axhline(0, color="0.6", linewidth=0.8)
    own = found.features
    known = {"alignment with YᵀY": own.alignment, "distance from three constants": own.block_residual}
    words = ", ".join(f"{name} {value:.2f}" for name, value in known.items() if value is not None)
    axes.set_xlabel(f"Θʰ: {words}" if words else "", fontsize=7.5)
    axes.tick_params(labelsize=7.5)
    axes.grid(True, color="0.92", linewidth=0.6)
    axes.legend(fontsize=7.5, frameon=False)


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
