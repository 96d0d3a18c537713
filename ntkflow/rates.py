"""Rates of convergence: spectra at collapse, at any zero-loss point and at the origin, and what follows from them.

Rates are per unit of the flow time t of the sum loss (4). Near a zero-loss point the residual obeys
dR/dt = -(R (H^T H + 11^T) + W W^T R K), a symmetric positive semidefinite operator. Its spectrum is not that
of Table 1, which belongs to a simpler model (theory section 7).
"""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow._types import ClassMeans, Json, Vector, Weights, WithinFactor
from ntkflow.errors import InputError
from ntkflow.kernels.block import BlockKernel
from ntkflow.limits import eigenvalues, lambda_balanced_x, x_star
from ntkflow.sizes import Sizes


@dataclass(frozen=True)
class Mode:
    """One eigenvalue of the linearised flow.

    Attributes:
        name: which part of the residual, or of the state, it moves.
        rate: decay rate per unit of flow time; negative when the mode grows.
        multiplicity: dimension of the eigenspace.
    """

    name: str
    rate: float
    multiplicity: int

    def as_dict(self) -> Json:
        """Plain values for files."""
        return asdict(self)


def at_collapse(sizes: Sizes, kernel: BlockKernel, e: float = 0.0) -> tuple[Mode, ...]:
    """Spectrum of the residual at neural collapse with W W^T = x_e P (E = e times the projector on row(W)).

    "Contrast" and "sum over outputs" say which rows of R, the rest which columns. The last mode has rate
    zero: it fades like 1/t (`tail_trace_S`). Multiplicities add up to C N.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        e: eigenvalue of E; 0 gives the paper's collapse with x = sqrt(m/mu_class).

    Source: not in the paper (theory 7.2); Table 1 has the kernel's own eigenvalues.

    >>> [round(mode.rate, 3) for mode in at_collapse(Sizes(C=3, m=4, n=5), BlockKernel(1.0, 0.5, 0.1))]
    [5.797, 16.554, 2.898, 12.0, 0.69, 0.0]
    """
    C, m, N, mu = sizes.C, sizes.per_class, sizes.N, eigenvalues(sizes, kernel)
    x = lambda_balanced_x(sizes, kernel, e)
    rows = (
        ("contrast, class contrast", m / x + mu.mu_class * x, (C - 1) ** 2),
        ("contrast, global mean", N + mu.mu_global * x, C - 1),
        ("sum over outputs, class contrast", m / x, C - 1),
        ("sum over outputs, global mean", float(N), 1),
        ("contrast, within class", mu.mu_single * x, (C - 1) * (N - C)),
        ("sum over outputs, within class", 0.0, N - C),
    )
    return tuple(Mode(*row) for row in rows)


def at_origin(sizes: Sizes, kernel: BlockKernel) -> tuple[Mode, ...]:
    """Spectrum of the whole flow at the saddle W = 0, H = 0, b = 1/C; multiplicities add up to n N + C n + C.

    Source: not in the paper (theory 7.4).
    """
    C, n, rate = sizes.C, sizes.n, class_rate(sizes, kernel)
    return (
        Mode("class means and weights, growing", -rate, n * (C - 1)),
        Mode("class means and weights, decaying", rate, n * (C - 1)),
        Mode("biases", float(sizes.N), C),
        Mode("still to first order", 0.0, 2 * n + n * (sizes.N - C)),
    )


