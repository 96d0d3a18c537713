"""The kernel of an infinitely wide MLP, from its inputs alone: nothing is measured.

Of `MlpBody` in the NTK parametrisation, a_l = relu(sqrt(2/w) V_l a_(l-1) + c_l), h = (V a/sqrt(w) + c)/gamma with the
body's rate gamma^2: the kernel at the start does not depend on gamma. Source: Cho and Saul 2009; Jacot et al. 2018.
"""

import numpy as np
from jaxtyping import Float64

from ntkflow._types import SampleKernel


def arc_cosine(
    X: Float64[np.ndarray, "N d"], depth: int, hidden_bias: bool = True, readout_bias: bool = True
) -> SampleKernel:
    """Kernel of each feature at the start of training, in the limit of infinite width, (N, N).

    Args:
        X: inputs, one a row.
        depth: hidden layers.
        hidden_bias: whether these have biases, which start at 0.
        readout_bias: whether the linear layer after them has.
    """
    q = 2 * X @ X.T / X.shape[1]
    tangent = q + hidden_bias
    for layer in range(depth):
        angle, size = _angles(q)
        # E[relu u relu v] and E[1(u > 0) 1(v > 0)] of Gaussian u, v of covariance q.
        activations = size * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        active = (np.pi - angle) / (2 * np.pi)
        if layer == depth - 1:
            found: np.ndarray = activations + active * tangent + readout_bias
            return found
        q = 2 * activations
        tangent = q + hidden_bias + 2 * active * tangent
    plain: np.ndarray = X @ X.T / X.shape[1] + readout_bias
    return plain


def _angles(q: SampleKernel) -> tuple[np.ndarray, np.ndarray]:
    """Angles between samples, and products of their lengths."""
    lengths = np.sqrt(np.maximum(np.diag(q), 0.0))
    size = np.outer(lengths, lengths)
    cosine = np.divide(q, size, out=np.ones_like(q), where=size > 0)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    # arccos makes 1e-8 of rounding where there is no angle at all.
    np.fill_diagonal(angle, 0.0)
    return angle, size


def homogeneous_decay(layers: int) -> float:
    """2(D-1): a lazy network of D layers of features without biases is homogeneous, and its kernel decays as
    K(0) e^(-2 (D-1) lambda t), its features at the rate D lambda.

    Args:
        layers: D, those of the features, the head's not.
    """
    return 2.0 * (layers - 1)
