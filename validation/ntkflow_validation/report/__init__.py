"""What a finished run says on one page that shows everything, written with its summary and its figure."""

from ntkflow_validation.figures.windows import draw
from ntkflow_validation.pipeline.summary import summary

__all__ = ["draw", "summary"]
