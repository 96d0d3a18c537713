"""Empirical kernels of any network: exact or estimated, with error bars, within a memory budget."""

from ntkflow_validation.kernels.backends.base import Backend
from ntkflow_validation.kernels.backends.jax_backend import JaxBackend
from ntkflow_validation.kernels.measurement import Measurement
from ntkflow_validation.kernels.measurement_file import load_measurement
from ntkflow_validation.kernels.measuring import measure
from ntkflow_validation.kernels.statistics import Constant
from ntkflow_validation.kernels.store import FolderStore
from ntkflow_validation.kernels.summary import Summary
from ntkflow_validation.kernels.unlabelled import gram

__all__ = [
    "Backend",
    "Constant",
    "FolderStore",
    "JaxBackend",
    "Measurement",
    "Summary",
    "gram",
    "load_measurement",
    "measure",
]
