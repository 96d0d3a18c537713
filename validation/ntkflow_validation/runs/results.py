"""What the steps of a run have left in its directory, read once for all that is made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ntkflow_validation.kernels import Measurement
from ntkflow_validation.runs.compared import ComparedRun
from ntkflow_validation.runs.documents import Line, Training
from ntkflow_validation.runs.rundir import RunDirectory


@dataclass(frozen=True, eq=False)
class Results:
    """The end of a run, for its figure, page and summary.

    Attributes:
        training: training.json; None before training begins.
        metrics: lines of metrics.jsonl.
        kernels: everything that was measured, by step, without kernels of samples and tensors.
        comparison: None before the run was compared.
    """

    training: Training | None
    metrics: Sequence[Line]
    kernels: Mapping[int, Measurement]
    comparison: ComparedRun | None

    @classmethod
    def of(
        cls,
        run: RunDirectory,
        kernels: Mapping[int, Measurement] | None = None,
        comparison: ComparedRun | None = None,
    ) -> "Results":
        """Those of a run.

        Args:
            run: its directory.
            kernels: what `RunDirectory.measurements` gives, where a step before has it already; None reads them.
            comparison: what was just written; None reads it.

        Raises:
            InputError: a file is damaged.
        """
        # All at once: a page and a summary made from two readings could be of two states of the run.
        return cls(
            run.training(),
            run.metrics(),
            run.measurements() if kernels is None else kernels,
            run.comparison() if comparison is None else comparison,
        )


def deviations(run: RunDirectory, training: Training | None) -> tuple[str, ...]:
    """Hypotheses of the theory that a run does not satisfy, in words: by its configuration, and what was seen while it ran."""
    seen = () if training is None else training.remarks or ()
    return (*run.config.deviations, *seen)
