"""Where weight decay takes a run, whatever its start: what of the classes survives, the loss that is left, how fast.

Decay of W and of H makes the flow forget its invariant, and what it leaves is the minimum of a convex problem
(`ntkflow.theory.exact.convex`); for scalar blocks and balanced classes it has a closed form (theory 11.1, 17d; not in the paper).
"""

import math
from dataclasses import dataclass

import numpy as np

from ntkflow._lazy import lister
from ntkflow._types import ClassMatrix, Floats
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.problem import Problem
from ntkflow.theory.exact.convex import Minimum, minimum
from ntkflow.theory.exact.decayed import decay_rates, fraction, regularised_limit
from ntkflow.theory.limit_point import Limit
from ntkflow.theory.limits import eigenvalues

__all__ = ["Enforced", "enforced"]
__dir__ = lister(__all__)

# Convex problems and eigenvalue problems of more unknowns take longer than a prediction should.
MOST_COLUMNS, MOST_UNKNOWNS = 300, 600
# Class means closer than this fraction of the largest are one, and a rate this far below the fastest a rotation.
SAME, STILL = 1e-7, 1e-9
# 1 minus a cosine below this is none.
ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class Enforced:
    """The end of a generic start under decay of W and H.

    Attributes:
        rank: directions of the features that survive: C-1 at collapse, 0 where everything dies.
        loss: the sum loss there, without what decay adds to it.
        rho: sqrt(lw lh/(m mu_class)), the share of the class contrasts that is not fitted; None without one mu_class.
        NC1: sqrt(tr S/C) there; 0 for kernels that are blocks.
        NC2: the metric there; None where nothing of the class means is left.
        NC3: likewise.
        NC4: whether every training sample is classified as the nearest class mean there; None where nothing is left.
        merged: classes that end with one mean, a group each.
        slowest: the slowest rate at which the end is approached; None where it is not known, and where it is approached like
            a power of time, as for a decay that is just the threshold of a direction.
        limit: its Gram matrices; None where they depend on the start.
    """

    rank: int
    loss: float
    rho: float | None
    NC1: float
    NC2: float | None
    NC3: float | None
    NC4: bool | None
    merged: tuple[tuple[int, ...], ...]
    slowest: float | None
    limit: Limit | None


def enforced(problem: Problem, reach: int) -> Enforced | None:
    """The end that decay enforces, or None where no result covers the problem.

    Args:
        problem: what is to be solved; W and H decay.
        reach: dimension of the space that holds the trajectory, at most n.
    """
    decay = problem.decay
    if not (decay.W > 0 and decay.H > 0):
        return None
    if not problem.train_bias:
        return None  # the closed forms are those of biases that move
    kernel = problem.equal_blocks
    if kernel is not None and problem.squared_error:
        return _balanced(problem, kernel, reach)
    if kernel is not None:
        return _softmax(problem, kernel, reach) if problem.cross_entropy and decay.b == 0 else None
    return _convex(problem, reach) if problem.squared_error else None


def _balanced(problem: Problem, kernel: BlockKernel, reach: int) -> Enforced | None:
    sizes, decay = problem.sizes, problem.decay
    rho, mean = fraction(sizes, kernel, decay)
    left = decay.b / (sizes.N + decay.b)
    # W and the mean take a bias's place only where its decay costs more than theirs (`exact.decayed.regularised_limit`).
    contrasts, common = (sizes.C - 1 if rho < 1 else 0), left > mean
    # Fewer dimensions than both together need: no closed form covers that.
    if common and reach < contrasts + 1:
        return None
    rank = min(reach, contrasts)
    loss = sizes.per_class / 2 * (rank * min(rho, 1.0) ** 2 + (sizes.C - 1 - rank) + min(left, mean) ** 2)
    if decay.b or rank < contrasts:
        found = problem.once(_minimum)
        slowest = None if found is None or reach <= found.rank else problem.once(_slowest)
    else:
        rates = decay_rates(sizes, kernel, decay)
        slowest = float(rates[0]) if rates[0] > STILL * rates[-1] else None
    if rank == 0:
        every = (tuple(range(sizes.C)),)
        return Enforced(int(common), loss, rho, 0.0, None, None, None, every, slowest, None)
    if rank < sizes.C - 1:
        # H1 is a multiple of W^T in every critical point; which directions survive is up to the start.
        frame = math.sqrt(2 - 2 * math.sqrt(rank / (sizes.C - 1)))
        return Enforced(rank, loss, rho, 0.0, frame, 0.0, None, (), slowest, None)
    limit = regularised_limit(sizes, kernel, decay)
    return Enforced(rank + int(common), loss, rho, 0.0, limit.NC2, limit.NC3, limit.NC4, (), slowest, limit)


def _softmax(problem: Problem, kernel: BlockKernel, reach: int) -> Enforced | None:
    """Cross-entropy: the same rho P is left of the residual, so that the margin is ln(C/rho - C + 1)."""
    sizes, decay = problem.sizes, problem.decay
    if reach < sizes.C - 1:
        return None
    C, m, mu = sizes.C, sizes.per_class, eigenvalues(sizes, kernel).mu_class
    rho, _ = fraction(sizes, kernel, decay)
    if rho >= 1:
        every = (tuple(range(C)),)
        return Enforced(0, sizes.N * math.log(C), rho, 0.0, None, None, None, every, None, None)
    # At W H1 = z P the residual is -C/(e^z + C - 1) P, which decay holds at -rho P as with the squared error.
    margin = math.log(C / rho - C + 1)
    loss = sizes.N * math.log1p((C - 1) * math.exp(-margin))
    ratio, P = math.sqrt(decay.H * m / (decay.W * mu)), centring(C)
    limit = _point(
        margin * ratio * P,
        margin / ratio * P,
        margin * P,
        np.full(C, float(problem.state.b.mean())),
        0.0,
        f"decay of W and H, the cross-entropy and a generic start: W H1 ends as {margin:.4g} P (theory 11.1, 11.7)",
    )
    return Enforced(C - 1, loss, rho, 0.0, limit.NC2, limit.NC3, limit.NC4, (), None, limit)


