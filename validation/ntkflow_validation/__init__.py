"""Real networks against the theory: train, measure the empirical kernels, predict, compare.

`ntkflow_validation.measure(features, params, X, y)` measures the kernels of any network; see `ntkflow_validation.kernels`;
`ntkflow_validation.kernel_figure(...)` draws them. All of these are found from ntkflow's own door too, as `nf.measure`.
"""

from ntkflow._lazy import attach

# On demand: the command line imports this package and must not wait for jax. The door's names in pyproject.toml.
_NAMES = {
    "RunConfig": "ntkflow_validation.config.config:RunConfig",
    "Recorder": "ntkflow_validation.recording.recorder:Recorder",
    "compare": "ntkflow_validation.recording.comparison:compare",
    "conservation_laws": "ntkflow_validation.conservation.laws_of:conservation_laws",
    "gram": "ntkflow_validation.kernels:gram",
    "kernel_figure": "ntkflow_validation.figures.kernel_panes:kernel_figure",
    "measure": "ntkflow_validation.kernels:measure",
    "predict": "ntkflow_validation.recording.predicted:predict",
    "recalibrate": "ntkflow_validation.normalisation:recalibrate",
    "skill": "ntkflow_validation.metrics.skill:skill",
    "train": "ntkflow_validation.training.train:train",
}
__all__ = [
    "Recorder", "RunConfig", "compare", "conservation_laws", "gram", "kernel_figure", "measure", "predict", "recalibrate",
    "skill", "train",
]  # fmt: skip
__getattr__, __dir__ = attach(__name__, _NAMES)
