"""A comparison read back from its file: what every rung predicted, with its scores as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import views
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs.border.records import document, read_record
from ntkflow.runs.files import write_json
from ntkflow_validation.figures.windows import picture, what
from ntkflow_validation.ladder.score.scores import CENTRED
from ntkflow_validation.runs.compared import ComparedRun, ComparedRung, ComparedWindow
from ntkflow_validation.runs.rundir import REPEAT, RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from xarray import Dataset

# Scores that a page shows of every prediction.
MEANINGS = {
    "skill": "1 - |predicted - observed|^2 / |observed - observed at the start|^2",
    "error": "standard error of the skill",
}
SHOWN = ("window", "rung", "constants", "M", "M_error", "F_centred", "residual_class", "H2", "W")


@dataclass(frozen=True, eq=False, repr=False)
class LadderComparison:
    """How the rungs of the kernel ladder predicted windows of a run; `nf.load` reads it from comparison.json.

    Attributes:
        content: the document with everything that it says, window by window and rung by rung.
        trained: what was trained, for titles; empty where only the file is known.
    """

    content: ComparedRun
    trained: str = ""

    @classmethod
    def read(cls, path: Path | str, trained: str = "") -> "LadderComparison":
        """The comparison in a file.

        Raises:
            InputError: it cannot be read, or is of something else.
        """
        return cls(read_record(Path(path), "path", "a comparison", ComparedRun, REPEAT), trained)

    @classmethod
    def of_run(cls, run: RunDirectory) -> "LadderComparison | None":
        """The comparison of a run; None before there is one."""
        found = run.comparison()
        return None if found is None else cls(found, what(run.config))

    @property
    def windows(self) -> tuple[str, ...]:
        """Names of the windows, the leading one first: early, late, step N."""
        return tuple(window.name for window in self.content.windows)

    @cached_property
    def rows(self) -> list[Json]:
        """One row for each prediction of each window, baselines first: which it was, its skill on each quantity, the error.

        Skill is 1 - |predicted - observed|^2 / |observed - observed at the start|^2; what does not exist is None, and
        `refused` says why a rung could not be run.
        """
        return [_row(window, rung) for window in self.content.windows for rung in window.all_rungs]

    def to_pandas(self) -> "DataFrame":
        """A pandas.DataFrame of `rows`; needs the extra `ntkflow[pandas]`."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return views.dataframe({name: [row.get(name) for row in self.rows] for name in names})

    def to_xarray(self) -> "Dataset":
        """An xarray.Dataset along (prediction, quantity): skill and its error; needs the extra `ntkflow[xarray]`.

        Windows, rungs, their constants and modifications are coordinates of the predictions.
        """
        rows = self.rows
        names = dict.fromkeys(name for row in rows for name in row)
        quantities = [name for name in names if f"{name}_error" in names]
        skill, error = (
            np.array([[row.get(f"{name}{end}") for name in quantities] for row in rows], dtype=float)
            .reshape(len(rows), len(quantities))
            for end in ("", "_error")
        )  # fmt: skip
        facts = [name for name in names if name.removesuffix("_error") not in quantities]
        # None has no place in a file of arrays.
        columns = {name: ["" if row[name] is None else row[name] for row in rows] for name in facts}
        coords: views.Coordinates = {
            "quantity": ("quantity", np.array(quantities, dtype=str), {}),
            **{name: ("prediction", np.array(values), {}) for name, values in columns.items()},
        }
        series = {"skill": skill, "error": error}
        return views.dataset(["prediction", "quantity"], coords, series, MEANINGS, {"trained": self.trained})

    def figure(
        self,
        window: str | None = None,
        *,
        panes: Sequence[str] | None = None,
        size: float | tuple[float, float] | None = None,
    ) -> "Figure":
        """Predicted over observed trajectories of one window, and the scores of all; `figure.savefig(path)` writes it.

        Args:
            window: its name; None: the leading one, or the one with most snapshots where that has too few.
            panes: loss, features, weights, NC1, NC2, NC3, skill, windows; None: all of them.
            size: width in inches, or width and height.

        Raises:
            InputError: no such window, pane or size, or nothing in the window was predicted.
        """
        known = {w.name: w.step for w in self.content.windows}
        if window is not None and window not in known:
            raise InputError("window", repr(window), f"is none of {', '.join(known)}", "choose one of these")
        drawn = picture(self.content.windows, self.trained, known.get(window or ""), panes=panes, size=size)
        if drawn is None:
            reason = self.content.refused or "no rung predicted it"
            raise InputError(
                "window", window or "leading", f"has no prediction ({reason})", "compare the run again"
            )
        return drawn

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write it as a file of its own, from which `nf.load` gives it back.

        Raises:
            InputError: something lies there and `overwrite` is not given.
        """
        path = Path(path)
        if path.exists() and (path.is_dir() or not overwrite):
            raise InputError("path", path, "exists", "choose another or pass overwrite=True")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, document(self.content))
        return path

    def __repr__(self) -> str:
        windows = self.content.windows
        if not windows:
            return f"LadderComparison(no windows: {self.content.refused or 'nothing was predicted'})"
        known = [f"{w.name} (steps {w.step} to {w.last_step})" for w in windows]
        rungs = dict.fromkeys(rung.name for window in windows for rung in window.rungs)
        cheapest = [window.cheapest or "none" for window in windows]
        return (
            f"LadderComparison({views.brief(self.trained) + '; ' if self.trained else ''}windows {', '.join(known)}; "
            f"rungs {', '.join(rungs)}; cheapest that predicts: {', '.join(cheapest)})"
        )

    def _repr_html_(self) -> str:
        return views.html_table(repr(self), SHOWN, [[row.get(name) for name in SHOWN] for row in self.rows])


def _row(window: ComparedWindow, rung: ComparedRung) -> Json:
    uncentred = () if rung.skill is None else rung.skill.uncentred
    row: Json = {
        "window": window.name,
        "step": window.step,
        "last_step": window.last_step,
        "rung": rung.name,
        "modifications": ", ".join(rung.modifications),
        "constants": rung.constants,
        "refused": rung.refused,
    }
    for name in dict.fromkeys((*CENTRED, *uncentred)):
        found = rung.score(name)
        row |= {name: found.value, f"{name}_error": found.error}
    return row
