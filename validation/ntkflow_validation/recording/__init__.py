"""Anyone's training in our run format, and what is made of it: recorded, compared, predicted.

`Recorder` writes a run directory from a loop of one's own; `compare` and `predict` take it from there. All of these are
found from ntkflow's own door too, as `nf.Recorder`, `nf.compare`, `nf.predict`, `nf.skill`.
"""

from ntkflow._lazy import attach

# On demand: the callbacks and sinks need libraries that others do not have.
_NAMES = {
    "Against": "ntkflow_validation.recording.predicted:Against",
    "Compared": "ntkflow_validation.recording.comparison:Compared",
    "Predicted": "ntkflow_validation.recording.predicted:Predicted",
    "Recorder": "ntkflow_validation.recording.recorder:Recorder",
    "RecordingWarning": "ntkflow_validation.recording.warned:RecordingWarning",
    "TensorBoard": "ntkflow_validation.recording.sinks:TensorBoard",
    "WandB": "ntkflow_validation.recording.sinks:WandB",
    "after_steps": "ntkflow_validation.recording.callbacks:after_steps",
    "compare": "ntkflow_validation.recording.comparison:compare",
    "each": "ntkflow_validation.recording.callbacks:each",
    "lightning": "ntkflow_validation.recording.callbacks:lightning",
    "predict": "ntkflow_validation.recording.predicted:predict",
}
__all__ = [
    "Against", "Compared", "Predicted", "Recorder", "RecordingWarning", "TensorBoard", "WandB", "after_steps", "compare",
    "each", "lightning", "predict",
]  # fmt: skip
__getattr__, __dir__ = attach(__name__, _NAMES)
