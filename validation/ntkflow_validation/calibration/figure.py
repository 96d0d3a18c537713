"""Skill against block residual: the figure of a calibration."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ntkflow.runs.pictures.figures import BLUE, GREEN, RED
from ntkflow.runs.pictures.shown import Shown
from ntkflow_validation.calibration.cells import DEPARTURES
from ntkflow_validation.calibration.document import Calibration

TITLES = {
    "noise": "noise on the inputs",
    "bend": "nonlinear branch mixed in",
    "width": "the branch made narrow",
}
PANES = ("centred class means M", "deviations within classes H2")
COLOURS = {"noise": BLUE, "bend": RED, "width": GREEN}


def calibration_figure(found: Calibration) -> Figure:
    """Skill of three constants on M and on H2, against the residual of the blocks at the start."""
    figure = Shown(figsize=(9, 3.8))
    FigureCanvasAgg(figure)
    for axes, quantity, title in zip(figure.subplots(1, 2, sharey=True), ("M", "H2"), PANES, strict=True):
        for kind in DEPARTURES:
            rows = sorted(
                (d for d in found.departures if d.departure == kind), key=lambda d: d.block_residual
            )
            scores = [d.scores[f"block_{quantity}"] for d in rows]
            y = np.array([np.nan if s.value is None else s.value for s in scores], dtype=np.float64)
            error = [s.error or 0.0 for s in scores]
            x, style = (
                [d.block_residual for d in rows],
                {"color": COLOURS[kind], "markersize": 4, "capsize": 2},
            )
            axes.errorbar(x, np.maximum(y, -1), error, fmt="o-", label=TITLES[kind], **style)
        axes.plot([0], [found.control.scores[f"block_{quantity}"]], "k*", markersize=9, label="known answer")
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_ylim(-1.05, 1.05)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("residual of the blocks at the start", fontsize=9)
        axes.grid(True, color="0.92", linewidth=0.6)
    figure.axes[0].set_ylabel("skill of three constants, cut at -1", fontsize=9)
    figure.axes[0].legend(fontsize=8, frameon=False, loc="lower left")
    figure.tight_layout()
    return figure
