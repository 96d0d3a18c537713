"""Where features come to rest under weight decay, and the variability that is left there: the floor of NC1.

Late in a training with decay the features are slaved to kernel, weights and biases: dH = -W^T R K - lambda_H H = 0 is
linear in H. With an exact block kernel H collapses; with the traced kernel K of a network it does not, and NC1 stays at a
floor. Not in the paper (theory 16.5).
"""

import numpy as np

from ntkflow import checks
from ntkflow._types import Features, SampleKernel
from ntkflow.metrics.neural_collapse import measure
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State


def stationary_features(
    W: np.ndarray, b: np.ndarray, K: SampleKernel, sizes: Sizes, decay: float
) -> Features:
    """H at which dH/dt vanishes: decay H + W^T W H K = W^T (Y - b 1^T) K.

    A Sylvester equation, solved in the eigenbases of W^T W and K; there is one solution.

    Args:
        W: weights of the classifier, (C, n).
        b: its biases, (C,).
        K: kernel of the samples, sorted by class, (N, N); positive semidefinite.
        sizes: of the samples.
        decay: of the features, per flow time; of a network whose features are D layers without biases, D lambda.

    Returns:
        Features, (n, N).

    Raises:
        InputError: shapes do not fit, or decay is not positive.

    >>> sizes = Sizes(C=2, m=1, n=2)
    >>> stationary_features(np.eye(2), np.zeros(2), np.eye(2), sizes, 1.0)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    checks.shape("W", W.shape, (sizes.C, sizes.n), ", one row a class", "transpose it")
    checks.shape("b", b.shape, (sizes.C,), ", one a class", "check sizes")
    checks.shape("K", K.shape, (sizes.N, sizes.N), ", one row a sample", "give that of all samples")
    decay = checks.positive("decay", decay, "without decay the features do not come to rest")
    k, V = np.linalg.eigh((K + K.T) / 2)
    # Rounding, or a kernel of few gradients, makes eigenvalues below zero of nothing.
    k = np.maximum(k, 0.0)
    U, s, Z = np.linalg.svd(W, full_matrices=False)
    # W^T W acts within the row space of W, and so does the right side: nothing is left outside.
    right = s[:, None] * (U.T @ (sizes.Y - b[:, None]) @ V) * k
    found: np.ndarray = Z.T @ (right / (decay + s[:, None] ** 2 * k)) @ V.T
    return found


def collapse_floor(
    W: np.ndarray, b: np.ndarray, K: SampleKernel, sizes: Sizes, decay: float
) -> dict[str, float]:
    """The NC metrics of `stationary_features`, by their names: what NC1 and the others stop at.

    Args:
        W, b, K, sizes, decay: see `stationary_features`.
    """
    H = stationary_features(W, b, K, sizes, decay)
    return measure(State(H, W, b), sizes)
