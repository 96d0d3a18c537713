"""Write report.html for one or several runs, with the calibration of the running code."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ntkflow.progress import Progress, silent
from ntkflow.runs.border.reading import reading
from ntkflow_validation.calibration import calibration_of
from ntkflow_validation.figures.windows import draw
from ntkflow_validation.pipeline.summary import Summary, summary
from ntkflow_validation.report.gather import gather
from ntkflow_validation.report.page import write_page
from ntkflow_validation.runs.results import Results
from ntkflow_validation.runs.rundir import RunDirectory

PAGE = "report.html"
Attempt = Callable[[Callable[[], object], str], object]


def write_report(
    runs: Sequence[RunDirectory],
    path: Path | str | None = None,
    progress: Progress = silent,
    results: Mapping[RunDirectory, Results] = MappingProxyType({}),
) -> Path:
    """The page of some runs.

    Args:
        runs: compared runs, in the order in which they are shown.
        path: the file; by default report.html of the first run.
        progress: called while a calibration is made that this version does not have yet.
        results: what was read of a run before; of the others it is read here.

    Returns:
        The file.
    """
    target = runs[0].path / PAGE if path is None else Path(path)
    calibration = calibration_of(target.parent, progress)
    reports = []
    for run in runs:
        with reading("run", run.path, "what a page shows", "run its steps again"):
            reports.append(gather(run, results.get(run)))
    return write_page(target, reports, calibration)


def finish(
    run: RunDirectory,
    progress: Progress = silent,
    attempt: Attempt = lambda make, _: make(),
    results: Results | None = None,
) -> Summary:
    """Figure, page and, last, the summary, which marks the run complete; what has not been done yet is left out.

    Args:
        run: which.
        progress: called while a calibration is made.
        attempt: calls what makes figure and page, and may make less of an error in it; told what to do then.
        results: what the steps before have left; None reads it.

    Raises:
        InputError: a file of the run is damaged.
    """
    again = f"`ntkflow validate report {run.path}` makes it"
    known = results or Results.of(run)
    attempt(lambda: draw(run, known.comparison), again)
    if known.comparison is not None and known.comparison.windows:
        attempt(lambda: write_report([run], None, progress, {run: known}), again)
    found = summary(run, known)
    run.write_summary(found)
    return found
