"""A cheap sign of how far a network's kernel has changed, read off its features and classifier: nothing is differentiated.

The kernel's own change is known only where it is measured. Two of its parts lie open at every snapshot: the Gram matrix of the
features, which is the last layer's part of the outputs' kernel, as its block constants; and |W|^2, which by Q = W^T W - V V^T
moves with the weights below. It is a sign and no bound: a layer far below the features may move unseen.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means, spread

Sign = Float64[np.ndarray, "4"]


def sign_of(state: State, sizes: Sizes) -> Sign:
    """Eigenvalues of the block part of H^T H, each as large as its eigenspace in Frobenius' norm, and |W|^2."""
    means = class_means(state.H, sizes)
    g = state.H.mean(axis=1)
    within = float(np.sum((state.H - spread(means, sizes)) ** 2))
    contrasts = float(np.sum((spread(means, sizes) - g[:, None]) ** 2))
    # A trace tau over d equal eigenvalues has the norm tau/sqrt(d).
    d, c = max(sizes.N - sizes.C, 1), max(sizes.C - 1, 1)
    return np.array(
        [within / np.sqrt(d), contrasts / np.sqrt(c), sizes.N * float(g @ g), float(np.sum(state.W**2))]
    )


def change(now: Sign, before: Sign) -> float:
    """Relative change of the Gram matrix's blocks or of |W|^2, whichever is larger; infinite from zero."""
    moved, size = np.abs(now - before), np.abs(before)
    parts = ((np.linalg.norm(moved[:3]), np.linalg.norm(size[:3])), (moved[3], size[3]))
    return max(float(m / s) if s > 0 else (float("inf") if m > 0 else 0.0) for m, s in parts)


def spread_by_change(signs: Sequence[Sign], count: int) -> tuple[int, ...]:
    """Positions of `count` snapshots between which the sign changes alike, the first and the last included."""
    way = np.concatenate([[0.0], np.cumsum([change(b, a) for a, b in pairwise(signs)])])
    last = len(signs) - 1
    if count >= len(signs) or not 0 < way[-1] < np.inf:
        # Nothing tells them apart.
        return tuple(np.unique(np.round(np.linspace(0, last, count)).astype(int)).tolist())
    chosen = [0]
    for k, target in enumerate(np.linspace(0, way[-1], max(count, 2))[1:-1], 1):
        nearest = int(np.argmin(np.abs(way - target)))
        # Each once, and as many left for those that follow.
        chosen.append(min(max(nearest, chosen[-1] + 1), last - (count - 1 - k)))
    return (*chosen, last) if count > 1 else (0,)
