"""Is this state in the permutation symmetric sector, up to a rotation of the features?"""

from functools import lru_cache

import numpy as np

from ntkflow._types import Floats
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means
from ntkflow.problem.thin import decompose, kept
from ntkflow.scaling import frobenius
from ntkflow.theory.exact.sector import Sector

# Relative rounding of a feature and of what is computed from it.
ROUNDING = 1e-14


def sector_of(state: State, sizes: Sizes, kernel: BlockKernel, zero: float = 1e-10) -> Sector | None:
    """The seven numbers of a symmetric state, None when it is not of that form (theory 4.5).

    Symmetry under relabelling is not enough: W^T and H1 must also be parallel, on contrasts and on sums.

    Args:
        state: the state.
        sizes: its sizes.
        kernel: scalar blocks.
        zero: relative size below which a part counts as zero.
    """
    state.check(sizes)
    # Asked by the integrator and by the theory.
    return kept(state, ("sector", sizes, kernel, zero), lambda: _sector_of(state, sizes, kernel, zero))


def _sector_of(state: State, sizes: Sizes, kernel: BlockKernel, zero: float) -> Sector | None:
    C, W, H1, b = sizes.C, state.W, class_means(state.H, sizes), state.b
    # An orthonormal basis of the vectors that sum to zero, and the direction of the sum itself.
    Z, one = _contrasts(C), np.full((C, 1), 1 / np.sqrt(C))
    least = zero * max(frobenius(W), frobenius(H1))
    # One after the other: most states are refused by the first.
    if (contrasts := _pair(W.T @ Z, H1 @ Z, zero, least)) is None or np.ptp(b) > zero:
        return None
    if (sums := _pair(W.T @ one, H1 @ one, zero, least)) is None:
        return None
    wP, hP, frame = contrasts
    wJ, hJ, axis = sums
    if frame is None:
        return None
    directions = frame if axis is None else np.hstack([frame, axis])
    if axis is not None and np.abs(frame.T @ axis).max() > zero:
        return None
    # Last, since what lies within classes is dear to find and most states have been refused by now.
    thin, _ = decompose(state, sizes, subspace=False)
    total = float(np.sum(thin.L**2)) / sizes.per_class
    S = thin.L @ thin.L.T / sizes.per_class
    inside = directions.T @ S @ directions
    sP = float(np.trace(inside[: C - 1, : C - 1])) / (C - 1)
    sJ = 0.0 if axis is None else float(inside[-1, -1])
    expected = np.diag([sP] * (C - 1) + [sJ] * (axis is not None))
    # Deviations are differences of features and have the rounding of those; their squares may underflow.
    slack = zero * total + ROUNDING * frobenius(H1) * np.sqrt(total) + np.finfo(float).tiny
    # The rest of S would be frozen.
    if np.abs(inside - expected).max() > slack or total - np.trace(expected) > slack:
        return None
    sP, sJ = (0.0 if s <= slack else s for s in (sP, sJ))
    return Sector(sizes, kernel, wP, hP, sP, wJ, hJ, sJ, float(b.mean()))


@lru_cache(maxsize=16)
def _contrasts(C: int) -> Floats:
    """An orthonormal basis of the vectors that sum to zero, C x (C-1)."""
    basis: Floats = np.linalg.qr(centring(C)[:, 1:])[0]
    basis.flags.writeable = False
    return basis


def _pair(A: Floats, B: Floats, zero: float, least: float) -> tuple[float, float, Floats | None] | None:
    """(a, b, V) with A = a V and B = b V for an orthonormal V; None when there is none.

    The first of a, b that is not negligible is positive.

    V itself is None when both are smaller than `least`.
    """
    sizes = frobenius(A), frobenius(B)
    size = max(sizes)
    if size <= least:
        return 0.0, 0.0, None
    # V from the larger of the two, whose direction is known best; then both are held against it.
    k = np.sqrt(A.shape[1])
    V = (A if sizes[0] >= sizes[1] else B) * (k / size)
    if np.abs(V.T @ V - np.eye(A.shape[1])).max() > zero:
        return None
    a, b = (float(np.vdot(V, M)) / A.shape[1] for M in (A, B))
    if max(np.abs(A - a * V).max(), np.abs(B - b * V).max()) > zero * size:
        return None
    leading = a if abs(a) > zero * abs(b) else b
    return (-a, -b, -V) if leading < 0 else (a, b, V)
