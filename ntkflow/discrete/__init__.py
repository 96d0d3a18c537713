"""Finite steps: gradient descent, momentum and minibatches, with the law by which they change E."""

from ntkflow.discrete.batches import batch_weights
from ntkflow.discrete.descent import Descent, descend
from ntkflow.discrete.drift import StepLaw
from ntkflow.discrete.momentum import Momentum

__all__ = ["Descent", "Momentum", "StepLaw", "batch_weights", "descend"]
