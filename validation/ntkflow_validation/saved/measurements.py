"""The measurements of a run, by step: its kernels over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import views
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.kernels.found import CONSTANTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from xarray import Dataset

SHOWN = (*CONSTANTS, "alignment", "block_residual")
MEANINGS = {
    **{name: "block constant of the features' kernel, a mean over neurons and entries" for name in CONSTANTS},
    "alignment": "cosine of the features' kernel and Y'Y",
    "block_residual": "distance of the features' kernel from three constants, as a part of its norm",
}


class Measurements(dict[int, Measurement]):
    """Step to measurement, in the order of the steps; `nf.load` gives it of a folder, `TrainingRun.measurements` of a run."""

    def figure(
        self, *, panes: Sequence[str] | None = None, size: float | tuple[float, float] | None = None
    ) -> "Figure":
        """The constants, alignment and what is no block over the steps, and the maps of the last; see `nf.kernel_figure`.

        Raises:
            InputError: no such pane or size, or what was not measured.
        """
        # The door leads to what draws, which is slow to import.
        import ntkflow_validation

        drawn: Figure = ntkflow_validation.kernel_figure(self, axis="step", panes=panes, size=size)
        return drawn

    def to_pandas(self) -> "DataFrame":
        """A pandas.DataFrame with a row for each step; needs the extra `ntkflow[pandas]`."""
        columns = dict(zip(("step", *SHOWN), zip(*self._rows(), strict=True), strict=True))
        return views.dataframe(columns, "step")

    def to_xarray(self) -> "Dataset":
        """An xarray.Dataset along the steps: constants, their standard errors, alignment; needs `ntkflow[xarray]`.

        `standard_error` has the dimensions step and constant; it is NaN where nothing was sampled.
        """
        rows = [found.row() for found in self.values()]
        series = {name: np.array([row[name] for row in rows], dtype=float) for name in SHOWN}
        errors = np.array([[row["errors"][name] for name in CONSTANTS] for row in rows], dtype=float)
        found = views.dataset(["step"], {"step": ("step", np.array(list(self)), {})}, series, MEANINGS, {})
        found["constant"] = ("constant", np.array(CONSTANTS))
        found["standard_error"] = (("step", "constant"), errors.reshape(len(rows), len(CONSTANTS)))
        return found

    def _rows(self) -> list[tuple[object, ...]]:
        rows = ((step, found.row()) for step, found in self.items())
        return [(step, *(row[name] for name in SHOWN)) for step, row in rows]

    def __repr__(self) -> str:
        return f"Measurements(at steps {views.brief(list(self))})"

    def _repr_html_(self) -> str:
        return views.html_table(repr(self), ("step", *SHOWN), self._rows())
