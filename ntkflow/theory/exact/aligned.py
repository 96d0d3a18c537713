"""Class dynamics in closed form for all times: H2 = 0, H1 = W^T/x*, W^T 1 = 0, b = 1/C (not in the paper).

The manifold is invariant with E = 0, and the eigenvectors of X = W W^T stand still on it. With the other sign,
H1 = -W^T/x*, it is invariant too and leads into the saddle W = H = 0: Theorem 5.2 needs the loss to vanish.
"""

import numpy as np

from ntkflow._types import Floats, Vector, Weights
from ntkflow.errors import InputError
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.theory.exact.times import elapsed
from ntkflow.theory.limits import x_star
from ntkflow.theory.rates import class_rate

# What is smaller than this, relative to W, is rounding.
CENTRED = 1e-12


def aligned_eigenvalues(sizes: Sizes, kernel: BlockKernel, x0: Vector, t: float, sign: int = 1) -> Vector:
    """Eigenvalues of W W^T at time t from those at 0.

    sign = 1: 1/x(t) = 1/x* + e (1/x0 - 1/x*), sign = -1: 1/x(t) = (1/x0 + 1/x*)/e - 1/x*, where
    e = exp(-2 sqrt(m mu_class) t) (theory 4.6 and the end of section 6). Zero stays zero.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        x0: eigenvalues at t = 0, not negative.
        t: flow time.
        sign: sign of H1 = sign W^T/x*.

    Raises:
        InputError: an eigenvalue or t is negative or not finite, or sign is neither.
    """
    least = float(np.min(x0, initial=0.0))
    if not least >= 0 or not np.all(np.isfinite(x0)):
        raise InputError("x0", least, "must be finite and at least 0", "give eigenvalues of W W^T")
    with np.errstate(divide="ignore"):
        return np.exp(_logarithms(sizes, kernel, np.log(x0), t, sign))


def _logarithms(sizes: Sizes, kernel: BlockKernel, x0: Vector, t: float, sign: int) -> Vector:
    """Of the eigenvalues at time t from those at 0; a square or a decay that underflows leaves its logarithm."""
    if sign not in (1, -1):
        raise InputError("sign", sign, "must be 1 or -1", "H1 = sign W^T/x*")
    z, end = 2 * class_rate(sizes, kernel) * elapsed(t), float(np.log(x_star(sizes, kernel)))
    with np.errstate(divide="ignore"):
        arrived = np.log(-np.expm1(-z)) - end
    if sign == 1:
        logarithms: Floats = -np.logaddexp(-z - x0, arrived)
    else:
        logarithms = x0 - z - np.logaddexp(0.0, x0 + arrived)
    return logarithms


def aligned_state(sizes: Sizes, kernel: BlockKernel, W: Weights, t: float, sign: int = 1) -> State:
    """The state at time t that starts from W, H1 = sign W^T/x*, H2 = 0, b = 1/C.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        W: weights at t = 0, C x n, with columns that sum to zero; any rank.
        t: flow time.
        sign: 1 for collapse, -1 for the way into the saddle.

    Raises:
        InputError: a column of W does not sum to zero, or t is negative or not finite.
    """
    excess = float(np.linalg.norm(W.sum(axis=0)))
    if excess > CENTRED * max(float(np.linalg.norm(W)), np.finfo(float).tiny):
        raise InputError(
            "W", f"|W^T 1| = {excess:.3g}", "columns must sum to zero on this manifold", "use P @ W"
        )
    U, s, Vt = np.linalg.svd(centring(sizes.C) @ W, full_matrices=False)
    # The rank of W is constant; singular values of rounding size would grow out of the saddle.
    s[s <= CENTRED * s[0]] = 0.0
    with np.errstate(divide="ignore"):
        W_now = (U * np.exp(_logarithms(sizes, kernel, 2 * np.log(s), t, sign) / 2)) @ Vt
    H1 = sign * W_now.T / x_star(sizes, kernel)
    return State(np.repeat(H1, sizes.per_class, axis=1), W_now, np.full(sizes.C, 1 / sizes.C))
