"""Training samples, sorted by class, the rest kept apart; batches in the proportion of the classes, from a seed."""

from ntkflow_validation.datasets.base import Dataset, Inputs
from ntkflow_validation.datasets.batches import batch_indices
from ntkflow_validation.datasets.download import download as fetch
from ntkflow_validation.datasets.table import READERS, find_files, input_shape, load

__all__ = ["READERS", "Dataset", "Inputs", "batch_indices", "fetch", "find_files", "input_shape", "load"]
