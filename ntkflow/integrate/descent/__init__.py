"""Finite steps: gradient descent, momentum and minibatches, with the law by which they change E."""

from ntkflow.integrate.descent.batches import batch_weights
from ntkflow.integrate.descent.descent import Descent, descend
from ntkflow.integrate.descent.drift import StepLaw, accumulated_bound
from ntkflow.integrate.descent.momentum import Momentum

__all__ = ["Descent", "Momentum", "StepLaw", "accumulated_bound", "batch_weights", "descend"]
