"""The paper's figures from run and sweep directories, and the runs they need."""

from validation.paper.draw import draw_figure
from validation.paper.registry import FIGURES, PaperFigure, paper_figure

__all__ = ["FIGURES", "PaperFigure", "draw_figure", "paper_figure"]
