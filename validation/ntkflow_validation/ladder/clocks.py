"""Kernels of the data set in the clock of the samples that were observed, which runs m/s times faster."""

import numpy as np
from jaxtyping import Float64

from ntkflow.problem.kernels import BlockKernel, SampleKernel
from ntkflow_validation.ladder.measured import Measured
from ntkflow_validation.metrics.probe import probe_kernel


def on_observed(kernel: BlockKernel, found: Measured) -> BlockKernel:
    """A kernel of three constants in the clock of the observed samples; all of them where the classes differ in size."""
    return kernel if found.share == 1 else probe_kernel(kernel, found.sizes.per_class, found.m)


def on_probe(K: Float64[np.ndarray, "N N"], found: Measured) -> SampleKernel:
    """An N x N kernel of s of m samples a class in their clock: deviations within classes feel s/m of it."""
    share = found.share
    if share < 1:
        labels = found.sizes.labels
        same = (labels[:, None] == labels) / found.sizes.per_class
        root = same + np.sqrt(share) * (np.eye(len(K)) - same)
        K = root @ K @ root
    return SampleKernel.regularised(K)
