"""Training samples: balanced, sorted by class, the rest kept apart; balanced batches from a seed."""

from validation.datasets.base import Dataset, Inputs
from validation.datasets.batches import batch_indices
from validation.datasets.download import download as fetch
from validation.datasets.locate import find_files
from validation.datasets.table import READERS, load

__all__ = ["READERS", "Dataset", "Inputs", "batch_indices", "fetch", "find_files", "load"]
