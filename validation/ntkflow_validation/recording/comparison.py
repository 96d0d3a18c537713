"""`compare`: a run, recorded or trained here, beside what every rung of the ladder predicts."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntkflow import checks
from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow.words import spelled
from ntkflow_validation.figures.windows import picture, what
from ntkflow_validation.ladder.export import table
from ntkflow_validation.ladder.run import LadderSettings, compare_run
from ntkflow_validation.ladder.score.scores import CENTRED
from ntkflow_validation.report.write import PAGE, finish
from ntkflow_validation.runs.compared import ComparedRun, ComparedWindow
from ntkflow_validation.runs.results import Results
from ntkflow_validation.runs.rundir import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ntkflow_validation.recording.recorder import Recorder


SENTENCE = (
    "In brackets: the skill on M that giving an assumption up gains, with its standard error; along the chain of rungs these "
    "gains add up to all that three constants miss."
)


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison; printed it is the table of `ntkflow validate frontier`, and what broke the theory in each window.

    Attributes:
        run: the run directory, which has comparison.json, figures/comparison.png and report.html now.
        document: what comparison.json holds; docs/files.md says what.
    """

    run: RunDirectory
    document: ComparedRun

    @property
    def report(self) -> Path:
        """The page: overlays, attribution, scores, kernels, configuration; there unless compared with report=False."""
        return self.run.path / PAGE

    @property
    def windows(self) -> tuple[ComparedWindow, ...]:
        """Windows of the run, the leading one first."""
        return self.document.windows

    def skill(self, quantity: str = "M", window: int = 0) -> dict[str, float]:
        """Skill of every rung's flow on one quantity.

        Args:
            quantity: M, H2, F_centred, W, b, residual_global, residual_class or residual_individual.
            window: which, by position.
        """
        if not 0 <= window < len(self.windows):
            raise InputError("window", window, f"there are {len(self.windows)}", "give a position from 0")
        rungs = [r for r in self.windows[window].rungs if r.skill and not r.modifications]
        checks.choice("quantity", quantity, CENTRED)
        scores = {r.name: r.skill.on(quantity).value for r in rungs if r.skill}
        return {name: float("nan") if value is None else value for name, value in scores.items()}

    def figure(self, **options: Any) -> "Figure":
        """Observed as points, predicted as lines; `panes=` and `size=` as of `LadderComparison.figure`.

        Raises:
            InputError: no rung predicted anything, or there is no such pane.
        """
        found = picture(self.windows, what(self.run.config), **options)
        if found is None:
            raise InputError(
                "run", self.run.path, "has no prediction to draw", "see its report for the reasons"
            )
        return found

    def __repr__(self) -> str:
        found = self.document
        lines = [f"not compared: {found.refused}"] if found.refused else table(found.windows)
        said = [f"{window.name}: {window.sentence}" for window in found.windows if window.sentence]
        lines += [*said, SENTENCE] if said else []
        return "\n".join([*lines, *(f"not in the theory: {d}" for d in found.deviations)])


@spelled
def compare(
    run: "RunDirectory | Recorder | Path | str",
    *,
    rungs: Sequence[str] | str | None = None,
    windows: int = 3,
    from_snapshot: int | None = None,
    report: bool = True,
    progress: Progress = silent,
) -> Compared:
    """Predict windows of a run with the rungs of the kernel ladder; writes comparison.json, a figure and report.html.

    Args:
        run: a run directory or its path, recorded or trained here, with measured kernels; or a recorder, also while it
            records.
        rungs: names, or "all"; None for those that are cheap enough, of a recorded run for all that follow from what was
            measured.
        windows: at most so many stretches of the run.
        from_snapshot: predict from this measured step to the end instead.
        report: write figure, page and summary too; the first page of a version takes a calibration of some seconds.
        progress: called with (what, done, in all).

    Raises:
        InputError: there is no run, nothing was measured in it, or there is no such rung.
        InUseError: another process works on the run.
    """
    found, held = _opened(run)
    names = (rungs,) if isinstance(rungs, str) else None if rungs is None else tuple(rungs)
    settings = LadderSettings(rungs=names, windows=checks.whole("windows", windows, 1))
    with nullcontext() if held else found.locked():
        kernels = found.measurements()
        document = compare_run(found, from_snapshot, progress, settings, kernels)
        if report:
            finish(found, progress, results=Results.of(found, kernels, document))
    return Compared(found, document)


def _opened(run: "RunDirectory | Recorder | Path | str") -> tuple[RunDirectory, bool]:
    """The run, and whether it is this process that holds it."""
    if isinstance(run, RunDirectory):
        return run, False
    if isinstance(run, Path | str):
        return RunDirectory.open(run), False
    return run.run, run.recording
