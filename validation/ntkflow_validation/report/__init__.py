"""What a finished run says: its summary, its figure, and one page that shows everything."""

from ntkflow_validation.pipeline.summary import draw, kernel_rows, summary

__all__ = ["draw", "kernel_rows", "summary"]
