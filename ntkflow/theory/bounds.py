"""What holds for all time, from the initial state alone: floor and ceiling of the variability, bounds of b and g.

None of these is in the paper. S = H2 H2^T, so that tr S is the sum of the within-class variances of all
classes; flow time is that of the sum loss (4); the loss is the squared error.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow import views
from ntkflow._lazy import lister
from ntkflow._types import FeatureMatrix, Floats, Vector
from ntkflow.errors import InputError
from ntkflow.metrics import invariant
from ntkflow.metrics.quantities import conserved
from ntkflow.problem.kernels.base import Kernel
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means, spread
from ntkflow.problem.thin import decompose
from ntkflow.scaling import frobenius
from ntkflow.theory.limits import eigenvalues

__all__ = [
    "BiasBounds",
    "Ceiling",
    "Inertia",
    "bias_bounds",
    "floor",
    "floor_eigenvalues",
    "guarantee",
    "inertia",
    "inertia_of_E",
    "nc1_impossible",
    "rounding",
]
__dir__ = lister(__all__)

# Rounding of E, in units of machine epsilon times the dimension times the norms of its terms.
ROUNDING = 16.0
# Relative error of H K^{-1} H^T by a solve with the N x N kernel.
SOLVED = 1e-12


@dataclass(frozen=True)
class Inertia:
    """Numbers of positive, negative and zero eigenvalues of E.

    Attributes:
        positive: at most C for every state.
        negative: more than C of them rule out NC1.
        zero: eigenvalues that rounding cannot tell from zero.
        tolerance: the bound below which an eigenvalue counts as zero.
    """

    positive: int
    negative: int
    zero: int
    tolerance: float

    __repr__ = views.short

    @property
    def semidefinite(self) -> bool:
        """E >= 0 to rounding: NC1 is guaranteed."""
        return self.negative == 0


def rounding(n: int, scale: float, relative: float = 0.0) -> float:
    """Size of the error of E: that of float64, or `relative` times the norms of the terms if that is more.

    Args:
        n: features.
        scale: the norms of E's terms added, `InvariantTerms.scale`.
        relative: relative accuracy of the state, for states that come from a solver or a measurement.
    """
    unit = ROUNDING * n * float(np.finfo(np.float64).eps)
    return max(unit, relative) * scale


def inertia(E: FeatureMatrix, tolerance: float) -> Inertia:
    """Signs of the eigenvalues of E; `rounding` gives the tolerance."""
    return signs_of(np.linalg.eigvalsh((E + E.T) / 2), tolerance)


def signs_of(values: Vector, tolerance: float) -> Inertia:
    """The same from the eigenvalues."""
    positive, negative = int(np.sum(values > tolerance)), int(np.sum(values < -tolerance))
    return Inertia(positive, negative, len(values) - positive - negative, tolerance)


def inertia_of_E(sizes: Sizes, kernel: Kernel, state: State) -> Inertia:
    """Signs of E of a state under any kernel that acts on samples; of a moving one at t = 0."""
    weights, features = conserved(kernel, sizes).terms(state)
    scale = float(frobenius(weights) + frobenius(features))
    # Blocks are inverted exactly; the solve with a general K loses digits.
    relative = 0.0 if kernel.thin(sizes) is not None else SOLVED
    return inertia(weights - features, rounding(sizes.n, scale, relative))


def nc1_impossible(signs: Inertia, sizes: Sizes) -> bool:
    """Whether E has more than C negative eigenvalues, which leaves a floor under tr S.

    A random state of full rank with N >= n has at least n - C of them, so n > 2C rules out NC1 (theory 3.5).
    """
    return signs.negative > sizes.C


def floor_eigenvalues(E: FeatureMatrix, sizes: Sizes, kernel: BlockKernel) -> Float64[Floats, " k"]:
    """Lower bounds for the eigenvalues of S at all times, descending: mu_single max(lambda_{k+C}(-E), 0).

    -E <= S/mu_single + a matrix of rank at most C, and E is constant (theory 3.5).

    Args:
        E: the invariant, n x n.
        sizes: sizes of the problem.
        kernel: scalar blocks.

    Returns:
        n - C bounds, none for n <= C.
    """
    return floors_of(np.linalg.eigvalsh((E + E.T) / 2), sizes, kernel)


def floors_of(values: Vector, sizes: Sizes, kernel: BlockKernel) -> Float64[Floats, " k"]:
    """The same from the eigenvalues of E, ascending."""
    return eigenvalues(sizes, kernel).mu_single * np.maximum(-values[sizes.C :], 0.0)


def floor(E: FeatureMatrix, sizes: Sizes, kernel: BlockKernel) -> float:
    """Lower bound of tr S at all times, the sum of `floor_eigenvalues` (theory 3.5)."""
    return float(floor_eigenvalues(E, sizes, kernel).sum())


def deviation(state: State, sizes: Sizes) -> float:
    """NC1_frobenius, the root of the mean squared distance of a sample from its class mean."""
    return float(np.linalg.norm(state.H - spread(class_means(state.H, sizes), sizes))) / float(
        np.sqrt(sizes.N)
    )


def means_ceiling(state: State, sizes: Sizes, kernel: BlockKernel) -> float:
    """Upper bound of |M|^2, the sum of squares of the centred class means, at all times.

    The loss and V (theory 3.3) never rise, which bounds each part of W H; X = W W^T obeys
    |X|_F^2 = m tr W E W^T + |W H K^{-1/2}|^2, which bounds tr X by |X|_F sqrt(C), and the trace of E then |M|^2.

    Args:
        state: initial state.
        sizes: its sizes.
        kernel: scalar blocks.
    """
    mu, C, m = eigenvalues(sizes, kernel), sizes.C, sizes.per_class
    thin, _ = decompose(state, sizes, subspace=False)
    E = invariant.terms(state, sizes, kernel).E
    # The root of twice the loss, |R|_F, which never rises.
    outputs = thin.W @ thin.H1 + thin.b[:, None] - np.eye(C)
    left = float(np.sqrt(m * np.sum(outputs**2) + np.sum((thin.W @ thin.L) ** 2)))
    contrast = (left + np.sqrt(m * (C - 1))) ** 2 / mu.mu_class
    common = (left + np.sqrt(sizes.N * bias_bounds(state, sizes, kernel).V)) ** 2 / mu.mu_global
    within = left**2 / mu.mu_single if sizes.N > C else 0.0
    largest = m * max(0.0, float(np.linalg.eigvalsh(E)[-1]))
    weights = C / 2 * (largest + np.sqrt(largest**2 + 4 * (contrast + common + within) / C))
    return float(mu.mu_class * (weights / m - np.trace(E)))


def nc1_floors(least: float, state: State, sizes: Sizes, kernel: BlockKernel) -> dict[str, float]:
    """What a lower bound of tr S means in the published measures of NC1, each a lower bound at all times.

    NC1_frobenius is sqrt(tr S/C) itself. NC1, a mean of standard deviations, is at least tr S/(C n) over the largest of
    them, which the largest within-class singular value at the start bounds (theory 3.4). NC1_tirer and NC1_galanti divide
    by the class means, at most `means_ceiling`. Of NC1_papyan nothing follows: it sees the span of the means only.

    Args:
        least: lower bound of tr S.
        state: initial state.
        sizes: its sizes.
        kernel: scalar blocks.
    """
    C, m = sizes.C, sizes.per_class
    blocks = (state.H.reshape(sizes.n, C, m)).transpose(1, 0, 2)
    deviations = blocks - blocks.mean(axis=2, keepdims=True)
    # Of the two Gram matrices the smaller: their largest eigenvalue is the same.
    grams = (
        np.swapaxes(deviations, 1, 2) @ deviations
        if m <= sizes.n
        else deviations @ np.swapaxes(deviations, 1, 2)
    ) / m
    largest = float(np.sqrt(max(0.0, float(np.linalg.eigvalsh(grams)[:, -1].max()))))
    means = means_ceiling(state, sizes, kernel)
    return {
        "NC1": max(float(np.sqrt(least)), least / largest if largest else 0.0) / (C * sizes.n),
        "NC1_frobenius": float(np.sqrt(least / C)),
        "NC1_tirer": least / means,
        "NC1_galanti": least / (2 * C * means),
    }


@dataclass(frozen=True)
class Ceiling:
    """Upper bounds of S for all time that E >= 0 guarantees, stronger than the paper's proof of NC1.

    W^T W >= (m/mu_single) S, so d tr S/dt <= -2m tr S^2; no "end of training" is needed (theory 3.6).

    Attributes:
        trace: tr S at t = 0.
        largest: largest eigenvalue of S at t = 0.
        rank: rank of S at t = 0.
        m: samples per class.
    """

    trace: float
    largest: float
    rank: int
    m: int

    def trace_at(self, t: Vector) -> Vector:
        """Bound tr S(t) <= tr S0/(1 + 2 m t tr S0/rank)."""
        return self.trace / (1 + 2 * self.m * t * self.trace / max(self.rank, 1))

    def largest_at(self, t: Vector) -> Vector:
        """Bound of the largest eigenvalue, 1/(1/largest + 2 m t)."""
        return self.largest / (1 + 2 * self.m * t * self.largest)


def guarantee(state: State, sizes: Sizes, kernel: BlockKernel, relative: float = 0.0) -> Ceiling:
    """The ceiling of tr S of a state with E >= 0, whatever the class means and biases do.

    Args:
        state: initial state.
        sizes: its sizes.
        kernel: scalar blocks.
        relative: relative accuracy of the state; 0 means exact to rounding.

    Raises:
        InputError: E has a negative eigenvalue, so that nothing is guaranteed.
    """
    eigenvalues(sizes, kernel)
    terms = invariant.terms(state, sizes, kernel)
    signs = inertia(terms.E, rounding(sizes.n, terms.scale, relative))
    if not signs.semidefinite:
        raise InputError(
            "state",
            f"E with {signs.negative} negative eigenvalues",
            f"must have E >= 0 (to {signs.tolerance:.1g}) for this guarantee",
            "see bounds.floor for what holds otherwise",
        )
    return ceiling(state, sizes)


def ceiling(state: State, sizes: Sizes) -> Ceiling:
    """The same of a state that is known to have E >= 0."""
    thin, _ = decompose(state, sizes, subspace=False)
    s = np.linalg.svd(thin.L, compute_uv=False) if thin.L.size else np.zeros(1)
    variances = s**2 / sizes.per_class
    # All that is not zero, rounding too: a rank that is too large only weakens the bound.
    rank = int(np.sum(s > 0)) if thin.L.size else 0
    return Ceiling(float(variances.sum()), float(variances[0]), rank, sizes.per_class)


@dataclass(frozen=True)
class BiasBounds:
    """Bounds for all time from V = |b - 1/C|^2 + (N/mu_global) |g|^2, which never rises.

    dV/dt = -2N |mean residual|^2 (theory 3.3).

    Attributes:
        V: its value at t = 0.
        b: bound of |b - 1/C|, the Euclidean norm.
        g: bound of |g|, the norm of the global feature mean.
    """

    V: float
    b: float
    g: float


def bias_bounds(state: State, sizes: Sizes, kernel: BlockKernel) -> BiasBounds:
    """How far biases and global mean can ever be from 1/C and 0; V = 0 means that they never move.

    Args:
        state: initial state.
        sizes: its sizes.
        kernel: scalar blocks.
    """
    state.check(sizes)
    share, g = _share(sizes, kernel), state.H.mean(axis=1)
    V = float(np.sum((state.b - 1 / sizes.C) ** 2) + share * np.sum(g**2))
    return bounds_of_V(V, sizes, kernel)


def bounds_of_V(V: float, sizes: Sizes, kernel: BlockKernel) -> BiasBounds:
    """`bias_bounds` of a state whose V is known."""
    return BiasBounds(V, math.sqrt(V), math.sqrt(V / _share(sizes, kernel)))


def _share(sizes: Sizes, kernel: BlockKernel) -> float:
    """N/mu_global, the weight at which the products of residual and mean cancel in dV/dt (theory 3.3)."""
    return sizes.N / eigenvalues(sizes, kernel).mu_global
