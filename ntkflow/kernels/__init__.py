"""The kernel ladder: which assumption on the features' NTK the dynamics run under."""

from ntkflow.kernels.base import Kernel, ThinCoefficients
from ntkflow.kernels.block import BlockKernel, Dimensionless, Eigenvalues

__all__ = ["BlockKernel", "Dimensionless", "Eigenvalues", "Kernel", "ThinCoefficients"]
