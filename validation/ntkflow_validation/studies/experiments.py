"""The experiments by name: what each runs, and how its numbers are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ntkflow.progress import Progress, silent
from ntkflow.runs.atomic import is_remains, refuse_existing
from ntkflow_validation.studies import cells, outcomes
from ntkflow_validation.studies.cells import Cell
from ntkflow_validation.studies.document import StudyRun, finished
from ntkflow_validation.studies.expectations import Values, Verdict, verdicts
from ntkflow_validation.studies.run import WORK, study

# In the order of the questions.
NAMES = ("forgetting", "rowspace", "normalised", "weighted")


@dataclass(frozen=True)
class Experiment:
    """One of them.

    Attributes:
        cells: its runs, of so many seeds.
        read: from runs to the numbers that something was expected of.
        of_scores: whether what was expected is of predictions in windows.
    """

    cells: Callable[[int], list[Cell]]
    read: Callable[[Sequence[StudyRun]], Mapping[str, Values]]
    of_scores: bool = False


EXPERIMENTS: Mapping[str, Experiment] = {
    "forgetting": Experiment(cells.forgetting, outcomes.forgetting),
    "rowspace": Experiment(cells.rowspace, outcomes.rowspace),
    "normalised": Experiment(cells.normalised, outcomes.normalised),
    "weighted": Experiment(cells.weighted, outcomes.weighted, of_scores=True),
}


def wanted(name: str, seeds: int, part: str | None = None) -> list[Cell]:
    """Cells of an experiment; of one part, those whose name starts with it, up to lambda or decay."""
    found = EXPERIMENTS[name].cells(seeds)
    return found if part is None else [c for c in found if c.group.rpartition("-lambda")[0] == part]


def conduct(
    name: str,
    out: Path | str,
    found: Sequence[Cell],
    draw_only: bool = False,
    workers: int = 0,
    progress: Progress = silent,
) -> tuple[list[StudyRun], list[Verdict]]:
    """Run what is missing, or only read what is there, and judge.

    Args:
        name: of the experiment.
        out: directory of the documents.
        found: its cells.
        draw_only: run nothing.
        workers: processes; 0: none.
        progress: see `study`.

    Returns:
        The runs, and a verdict for each expectation.

    Raises:
        InputError: a training diverged.
    """
    if draw_only:
        known = (finished(cell, out) for cell in found)
        runs = [run for run in known if run is not None]
    else:
        runs = study(out, found, workers, progress)
    return runs, verdicts(name, EXPERIMENTS[name].read(runs))


def file_name(name: str, part: str | None) -> str:
    """Of figure and tables, without the ending."""
    return name if part is None else f"{name}-{part}"


def make_place(out: Path | str) -> None:
    """A directory for experiments.

    Raises:
        InputError: it holds anything else.
    """
    place = Path(out)
    if place.is_dir() and not all(_owned(entry) for entry in place.iterdir() if not is_remains(entry)):
        refuse_existing(place, overwrite=False)
    place.mkdir(parents=True, exist_ok=True)


def _owned(entry: Path) -> bool:
    written = any(entry.match(f"{name}*.{ending}") for name in NAMES for ending in ("png", "md"))
    return entry.name == WORK or written or entry.match("*-seed*.json")