def class_rate(sizes: Sizes, kernel: BlockKernel) -> float:
    """sqrt(m mu_class), the clock of the class means: growth at the origin, half the fastest rate at collapse."""
    return float(np.sqrt(sizes.per_class * eigenvalues(sizes, kernel).mu_class))


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Rates at one zero-loss point, ascending.

    Attributes:
        coupled: rates that class means and W L mix, C (C + r) of them.
        within: mu_single times the eigenvalues of W W^T, C of them, each `multiplicity` times more.
        multiplicity: N - C - r, within-class sample directions that the state does not occupy.
    """

    coupled: Float64[np.ndarray, " k"]
    within: Float64[np.ndarray, " C"]
    multiplicity: int

    @property
    def fastest(self) -> float:
        """The largest rate, which limits the step of explicit methods."""
        return float(max(self.coupled[-1], self.within[-1] if self.multiplicity else 0.0))

    @property
    def slowest(self) -> float:
        """The smallest rate."""
        return float(min(self.coupled[0], self.within[0] if self.multiplicity else np.inf))


def at_zero_loss(
    H1: ClassMeans, W: Weights, sizes: Sizes, kernel: BlockKernel, L: WithinFactor | None = None
) -> Spectrum:
    """Spectrum of the residual at any zero-loss point, without the N x N kernel.

    kron(I_C, H^T H + 11^T) + kron(W W^T, K) splits over the eigenvectors of W W^T into blocks of size C + r.

    Args:
        H1: class means, n x C.
        W: weights, C x n.
        sizes: sizes of the problem.
        kernel: scalar blocks.
        L: within-class factor of the point where it has not collapsed, n x r; None for S = 0.

    Source: not in the paper (theory 7.1).
    """
    mu, m = eigenvalues(sizes, kernel), sizes.per_class
    L = np.zeros((H1.shape[0], 0)) if L is None else L
    C, r = sizes.C, L.shape[1]
    # Coordinates: class means divided by sqrt(m), then the columns of L.
    means = np.hstack([np.sqrt(m) * H1, L])
    offset = np.zeros((C + r, C + r))
    offset[:C, :C] = m
    K = np.zeros((C + r, C + r))
    K[:C, :C] = kernel.class_kernel(sizes)
    K[C:, C:] = mu.mu_single * np.eye(r)
    x = np.maximum(np.linalg.eigvalsh(W @ W.T), 0.0)
    blocks = means.T @ means + offset + x[:, None, None] * K
    return Spectrum(np.sort(np.linalg.eigvalsh(blocks).ravel()), mu.mu_single * x, sizes.N - C - r)


def slowest_within(sizes: Sizes, kernel: BlockKernel, beta: float) -> float:
    """Slowest within-class rate at E = 0 and b = beta 1: mu_single x* min(1, |1 - beta C| sqrt(mu_c/mu_g)).

    It vanishes exactly where NC3 becomes perfect, beta = 1/C. Source: not in the paper (theory 7.3).
    """
    mu = eigenvalues(sizes, kernel)
    uncentred = abs(1 - beta * sizes.C) * float(np.sqrt(mu.mu_class / mu.mu_global))
    return mu.mu_single * x_star(sizes, kernel) * min(1.0, uncentred)


def stiffness_ratio(sizes: Sizes, kernel: BlockKernel) -> float:
    """Fastest rate at collapse with E = 0 over mu_single x*, that is max(2, C nu + rho_g)/rho_s.

    Infinite for m = 1 with kappa_d = kappa_c. Source: not in the paper (theory 7.5).
    """
    eigenvalues(sizes, kernel)
    numbers = kernel.dimensionless(sizes)
    fastest = max(2.0, sizes.C * numbers.nu + numbers.rho_g)
    return fastest / numbers.rho_s if numbers.rho_s > 0 else float("inf")


def time_to_collapse(sizes: Sizes, kernel: BlockKernel, factor: float, e: float = 0.0) -> float:
    """Time in which NC1 falls by `factor` once the classes are fitted: ln(factor)/(mu_single x*).

    NC1(t) = NC1(t1) exp(-mu_single x* (t - t1)) at E = 0 from the time t1 of the class fit; tr S falls by the
    same factor in half the time. For large m the rate tends to mu_single/sqrt(kappa_c - kappa_n), so
    collapse takes a time that does not shrink with m, while the class fit does.

    Args:
        sizes: sizes of the problem, with m >= 2.
        kernel: scalar blocks.
        factor: NC1 now over NC1 wanted, at least 1.
        e: eigenvalue of E, which makes x* to x_e, as in `at_collapse`.

    Source: not in the paper (theory 7.6).
    """
    if sizes.per_class == 1:
        raise InputError(
            "m", 1, "leaves nothing to collapse: one sample per class has no spread", "use m >= 2"
        )
    if not factor >= 1:
        raise InputError("factor", factor, "must be at least 1", "give NC1 now over NC1 wanted")
    return float(np.log(factor)) / (
        eigenvalues(sizes, kernel).mu_single * lambda_balanced_x(sizes, kernel, e)
    )


def plateau_time(sizes: Sizes, kernel: BlockKernel, scale: float) -> float:
    """ln(1/scale)/sqrt(m mu_class), about how long a small state stays near the saddle at the origin.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        scale: size of the initial (W, H) in the units of the limit, in 0 .. 1.

    Source: not in the paper (theory 7.4).
    """
    if not 0 < scale <= 1:
        raise InputError(
            "scale", scale, "must lie in 0 .. 1, zero excluded", "give |W(0)| over |W| at the end"
        )
    return float(np.log(1 / scale)) / class_rate(sizes, kernel)


def tail_column_sums(t: Vector, sizes: Sizes, kernel: BlockKernel, start: float = np.inf) -> Vector:
    """|W^T 1|^2 / C -> 1/(2 mu_single t): the algebraic tail under the very hypotheses of Theorem 5.2.

    With E = 0, g = 0, b = 1/C and W(0)^T 1 != 0 one direction of row(W) lies outside the class means and has no
    linear decay; the constants do not depend on the initial state (theory 7.3, as all of the `tail_` laws).

    Args:
        t: times.
        sizes: sizes of the problem.
        kernel: scalar blocks.
        start: value at t = 0; with it the law 1/(2 mu_single t + 1/start) is exact where the class means are
            already those of the limit and orthogonal to that direction.
    """
    return 1 / (2 * eigenvalues(sizes, kernel).mu_single * t + 1 / start)


def tail_trace_S(t: Vector, sizes: Sizes, kernel: BlockKernel, start: float = np.inf) -> Vector:
    """Trace of S -> 1/(2 m t); `start` is |W(0)^T 1|^2 / C as in `tail_column_sums`, of which it is mu_single/m."""
    share = eigenvalues(sizes, kernel).mu_single / sizes.per_class
    return share * tail_column_sums(t, sizes, kernel, start)


def tail_loss(t: Vector, sizes: Sizes, kernel: BlockKernel) -> Vector:
    """Loss -> 1/(8 mu_single t^2)."""
    return 1 / (8 * eigenvalues(sizes, kernel).mu_single * t**2)


def tail_NC3(t: Vector, sizes: Sizes, kernel: BlockKernel) -> Vector:
    """NC3 -> (2 mu_single t)^{-1/2} / sqrt((C-1) x*)."""
    return np.sqrt(tail_column_sums(t, sizes, kernel) / ((sizes.C - 1) * x_star(sizes, kernel)))


def largest_step(rate: float) -> float:
    """2/lambda_max: gradient descent on the sum loss is stable for steps below it.

    For a loss that is a mean over samples and outputs the bound is N C times larger. With momentum beta it
    is (1 + beta) times larger (heavy ball). Source: not in the paper (theory 11.6).

    Args:
        rate: fastest rate, for example `at_zero_loss(...).fastest` or the largest of `at_collapse`.
    """
    if not rate > 0:
        raise InputError("rate", rate, "must be positive", "give the fastest rate of a spectrum")
    return 2 / rate
