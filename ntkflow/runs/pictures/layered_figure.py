"""The figure of a run of linear layers: its kernel and how it aligns, beside NC1-NC3 layer by layer."""

from collections.abc import Mapping

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ntkflow._types import Floats
from ntkflow.runs.pictures.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Line, pane
from ntkflow.runs.pictures.shown import Shown

COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, GREY)


def layered_figure(t: Floats, series: Mapping[str, Floats], title: str, L: int) -> Figure:
    """Eight panes against flow time t (units of the sum loss, eq. 4).

    Args:
        t: times, (T,).
        series: named series, (T,) each; panes whose series are absent say so.
        title: one line above the panes.
        L: number of layers.
    """
    figure = Shown(figsize=(14, 6.6))
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 4)
    figure.subplots_adjust(left=0.055, right=0.99, bottom=0.085, top=0.895, wspace=0.27, hspace=0.36)
    figure.suptitle(title, fontsize=11, y=0.972)
    for axes, (name, label, log, lines) in zip(grid.flat, panes(L).values(), strict=True):
        pane(axes, t, series, lines, log)
        axes.set_title(name, fontsize=10)
        axes.set_ylabel(label, fontsize=8.5)
    # Six curves: their names stand in two columns above them.
    low, high = grid[0, 0].get_ylim()
    grid[0, 0].set_ylim(low, high * (high / low) ** 0.4)
    grid[0, 0].legend(fontsize=7, frameon=False, loc="upper left", ncols=2)
    for axes in grid[1]:
        axes.set_xlabel("flow time t", fontsize=9)
    return figure


def panes(L: int) -> dict[str, tuple[str, str, bool, list[Line]]]:
    """The panes by name: title, label of the axis, whether that is logarithmic, lines."""
    mus = (("mu_single", "μ single"), ("mu_class", "μ class"), ("mu_global", "μ global"))
    kernel = [
        (f"{name}{kind}", f"{letters}{words}", COLOURS[i], style)
        for kind, words, style in (("", "", "-"), ("_W", ", W-weighted", "--"))
        for i, (name, letters) in enumerate(mus)
    ]
    share = [("alignment", "mean kernel", "black", "-"), *_by_layer("alignment", L, ":")]
    rest = [("off_neuron", "off-neuron part", BLUE, "-"), ("block_residual", "block residual", RED, "-")]
    fit = [
        ("loss", "loss", "black", "-"),
        ("V", "V", GREY, ":"),
        ("Q_gap", "Q off its law", ORANGE, ":"),
    ]
    learned = [
        ("p_most", "largest p", BLUE, "-"),
        ("p_least", "smallest p", RED, "--"),
        ("NC4", "NC4", GREY, ":"),
    ]
    return {
        "kernel": ("Kernel's eigenvalues", "eigenvalue", True, kernel),
        "alignment": ("Alignment with the labels", "centred cosine", False, share),
        "blocks": ("Kernel beside blocks", "share of the norm", False, rest),
        "loss": ("Loss", "loss, laws", True, fit),
        "NC1": ("NC1 by layer", "tr S / tr P G", True, _by_layer("NC1", L, "-")),
        "NC2": ("NC2 by layer", "distance from the simplex ETF", True, _by_layer("NC2", L, "-")),
        "NC3": ("NC3 by layer", "distance from self-duality", True, _by_layer("NC3", L, "-")),
        "fitted": ("Share of the labels fitted", "singular values of W H, NC4", False, learned),
    }


def _by_layer(name: str, L: int, style: str) -> list[Line]:
    return [
        (f"{name}_layer{l}", f"layer {l}", COLOURS[(l - 1) % len(COLOURS)], style) for l in range(1, L + 1)
    ]
