"""The kernel ladder: which assumption on the features' NTK the dynamics run under."""

from ntkflow.kernels.base import Kernel, ThinCoefficients
from ntkflow.kernels.block import BlockKernel, Dimensionless, Eigenvalues
from ntkflow.kernels.class_block import ClassBlockKernel
from ntkflow.kernels.kronecker import KroneckerKernel
from ntkflow.kernels.matrix_block import MatrixBlockKernel
from ntkflow.kernels.sample import SampleKernel
from ntkflow.kernels.scheduled import ScheduledKernel
from ntkflow.kernels.tensor import TensorKernel

__all__ = [
    "BlockKernel",
    "ClassBlockKernel",
    "Dimensionless",
    "Eigenvalues",
    "Kernel",
    "KroneckerKernel",
    "MatrixBlockKernel",
    "SampleKernel",
    "ScheduledKernel",
    "TensorKernel",
    "ThinCoefficients",
]