def _convex(problem: Problem, reach: int) -> Enforced | None:
    sizes = problem.sizes
    found = problem.once(_minimum)
    # Where n exceeds the minimum's rank no other local minimum exists (`exact.convex`); elsewhere the start may decide.
    if found is None or reach <= found.rank:
        return None
    H = found.Z @ found.root
    if len(found.row) == sizes.C:
        means, spread = H / np.sqrt(sizes.masses), 0.0
    else:
        means = (H @ sizes.Y.T) / sizes.masses
        spread = float(np.linalg.norm(H - means @ sizes.Y)) / math.sqrt(sizes.N)
    G, F = means.T @ means, found.W @ means
    G_diag = np.diag(G)
    distance = G_diag[:, None] + G_diag[None, :] - 2 * G
    same = distance <= SAME**2 * max(float(G_diag.max(initial=0.0)), np.finfo(float).tiny)
    # Each class goes with the first one that it is the same as; groups of one are no merger.
    first = same.argmax(axis=1)
    together = (tuple(np.flatnonzero(first == leader).tolist()) for leader in np.unique(first))
    merged = tuple(group for group in together if len(group) > 1)
    slowest = problem.once(_slowest)
    nothing = len(merged) == 1 and len(merged[0]) == sizes.C
    if nothing:
        return Enforced(found.rank, found.loss, None, spread, None, None, None, merged, slowest, None)
    text = "decay of W and H and a generic start: the minimum of a convex problem (theory 11.1, 17d)"
    M = means @ centring(sizes.C)
    # Of the arrays themselves: of a cosine's distance from 1 the root of half the digits would be left.
    distance_NC3 = float(np.linalg.norm(M / np.linalg.norm(M) - found.W.T / np.linalg.norm(found.W)))
    limit = _point(found.W @ found.W.T, G, F, found.b, sizes.C * spread**2, text, distance_NC3)
    own = bool(np.all((F + found.b[:, None]).argmax(axis=0) == np.arange(sizes.C)) and not merged)
    NC4 = own if spread == 0 else None
    return Enforced(found.rank, found.loss, None, spread, limit.NC2, limit.NC3, NC4, merged, slowest, limit)


def _minimum(problem: Problem) -> Minimum | None:
    sizes, kernel = problem.sizes, problem.kernel
    coefficients = problem.thin
    if coefficients is not None and not coefficients.schedule and sizes.C <= MOST_COLUMNS:
        roots = np.sqrt(sizes.masses)
        K = coefficients.class_kernel * roots / roots[:, None]
        return minimum((K + K.T) / 2, np.diag(roots), roots, problem.decay)
    matrix = kernel.sample_matrix
    if matrix is not None and sizes.N <= MOST_COLUMNS:
        return minimum(matrix, sizes.Y, np.ones(sizes.N), problem.decay)
    return None


def _slowest(problem: Problem) -> float | None:
    """The slowest rate at which the minimum is approached; None where its eigenvalue problem is too large."""
    found = problem.once(_minimum)
    if found is None or found.unknowns > MOST_UNKNOWNS:
        return None
    rates = found.rates()
    # Rotations of the features that survive, among themselves and with the one that stands for the rest, change nothing. A zero
    # beyond these is a direction at its threshold.
    slowest = float(rates[found.rank * (found.rank + 1) // 2])
    if slowest <= STILL * rates[-1]:
        return None
    coefficients = problem.thin
    if coefficients is None or problem.sizes.N == problem.sizes.C:
        return slowest
    # Class coordinates do not have the deviations from class means. Beside row(W), where the features have room (`enforced`
    # asks for that), these fall by decay alone.
    return min(slowest, problem.decay.H)


def _point(
    X: ClassMatrix,
    G: ClassMatrix,
    F: ClassMatrix,
    b: Floats,
    trace_S: float,
    hypotheses: str,
    distance_NC3: float | None = None,
) -> Limit:
    """A limit whose outputs F = W H1 are not those of zero loss."""
    C = len(b)
    P = centring(C)
    MtM = P @ G @ P
    weights, means, product = float(np.trace(X)), float(np.trace(MtM)), float(np.trace(F @ P))
    contrast = float(np.trace(P @ X @ P))
    parallel = contrast * means <= product**2 * (1 + SAME)
    if distance_NC3 is None:
        distance_NC3 = math.sqrt(max(0.0, 2 - 2 * product / math.sqrt(weights * means)))
    offset = b + contrast / max(product, np.finfo(float).tiny) * np.diag(G) / 2
    everywhere = parallel and bool(np.ptp(offset) <= SAME * max(1.0, float(np.abs(offset).max())))
    return Limit(
        X=X,
        G=G,
        MtM=MtM,
        b=b,
        trace_S=trace_S,
        NC1=0.0 if trace_S == 0 else None,
        NC2=float(np.linalg.norm(MtM / np.linalg.norm(MtM) - P / math.sqrt(C - 1))),
        # A root makes 1e-8 of a rounding error.
        NC3=distance_NC3 if distance_NC3**2 > 2 * ROUNDING else 0.0,
        NC4=everywhere,
        hypotheses=hypotheses,
    )
