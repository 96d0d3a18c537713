"""A prediction beside what was observed of the training."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntkflow.problem.state import State
from ntkflow_validation.metrics.compare import Comparison
from ntkflow_validation.runs.rundir import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ntkflow_validation.recording.predicted import Predicted


@dataclass(frozen=True, eq=False)
class Against:
    """A prediction beside what was observed.

    Attributes:
        predicted: at the observed steps.
        steps: these.
        comparison: series of both, and skill at every time.
        clock: a sentence where one factor on all times explains what is missed, None elsewhere.
    """

    predicted: "Predicted"
    steps: list[int]
    comparison: Comparison
    clock: str | None = None

    @property
    def skill(self) -> dict[str, float]:
        """For each quantity the skill pooled over all later snapshots, see `nf.skill`."""
        return self.comparison.pooled

    def figure(self) -> "Figure":
        """Observed as points, predicted as lines."""
        from ntkflow_validation.figures.figures import comparison_figure

        kernel = self.predicted.problem.kernel.rung
        title = f"predicted from step {self.steps[0]} with the measured {kernel} kernel"
        return comparison_figure(self.comparison, {self.steps[0]: self.comparison}, title)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in self.skill.items())
        said = f"; {self.clock}" if self.clock else ""
        return f"Against(steps {self.steps[0]} to {self.steps[-1]}; skill {scores}{said})"


def observed(training: Any) -> list[tuple[int, State]]:
    """Pairs (step, state) of a run directory or its path, of a recorder, or as they are given."""
    if isinstance(training, str) or hasattr(training, "__fspath__"):
        training = RunDirectory.open(training)
    training = getattr(training, "run", training)
    if isinstance(training, RunDirectory):
        return [(step, training.read_snapshot(step).state) for step in training.steps()]
    return [(step, state) for step, state in training]
