"""How well descriptions of the kernel would do at infinite width: the arc-cosine kernel's own flow in place of a network.

There the kernel neither moves nor differs between neurons, so that what is missed is missed because of the inputs alone.
Not in the paper (theory 16.5).
"""

import numpy as np

from ntkflow._types import SampleKernel
from ntkflow.errors import SolveError
from ntkflow.problem.kernels import BlockKernel, ClassBlockKernel, Kernel
from ntkflow.problem.kernels import SampleKernel as Between
from ntkflow.problem.sizes import Sizes, one_hot
from ntkflow.problem.state import State
from ntkflow_validation.ladder.operators.base import KernelOperator
from ntkflow_validation.ladder.trajectories.chebyshev import flow
from ntkflow_validation.metrics.compare import compare, observables

# Moments of the flow, and how far beyond the window of a network they go: its class residual takes about as long.
MOMENTS, BEYOND = 32, 4.0


def described(K: SampleKernel, sizes: Sizes) -> dict[str, Kernel]:
    """What the rungs `block` and `class-block` are of a kernel between samples, by name."""
    Y = one_hot(sizes.labels, sizes.C)
    m = sizes.masses
    diagonal = np.array([np.diag(K)[sizes.labels == c].mean() for c in range(sizes.C)])
    sums = Y @ K @ Y.T
    pairs = np.outer(m, m).astype(np.float64)
    # Pairs of a sample with itself are no pairs of a class.
    sums[np.diag_indices(sizes.C)] -= m * diagonal
    pairs[np.diag_indices(sizes.C)] = m * (m - 1)
    B = sums / pairs
    of_all = np.trace(K) / sizes.N, np.trace(sums) / np.trace(pairs)
    apart = (sums.sum() - np.trace(sums)) / (pairs.sum() - np.trace(pairs))
    return {
        "block": BlockKernel(float(of_all[0]), float(of_all[1]), float(apart)),
        "class-block": ClassBlockKernel(diagonal, (B + B.T) / 2),
    }


def ceiling(K: SampleKernel, state: State, sizes: Sizes, end: float, share: float) -> dict[str, float]:
    """Skill on the centred class means of each description of K, where the flow of K itself is what is to be foretold.

    Args:
        K: arc-cosine kernel, N x N.
        state: where a network starts.
        sizes: of it.
        end: flow time of its window.
        share: of the squared class residual at which the score stops.

    Returns:
        By rung; empty where the flow does not get there.
    """
    times = np.concatenate([[0.0], np.geomspace(end / 500, BEYOND * end, MOMENTS)])
    try:
        seen = flow(KernelOperator(Between.regularised(K), sizes), state, times)
        left = np.array([observables(s, sizes)["loss_class"] for s in seen])
        reached = np.flatnonzero(left <= share * left[0])
        if not reached.size:
            return {}
        window = slice(0, int(reached[0]) + 1)
        return {
            name: _score(kernel, seen[window], times[window], sizes)
            for name, kernel in described(K, sizes).items()
        }
    except SolveError:
        return {}


def _score(kernel: Kernel, seen: list[State], times: np.ndarray, sizes: Sizes) -> float:
    told = flow(KernelOperator(kernel, sizes), seen[0], times)
    return compare(times, seen, told, sizes).pooled["M"]
