"""Figures that a notebook shows: without pyplot, which nothing here imports, it would print their size alone."""

from io import BytesIO

from matplotlib.figure import Figure

# Of a picture on a screen; files are saved with their own.
DPI = 100


class Shown(Figure):
    """A figure that is its picture where it is the value of a cell."""

    def _repr_png_(self) -> bytes:
        held = BytesIO()
        self.savefig(held, format="png", dpi=DPI)
        return held.getvalue()
