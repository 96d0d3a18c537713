"""What every trajectory has: a length, a directory, a figure, a table and a data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntkflow import views
from ntkflow._types import Floats, Times

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class Figured:
    """What `nf.figure` draws."""

    def figure(self, **options: Any) -> "Figure":
        """Its panes as a matplotlib figure, of an ensemble medians with bands; `panes=`, `size=`, `style=` as in `nf.figure`."""
        # What draws stands above: the door leads there.
        import ntkflow

        return ntkflow.figure(self, **options)


class Trajectory(Figured):
    """`times`, (T,), and `series` along them, by name; what files and figures are made of stands above: the door leads there."""

    if TYPE_CHECKING:

        @property
        def times(self) -> Times:
            """Flow times of the sum loss (4), (T,)."""

        @property
        def series(self) -> Mapping[str, Floats]:
            """Named series, (T,) each, or (K, T) of K members."""

    def __len__(self) -> int:
        return len(self.times)

    def save(self, path: Path | str, *, overwrite: bool = False, figures: bool = False) -> Path:
        """Write a run directory, as `ntkflow simulate` does, which `ntkflow show` and `plot` take and `nf.load` reads back.

        Args:
            path: the directory.
            overwrite: replace a run that lies there.
            figures: draw its figure too.

        Raises:
            InputError: something else lies there.
        """
        import ntkflow

        return ntkflow.save(self, path, overwrite=overwrite, figures=figures)

    def to_pandas(self) -> "DataFrame":
        """A pandas.DataFrame of the series with index t; needs the extra `ntkflow[pandas]`."""
        return views.dataframe({"t": self.times, **self.series}, "t")

    def _repr_html_(self) -> str:
        rows = [(name, values[0], values[-1]) for name, values in self.series.items()]
        return views.html_table(repr(self), ("", "start", "end"), rows)
