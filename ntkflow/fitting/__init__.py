"""The inverse problem: which kernel constants explain an observed trajectory of (H, W, b).

Two stages: a linear least-squares start from integrals along the data, then nonlinear least squares on the
simulated trajectory, with standard errors and warnings about what the data cannot tell.
"""

from ntkflow.fitting.estimate import Fit, fit
from ntkflow.fitting.family import KINDS
from ntkflow.fitting.observed import Observed
from ntkflow.fitting.spread import Estimate

__all__ = ["KINDS", "Estimate", "Fit", "Observed", "fit"]
