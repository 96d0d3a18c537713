"""The paper's figures from run and sweep directories, and the runs they need."""

from ntkflow_validation.paper.draw import draw_figure
from ntkflow_validation.paper.registry import FIGURES, PaperFigure, paper_figure

__all__ = ["FIGURES", "PaperFigure", "draw_figure", "paper_figure"]
