"""Spectra of the linearised flow: at any point of zero loss, at neural collapse, at the saddle at the origin.

Rates are per unit of the flow time t of the sum loss (4). Near a zero of the loss the residual obeys dR/dt = -T[R] with
    T[R] = R (H^T H + 11^T) + W Op[W^T R],
symmetric and positive semidefinite; for a sample kernel Op[G] = G K its second term is X R K, X = W W^T. Its spectrum is
that of the parameters' Jacobian, negated and without the zeros of the manifold of minima; it is not that of Table 1, which
belongs to a simpler model (theory section 7). Under block kernels most of it is known without an eigenvalue problem:
samples split into class means, the r directions in which H varies within classes, and the rest, on which T is mu_s^c X.
Not in the paper.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from ntkflow import views
from ntkflow._lazy import lister
from ntkflow._types import Features, Floats, Integers, Json, Vector, Weights
from ntkflow.problem.kernels.base import Kernel, ThinCoefficients
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import Frame, decompose
from ntkflow.theory.limits import eigenvalues, lambda_balanced_x
from ntkflow.theory.rates import class_rate

__all__ = ["Mode", "Spectrum", "at_collapse", "at_origin", "at_zero_loss"]
__dir__ = lister(__all__)

# Rates below this fraction of the fastest count as zero.
ZERO = 1e-12


@dataclass(frozen=True)
class Mode:
    """One eigenvalue of the linearised flow.

    Attributes:
        name: which part of the residual, or of the state, it moves; empty where only the number is known.
        rate: decay rate per unit of flow time; negative when the mode grows.
        multiplicity: dimension of the eigenspace.
    """

    name: str
    rate: float
    multiplicity: int

    __repr__ = views.short


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Rates of the linearised flow at one point, decreasing; a mode decays as exp(-rate t).

    Attributes:
        rates: the rates, (k,); equal ones may appear more than once. A growing mode has a negative one.
        multiplicities: number of modes with each, at least 1, (k,).
        names: what each moves, (k,); empty where only numbers are known.
    """

    rates: Vector
    multiplicities: Int64[Integers, " k"]
    names: tuple[str, ...] = ()

    __repr__ = views.short

    @classmethod
    def of(cls, *modes: tuple[str, float, int]) -> "Spectrum":
        """The spectrum with these names, rates and multiplicities; those of multiplicity 0 are left out."""
        there = sorted((mode for mode in modes if mode[2] > 0), key=lambda mode: -mode[1])
        names, rates, counts = zip(*there, strict=True)
        return cls(np.array(rates, dtype=np.float64), np.array(counts, dtype=np.int64), names)

    @cached_property
    def modes(self) -> tuple[Mode, ...]:
        """One entry per rate, fastest first."""
        names = self.names or ("",) * len(self.rates)
        rows = zip(names, self.rates.tolist(), self.multiplicities.tolist(), strict=True)
        return tuple(Mode(*row) for row in rows)

    def rate(self, name: str) -> float:
        """The rate of a named mode; KeyError where there is none."""
        return {mode.name: mode.rate for mode in self.modes if mode.name}[name]

    @property
    def all(self) -> Vector:
        """Every rate as often as it occurs, decreasing; at a zero of the loss (C N,)."""
        return np.repeat(self.rates, self.multiplicities)

    @property
    def fastest(self) -> float:
        """The largest rate; explicit steps and gradient descent need eta < 2 / fastest."""
        return float(self.rates[0])

    @property
    def slowest(self) -> float:
        """The smallest positive rate: modes with rate zero do not decay at first order; nan when there is none."""
        moving = self.rates[self.rates > ZERO * self.fastest]
        return float(moving[-1]) if len(moving) else float("nan")

    @property
    def frozen(self) -> int:
        """Number of modes with rate zero: they decay algebraically, if at all."""
        return int(self.multiplicities[np.abs(self.rates) <= ZERO * self.fastest].sum())

    @property
    def stiffness_ratio(self) -> float:
        """Fastest over slowest: how much longer the last mode takes than a step of the first."""
        return self.fastest / self.slowest

    def as_dict(self) -> Json:
        """Fastest and slowest rate, their ratio, and the number of frozen modes."""
        return {name: getattr(self, name) for name in ("fastest", "slowest", "stiffness_ratio", "frozen")}


def at_collapse(sizes: Sizes, kernel: BlockKernel, e: float = 0.0) -> Spectrum:
    """Spectrum of the residual at neural collapse with W W^T = x_e P (E = e times the projector on row(W)).

    "Contrast" and "sum over outputs" say which rows of R, the rest which columns. The mode with rate zero fades like
    1/t (`rates.tail_trace_S`). Multiplicities add up to C N.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        e: eigenvalue of E; 0 gives the paper's collapse with x = sqrt(m/mu_class).

    Source: not in the paper (theory 7.2); Table 1 has the kernel's own eigenvalues.

    >>> [round(mode.rate, 3) for mode in at_collapse(Sizes(C=3, m=4, n=5), BlockKernel(1.0, 0.5, 0.1)).modes]
    [16.554, 12.0, 5.797, 2.898, 0.69, 0.0]
    """
    C, m, N, mu = sizes.C, sizes.per_class, sizes.N, eigenvalues(sizes, kernel)
    x = lambda_balanced_x(sizes, kernel, e)
    return Spectrum.of(
        ("contrast, class contrast", m / x + mu.mu_class * x, (C - 1) ** 2),
        ("contrast, global mean", N + mu.mu_global * x, C - 1),
        ("sum over outputs, class contrast", m / x, C - 1),
        ("sum over outputs, global mean", float(N), 1),
        ("contrast, within class", mu.mu_single * x, (C - 1) * (N - C)),
        ("sum over outputs, within class", 0.0, N - C),
    )


