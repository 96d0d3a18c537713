"""The line in Python: trainings, comparisons and measurements from their files and back; what `nf.load` finds here."""

from ntkflow._lazy import attach

# On demand: a training needs jax, and what only asks whose a file is does not.
_NAMES = {
    "LadderComparison": "ntkflow_validation.saved.comparison:LadderComparison",
    "TrainingRun": "ntkflow_validation.saved.training:TrainingRun",
}
__all__ = ["LadderComparison", "TrainingRun"]
__getattr__, __dir__ = attach(__name__, _NAMES)
