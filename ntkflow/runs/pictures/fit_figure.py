"""The figure of a fit: its constants with their errors, and the trajectory they give beside the one observed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ntkflow.errors import InputError
from ntkflow.integrate.solve import solve
from ntkflow.integrate.stopping import Stop
from ntkflow.problem.kernels import ScheduledKernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.runs.pictures.figures import BLUE, GREEN, GREY, ORANGE, RED
from ntkflow.runs.pictures.layout import inches, some
from ntkflow.runs.pictures.shown import Shown
from ntkflow.runs.rundir import OF_LAYERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ntkflow.fitting.estimate import Fit
    from ntkflow.fitting.observed import Observed

LETTERS = 8.5
PANE = (4.2, 3.4)
KEYS = ("constants", "trajectory")
# More constants than this are numbered instead of named: names would lie over each other.
MOST_NAMES = 16
PARTS = (("M, class means", BLUE), ("H2, within classes", GREEN), ("W", RED), ("b", ORANGE))


def fit_figure(
    found: "Fit",
    observed: "Observed | None" = None,
    panes: Sequence[str] | None = None,
    size: float | tuple[float, float] | None = None,
) -> Figure:
    """One pane with the constants; with the observations a second one with both trajectories.

    Args:
        found: the fit.
        observed: what was fitted; its first state is integrated under the fitted kernel to the last time.
        panes: constants, trajectory; None: all for which there is what they need.
        size: width in inches, or width and height.

    Raises:
        InputError: the observations have other class sizes than the kernel or are given with a fit of layers, or a pane needs
            some and there are none.
        SolveError: the fitted kernel's trajectory cannot be integrated.
    """
    names = some(panes, KEYS, KEYS[:1] if observed is None else KEYS)
    if observed is None and "trajectory" in names:
        raise InputError("panes", "trajectory", "needs what was fitted", "pass observed=")
    if observed is not None and found.kind == OF_LAYERS:
        rule = "are of features under a kernel of their own, and the fit is of linear layers"
        raise InputError("observed", "states", rule, "draw the constants alone")
    figure = Shown(figsize=inches(size, (PANE[0] * len(names), PANE[1])), layout="constrained")
    FigureCanvasAgg(figure)
    for name, axes in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
        if observed is None or name == "constants":
            _constants(axes, found)
        else:
            _trajectories(axes, found, observed)
    state = "" if found.converged else ", not converged"
    title = f"fit of a {found.kind} kernel{state}: {found.misfit:.2g} of the motion left"
    figure.suptitle(title, fontsize=LETTERS + 2)
    return figure


def _constants(axes: "Axes", found: "Fit") -> None:
    """Estimates with one standard error, the linear start beside them; what the data leave open has no point."""
    names, estimates = list(found.estimates), list(found.estimates.values())
    places = np.arange(len(names))
    values = np.array([e.value for e in estimates])
    errors = np.array([e.error for e in estimates])
    known = np.isfinite(values)
    axes.errorbar(
        places[known],
        values[known],
        errors[known],
        fmt="o",
        color=BLUE,
        markersize=4,
        capsize=3,
        label="estimate",
    )
    axes.plot(places, [found.start[n] for n in names], "x", color=GREY, markersize=5, label="linear start")
    for place in places[~known]:
        where = axes.get_xaxis_transform()
        axes.text(
            place, 0.5, "open", transform=where, rotation=90, ha="center", fontsize=LETTERS - 1, color=GREY
        )
    # Beside a constant thirty times as large the others would lie on the axis.
    shown = np.abs(values[known & (values > 0)])
    if shown.size and shown.max() > 30 * shown.min() and np.all(values[known] > 0):
        axes.set_yscale("log")
    if len(names) <= MOST_NAMES:
        axes.set_xticks(places, names, rotation=35, ha="right")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("number of the constant in to_pandas()", fontsize=LETTERS)
    _dressed(axes, "Constants, with one standard error")


def _trajectories(axes: "Axes", found: "Fit", observed: "Observed") -> None:
    sizes, kernel = observed.sizes, found.kernel
    first = float(observed.times[0])
    if isinstance(kernel, ScheduledKernel):
        # Its times are those of the observations; a solution starts at zero.
        kernel = ScheduledKernel(tuple(t - first for t in kernel.times), kernel.kernels)
    at = observed.times - first
    problem = Problem(sizes, kernel, observed.states[0], train_bias=found.train_bias)
    solution = solve(problem, t_end=float(at[-1]), save_at=at, stop=Stop(None, None, None))
    predicted = [solution.state(i) for i in range(len(solution.times))]
    seen = np.array([_norms(state, sizes) for state in observed.states])
    foretold = np.array([_norms(state, sizes) for state in predicted])
    for k, (name, colour) in enumerate(PARTS):
        axes.plot(observed.times, seen[:, k], "o", color=colour, markersize=3, markeredgewidth=0)
        axes.plot(solution.times + first, foretold[:, k], "-", color=colour, linewidth=1.3, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("flow time t of the sum loss", fontsize=LETTERS)
    axes.set_ylabel("Frobenius norm", fontsize=LETTERS)
    _dressed(axes, "Observed (dots) and fitted (lines)")


def _norms(state: State, sizes: Sizes) -> tuple[float, ...]:
    ends = np.cumsum(sizes.masses).astype(int)[:-1]
    classes = np.split(state.H, ends, axis=1)  # samples are sorted by class
    means = np.stack([part.mean(axis=1) for part in classes], axis=1)
    within = np.concatenate([part - part.mean(axis=1, keepdims=True) for part in classes], axis=1)
    return tuple(float(np.linalg.norm(part)) for part in (means, within, state.W, state.b))


def _dressed(axes: "Axes", title: str) -> None:
    axes.set_title(title, fontsize=LETTERS + 1)
    axes.tick_params(labelsize=LETTERS)
    axes.grid(True, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    # Below: four curves leave no corner free.
    axes.legend(fontsize=LETTERS - 1, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=2)
