"""Finite steps: gradient descent, momentum and minibatches, with the law by which they change E."""

from ntkflow.discrete.batches import batch_weights
from ntkflow.discrete.descent import Descent, descend
from ntkflow.discrete.drift import StepLaw, accumulated_bound
from ntkflow.discrete.momentum import Momentum

__all__ = ["Descent", "Momentum", "StepLaw", "accumulated_bound", "batch_weights", "descend"]