def at_origin(sizes: Sizes, kernel: BlockKernel) -> Spectrum:
    """Spectrum of the whole flow at the saddle W = 0, H = 0, b = 1/C; multiplicities add up to n N + C n + C.

    Source: not in the paper (theory 7.4).
    """
    C, n, rate = sizes.C, sizes.n, class_rate(sizes, kernel)
    return Spectrum.of(
        ("biases", float(sizes.N), C),
        ("class means and weights, decaying", rate, n * (C - 1)),
        ("still to first order", 0.0, 2 * n + n * (sizes.N - C)),
        ("class means and weights, growing", -rate, n * (C - 1)),
    )


def at_zero_loss(sizes: Sizes, kernel: Kernel, H: Features, W: Weights, train_bias: bool = True) -> Spectrum:
    """Exact rates of the squared error's flow near a point (H, W, b) where its loss is zero.

    Args:
        sizes: C, m, n.
        kernel: any rung. Block kernels need C eigenvalue problems of size C + r only, r the rank of the
            within-class part of H; the others one of size C N.
        H: features at the zero of the loss, n x N, samples ordered by class; collapsed or not.
        W: weights there, C x n.
        train_bias: whether the biases move; held ones, or a head without, leave out 11^T.

    Returns:
        All C N rates.

    Raises:
        InputError: shapes do not fit the sizes, or the kernel is singular or indefinite.

    Source: not in the paper (theory 7.1).
    """
    kernel.check(sizes)
    state = State(H, W, np.zeros(sizes.C))
    state.check(sizes)
    coefficients = kernel.thin(sizes)
    if coefficients is None:
        # T as it stands: one image for each entry of R.
        gram, basis = H.T @ H + float(train_bias), np.eye(sizes.C * sizes.N).reshape(-1, sizes.C, sizes.N)
        T = np.stack([(R @ gram + W @ kernel.apply(W.T @ R, sizes)).ravel() for R in basis])
        return _sorted(np.linalg.eigvalsh((T + T.T) / 2), np.ones(len(T), dtype=np.int64))
    return of_thin(*decompose(state, sizes, coefficients.groups, subspace=False), coefficients, train_bias)


def of_thin(
    thin: ThinState, frame: Frame, coefficients: ThinCoefficients, train_bias: bool = True
) -> Spectrum:
    """`at_zero_loss` of a state that is already decomposed, without any N x N matrix.

    Args:
        thin: the state; all n coordinates or those of its subspace.
        frame: its frame, made for the groups of `coefficients`.
        coefficients: of the block kernel.
        train_bias: whether the biases move.
    """
    x = _of_weights(thin)
    coupled = _coupled(thin, frame, coefficients, train_bias, x)
    rest, counts = _rest(frame, coefficients, x)
    ones = np.ones(len(coupled), dtype=np.int64)
    return _sorted(np.concatenate([coupled, rest]), np.concatenate([ones, counts]))


def _coupled(
    thin: ThinState, frame: Frame, coefficients: ThinCoefficients, train_bias: bool, x: Float64[Floats, " C"]
) -> Vector:
    """Rates on class means and on the r directions in which H varies within classes.

    In the orthonormal basis [Y^T M^{-1/2}, Q] of these samples H is [H1 M^{1/2}, L], the vector 1 is
    [sqrt(m_c), 0] and K is [diag(mu_s^c) + M^{1/2} B M^{1/2}, diag(rates)]. In the eigenvectors of X, with eigenvalues x,
    1 (x) (H^T H + 11^T) + X (x) K falls apart into one block H^T H + 11^T + x K for each; 11^T is there for biases
    that are trained.
    """
    roots = np.sqrt(frame.sizes.masses)
    H = np.hstack([thin.H1 * roots, thin.L])
    ones = np.concatenate([roots * train_bias, np.zeros(thin.L.shape[1])])
    K = np.diag(np.concatenate([roots * 0, coefficients.within[np.array(frame.column_class, dtype=int)]]))
    C = frame.sizes.C
    K[:C, :C] = coefficients.class_kernel * roots / roots[:, None]
    return np.linalg.eigvalsh(H.T @ H + np.outer(ones, ones) + x[:, None, None] * (K + K.T) / 2).ravel()


def _of_weights(thin: ThinState) -> Vector:
    """Eigenvalues of X = W W^T, which has no negative ones but by rounding."""
    result: Floats = np.maximum(np.linalg.eigvalsh(thin.W @ thin.W.T), 0.0)
    return result


def _rest(
    frame: Frame, coefficients: ThinCoefficients, x: Float64[Floats, " C"]
) -> tuple[Vector, Int64[Integers, " k"]]:
    """mu_s eig(X) for each group of classes with one mu_s, as often as directions without features are left."""
    rates, counts = [], []
    column_group = coefficients.groups[np.array(frame.column_class, dtype=int)]
    for group in np.unique(coefficients.groups):
        members = coefficients.groups == group
        free = int(np.sum(frame.sizes.masses[members] - 1)) - int(np.sum(column_group == group))
        if free > 0:
            rates.append(float(coefficients.within[members][0]) * x)
            counts.append(np.full(len(x), free, dtype=np.int64))
    if not rates:
        return np.empty(0), np.empty(0, dtype=np.int64)
    return np.concatenate(rates), np.concatenate(counts)


def _sorted(rates: Vector, multiplicities: Int64[Integers, " k"]) -> Spectrum:
    order = np.argsort(-rates, kind="stable")
    # T is positive semidefinite; what is negative is rounding.
    return Spectrum(np.maximum(rates[order], 0.0), multiplicities[order])
