"""Classes that do not see each other, kappa_n = 0 and biases held at 0: under decay each lives or dies by itself (theory 17d)."""

import numpy as np

from ntkflow import checks
from ntkflow._types import Floats
from ntkflow.errors import InputError
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes


def separate_classes(sizes: Sizes, kernel: BlockKernel, decay_w: float, decay_h: float) -> Floats:
    """|W_c|^2 in the end, (C,): (1 - sqrt(lw lh/(m_c mu_c))) sqrt(lh m_c/(lw mu_c)) where lw lh < m_c mu_c, else 0.

    mu_c = kappa_d - kappa_c + m_c kappa_c. Squared error, generic start, any class sizes; the rows of W are orthogonal. The
    smallest classes die first: minority collapse has a threshold.

    Args:
        sizes: C and the samples of each class.
        kernel: scalar blocks with kappa_n = 0.
        decay_w: rate of W, > 0.
        decay_h: rate of H, > 0.

    Raises:
        InputError: kappa_n is not 0, or a rate is not positive.
    """
    if kernel.kappa_n != 0:
        raise InputError(
            "kernel.kappa_n", kernel.kappa_n, "must be 0 for classes to be separate", "see `minimum`"
        )
    lw = checks.positive("decay_w", decay_w, "give a rate > 0")
    lh = checks.positive("decay_h", decay_h, "give a rate > 0")
    m = np.asarray(sizes.counts, dtype=float)
    mu = kernel.kappa_d - kernel.kappa_c + m * kernel.kappa_c
    rest = np.maximum(1 - np.sqrt(lw * lh / (m * mu)), 0.0)
    result: Floats = rest * np.sqrt(lh * m / (lw * mu))
    return result
