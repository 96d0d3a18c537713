"""What a finished run says: its summary, its figure, and one page that shows everything."""

from ntkflow_validation.pipeline.summary import draw, summary

__all__ = ["draw", "summary"]
