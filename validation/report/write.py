"""Write report.html for one or several runs, with the calibration of the running code."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from validation.calibration import calibration_of
from validation.report.gather import gather
from validation.report.page import write_page
from validation.rundir import RunDirectory

PAGE = "report.html"


def write_report(
    runs: Sequence[RunDirectory],
    path: Path | None = None,
    progress: Callable[[str, int, int], Any] = lambda *_: None,
) -> Path:
    """The page of some runs.

    Args:
        runs: compared runs, in the order in which they are shown.
        path: the file; by default report.html of the first run.
        progress: called while a calibration is made that this version does not have yet.

    Returns:
        The file.
    """
    target = runs[0].path / PAGE if path is None else path
    calibration = calibration_of(target.parent, progress)
    return write_page(target, [gather(run) for run in runs], calibration)
