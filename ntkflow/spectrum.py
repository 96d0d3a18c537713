"""Rates near a point of zero loss, for every rung of the kernel ladder.

Near a zero of the loss the residual obeys dR/dt = -T[R] with
    T[R] = R (H^T H + 11^T) + W Op[W^T R],
symmetric and positive semidefinite; for a sample kernel Op[G] = G K its second term is X R K, X = W W^T.
Its spectrum is that of the parameters' Jacobian, negated and without the zeros of the manifold of minima.
Under block kernels most of it is known without an eigenvalue problem: samples split into class means, the r
directions in which H varies within classes, and the rest, on which T is mu_s^c X. Not in the paper.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from ntkflow._types import Features, Json, Vector, Weights
from ntkflow.kernels.base import Kernel, ThinCoefficients
from ntkflow.reduction import Frame, decompose
from ntkflow.sizes import Sizes
from ntkflow.state import State, ThinState

# Rates below this fraction of the fastest count as zero.
ZERO = 1e-12


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Rates of the residual's modes, decreasing; a mode decays as exp(-rate t).

    Attributes:
        rates: the rates, (k,); equal ones may appear more than once.
        multiplicities: number of modes with each, (k,); they add up to C N.
    """

    rates: Vector
    multiplicities: Int64[np.ndarray, " k"]

    @property
    def all(self) -> Vector:
        """Every rate as often as it occurs, decreasing, (C N,)."""
        return np.repeat(self.rates, self.multiplicities)

    @property
    def fastest(self) -> float:
        """The largest rate; explicit steps and gradient descent need eta < 2 / fastest."""
        return float(self.rates[0])

    @property
    def slowest(self) -> float:
        """The smallest rate that is not zero; nan when all vanish."""
        moving = self.rates[self.rates > ZERO * self.fastest]
        return float(moving[-1]) if len(moving) else float("nan")

    @property
    def frozen(self) -> int:
        """Number of modes with rate zero: they decay algebraically, if at all."""
        return int(self.multiplicities[self.rates <= ZERO * self.fastest].sum())

    @property
    def stiffness(self) -> float:
        """Fastest over slowest."""
        return self.fastest / self.slowest

    def as_dict(self) -> Json:
        """Fastest and slowest rate, their ratio, and the number of frozen modes."""
        return {name: getattr(self, name) for name in ("fastest", "slowest", "stiffness", "frozen")}


def zero_loss_spectrum(kernel: Kernel, H: Features, W: Weights, sizes: Sizes) -> Spectrum:
    """Exact rates of the squared error's flow near a point (H, W, b) where its loss is zero.

    Args:
        kernel: any rung. Block kernels need an eigenvalue problem of size C (C + r) only, r the rank of the
            within-class part of H; the others one of size C N.
        H: features at the zero of the loss, n x N, samples ordered by class; collapsed or not.
        W: weights there, C x n.
        sizes: C, m, n.

    Returns:
        All C N rates.

    Raises:
        InputError: shapes do not fit the sizes, or the kernel is singular or indefinite.
    """
    kernel.check(sizes)
    state = State(H, W, np.zeros(sizes.C))
    state.check(sizes)
    coefficients = kernel.thin(sizes)
    if coefficients is None:
        return _sorted(_dense(kernel, H, W, sizes), np.ones(sizes.C * sizes.N, dtype=np.int64))
    thin, frame = decompose(state, sizes, coefficients.groups, subspace=False)
    coupled = _coupled(thin, frame, coefficients)
    rest, counts = _rest(thin, frame, coefficients)
    ones = np.ones(len(coupled), dtype=np.int64)
    return _sorted(np.concatenate([coupled, rest]), np.concatenate([ones, counts]))


def _dense(kernel: Kernel, H: Features, W: Weights, sizes: Sizes) -> Vector:
    gram = H.T @ H + 1.0
    basis = np.eye(sizes.C * sizes.N).reshape(-1, sizes.C, sizes.N)
    columns = [(R @ gram + W @ kernel.apply(W.T @ R, sizes)).ravel() for R in basis]
    T = np.stack(columns)
    return np.linalg.eigvalsh((T + T.T) / 2)


def _coupled(thin: ThinState, frame: Frame, coefficients: ThinCoefficients) -> Vector:
    """Rates on class means and on the r directions in which H varies within classes.

    In the orthonormal basis [Y^T M^{-1/2}, Q] of these samples H is [H1 M^{1/2}, L], the vector 1 is
    [sqrt(m_c), 0] and K is [diag(mu_s^c) + M^{1/2} B M^{1/2}, diag(rates)].
    """
    roots = np.sqrt(frame.sizes.masses)
    H = np.hstack([thin.H1 * roots, thin.L])
    ones = np.concatenate([roots, np.zeros(thin.L.shape[1])])
    K = np.diag(np.concatenate([roots * 0, coefficients.within[np.array(frame.column_class, dtype=int)]]))
    C = frame.sizes.C
    K[:C, :C] = coefficients.class_kernel * roots / roots[:, None]
    T = np.kron(np.eye(C), H.T @ H + np.outer(ones, ones)) + np.kron(thin.W @ thin.W.T, (K + K.T) / 2)
    return np.linalg.eigvalsh(T)


def _rest(
    thin: ThinState, frame: Frame, coefficients: ThinCoefficients
) -> tuple[Vector, Int64[np.ndarray, " k"]]:
    """mu_s eig(X) for each group of classes with one mu_s, as often as directions without features are left."""
    X = np.linalg.eigvalsh(thin.W @ thin.W.T)
    rates, counts = [], []
    column_group = coefficients.groups[np.array(frame.column_class, dtype=int)]
    for group in np.unique(coefficients.groups):
        members = coefficients.groups == group
        free = int(np.sum(frame.sizes.masses[members] - 1)) - int(np.sum(column_group == group))
        if free > 0:
            rates.append(float(coefficients.within[members][0]) * X)
            counts.append(np.full(len(X), free, dtype=np.int64))
    if not rates:
        return np.empty(0), np.empty(0, dtype=np.int64)
    return np.concatenate(rates), np.concatenate(counts)


def _sorted(rates: Vector, multiplicities: Int64[np.ndarray, " k"]) -> Spectrum:
    order = np.argsort(-rates, kind="stable")
    # T is positive semidefinite; what is negative is rounding.
    return Spectrum(np.maximum(rates[order], 0.0), multiplicities[order])
