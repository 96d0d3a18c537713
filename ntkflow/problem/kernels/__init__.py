"""The kernel ladder: which assumption on the features' NTK the dynamics run under."""

from ntkflow.problem.kernels.base import Kernel, ThinCoefficients
from ntkflow.problem.kernels.block import KAPPAS, BlockKernel, Dimensionless, Eigenvalues
from ntkflow.problem.kernels.class_block import ClassBlockKernel
from ntkflow.problem.kernels.kronecker import KroneckerKernel
from ntkflow.problem.kernels.matrix_block import MatrixBlockKernel
from ntkflow.problem.kernels.sample import SampleKernel
from ntkflow.problem.kernels.scheduled import ScheduledKernel
from ntkflow.problem.kernels.tensor import TensorKernel

__all__ = [
    "KAPPAS",
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
