"""What a picture of kernels shows of one measurement; from memory or from a run's measurements/."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkflow._types import ClassMatrix, FeatureMatrix, Json, SampleKernel
from ntkflow.store import read_arrays
from validation.kernels import Measurement
from validation.rundir import RunDirectory


@dataclass(frozen=True, eq=False)
class KernelView:
    """The panes of the paper's Figure 1 for one set of parameters; what was not measured is None.

    Attributes:
        labels: class of each sample, sorted.
        outputs: output NTK, mean over outputs (traced but for a factor), N x N.
        features: features' NTK, mean over neurons, N x N.
        output_norms: |Theta_ks|_F of every pair of outputs, C x C.
        neuron_norms: |Theta^h_pq|_F of every pair of measured neurons, n x n.
        numbers: the document of the measurement (`Measurement.to_dict`).
    """

    labels: np.ndarray
    outputs: SampleKernel | None
    features: SampleKernel | None
    output_norms: ClassMatrix | None
    neuron_norms: FeatureMatrix | None
    numbers: Json

    @classmethod
    def of(cls, measurement: Measurement) -> "KernelView":
        """The view of a measurement in memory."""
        return cls._from(measurement.arrays(), measurement.to_dict())

    @classmethod
    def read(cls, run: RunDirectory, step: int) -> "KernelView":
        """The view of measurements/STEP.npz and .json of a run.

        Raises:
            InputError: the step was not measured in full, or a file cannot be read.
        """
        arrays, _ = read_arrays(run.path / "measurements" / f"{step}.npz", "measurement")
        return cls._from(arrays, run.read_json(f"measurements/{step}.json"))

    @classmethod
    def _from(cls, arrays: Mapping[str, np.ndarray], numbers: Json) -> "KernelView":
        names = ("outputs_mean", "features_mean", "outputs_pair_norms", "features_pair_norms")
        outputs, features, output_norms, neuron_norms = (arrays.get(name) for name in names)
        # A picture shows classes as blocks, whatever the order in which the samples were given.
        order = np.argsort(arrays["labels"], kind="stable")
        outputs, features = (None if K is None else K[np.ix_(order, order)] for K in (outputs, features))
        return cls(arrays["labels"][order], outputs, features, output_norms, neuron_norms, numbers)

    def number(self, family: str, name: str) -> float:
        """A number of "features" or "outputs"; NaN when it was not measured."""
        values: dict[str, Any] = self.numbers.get(family) or {}
        value = values.get(name)
        return float("nan") if value is None else float(value)

    def share(self, which: str) -> tuple[float, float]:
        """Share of |Theta|^2 off the diagonal of "neuron" or "output" pairs, and its standard error; or NaN."""
        found = self.numbers.get(f"off_{which}_share") or {}
        values = (found.get("share"), found.get("standard_error"))
        return tuple(float("nan") if v is None else float(v) for v in values)  # type: ignore[return-value]


def views_of(run: RunDirectory) -> dict[int, KernelView]:
    """Every step of a run that was measured in full."""
    steps = sorted(int(path.stem) for path in (run.path / "measurements").glob("*.json"))
    return {step: KernelView.read(run, step) for step in steps}
