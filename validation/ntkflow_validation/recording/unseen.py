"""Features and logits of inputs that are not trained on, from the kernel between them and the training samples.

The features' NTK moves every input alike: dh(x)/dt = -sum_i Theta(x, x_i) W^T r_i - lambda_h h(x), with r_i the residual of
training sample i. With kernels that are the same for all neurons, k(x) the row Theta(x, .) and K the kernel between the
training samples, both the features H of these and h(x) are driven by the same G = W^T R:

    dH/dt = -G K - lambda_h H,    dh/dt = -G k(x)^T - lambda_h h.

So e^{lambda_h t} h(t) - h(0) = (e^{lambda_h t} H(t) - H(0)) K^{-1} k(x)^T, for any loss: no quadrature along the run. Not in the
paper. Where K vanishes so does k, since both are products of the same gradients; what single precision leaves there is cut off.
"""

import numpy as np

from ntkflow.errors import InputError
from ntkflow.integrate.solution import Solution

# Below this share of its largest eigenvalue K is rounding of single precision, and there may be no more than so much of k.
NULL = 1e-7
OUTSIDE = 1e-3


def features(solution: Solution, cross: np.ndarray, H: np.ndarray) -> np.ndarray:
    """Features of the inputs along the solution, (T, N', n).

    Args:
        solution: under a kernel between samples.
        cross: kernel between the inputs and the training samples sorted by class, (N', N).
        H: features of the inputs at the start, (N', n).

    Raises:
        InputError: sizes do not fit, the kernel acts on features too or moves, or `cross` does not follow from it.
    """
    problem = solution.problem
    sizes = problem.sizes
    if cross.ndim != 2 or cross.shape[1] != sizes.N:
        raise InputError(
            "cross", f"array of shape {cross.shape}", f"must be (N', N) with N = {sizes.N}", "transpose it"
        )
    if H.shape != (len(cross), sizes.n):
        raise InputError(
            "H", f"array of shape {H.shape}", f"must be {(len(cross), sizes.n)}", "one row per input"
        )
    matrix = getattr(problem.kernel, "matrix", None)
    if matrix is None or not problem.kernel.on_samples:
        raise InputError(
            "rung",
            problem.kernel.rung,
            "is no constant kernel between samples",
            "predict with rung='sample' or 'block'",
        )
    weights = _solved(np.asarray(matrix(sizes)), cross)
    rate = problem.decay.H
    first = solution.state(0).H
    found = np.empty((len(solution), len(cross), sizes.n))
    for i, t in enumerate(solution.times):
        shrunk = np.exp(-rate * t)
        moved = solution.state(i).H - shrunk * first
        found[i] = shrunk * H + weights @ moved.T
    return found


def logits(solution: Solution, cross: np.ndarray, H: np.ndarray) -> np.ndarray:
    """W h + b of the same, (T, N', C)."""
    moved = features(solution, cross, H)
    states = [solution.state(i) for i in range(len(solution))]
    return np.stack([h @ state.W.T + state.b for h, state in zip(moved, states, strict=True)])


def _solved(K: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """cross K^{-1}, (N', N)."""
    values, vectors = np.linalg.eigh((K + K.T) / 2)
    there = values > NULL * values[-1]
    inside = cross @ vectors[:, there]
    left = np.linalg.norm(cross - inside @ vectors[:, there].T)
    if left > OUTSIDE * np.linalg.norm(cross):
        raise InputError(
            "cross",
            f"{left / np.linalg.norm(cross):.2g} of its norm",
            "lies where the kernel between training samples vanishes, so that its motion is not known",
            "predict with a kernel that is not singular",
        )
    found: np.ndarray = (inside / values[there]) @ vectors[:, there].T
    return found
