"""Empirical kernels of any network: exact or estimated, with error bars, within a memory budget."""

from validation.kernels.backend import Backend
from validation.kernels.jax_backend import JaxBackend
from validation.kernels.measurement import Measurement
from validation.kernels.measuring import measure
from validation.kernels.statistics import Constant
from validation.kernels.store import FolderStore
from validation.kernels.summary import Summary

__all__ = ["Backend", "Constant", "FolderStore", "JaxBackend", "Measurement", "Summary", "measure"]
