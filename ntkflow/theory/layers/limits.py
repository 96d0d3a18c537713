"""Where L linear layers end at zero loss when all Q_l = 0, and their kernel there (theory 18.4)."""

from dataclasses import dataclass

import numpy as np

from ntkflow._types import Biases, ClassMatrix
from ntkflow.problem.kernels.base import Kernel
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.sizes import Sizes
from ntkflow.theory.limits import eigenvalues

# Singular values below this share of the largest are zero: a root of order L + 1 would make 1e-5 of 1e-16.
ZERO = 1e-10


@dataclass(frozen=True, eq=False)
class LimitOfLayers:
    """The Gram matrices at zero loss.

    Attributes:
        X: W W^T.
        G: H1[l]^T H1[l] of every layer l = 1 .. L.
    """

    X: ClassMatrix
    G: tuple[ClassMatrix, ...]


def collapse_x(sizes: Sizes, kernel: BlockKernel, L: int) -> float:
    """x = (m/mu_class)^{1/(L+1)}, the eigenvalue of every V_l^T V_l and of W W^T on class contrasts; x* for L = 1."""
    return float((sizes.per_class / eigenvalues(sizes, kernel).mu_class) ** (1 / (L + 1)))


def balanced_limit(sizes: Sizes, kernel: Kernel, L: int, b: Biases | None = None) -> LimitOfLayers:
    """X = Z^{1/(L+1)}, G[l] = A^T Z^{-(L+1-l)/(L+1)} A with Z = A Mc A^T, Mc = Y K0^{-1} Y^T, A = I - b 1^T, for any SPD K0.

    Args:
        sizes: C, m, n.
        kernel: K0.
        L: number of layers.
        b: biases of the limit; None for 1/C, where V = 0 leaves them.

    Raises:
        InputError: the kernel is not positive on the sizes.
    """
    kernel.check(sizes)
    C = sizes.C
    b = np.full(C, 1 / C) if b is None else b
    wide = Sizes(C, sizes.m, C)
    Mc = np.asarray(kernel.solve(sizes.Y, wide)) @ sizes.Y.T
    A = np.eye(C) - np.outer(b, np.ones(C))
    values, vectors = np.linalg.eigh(A @ ((Mc + Mc.T) / 2) @ A.T)
    used = values > ZERO * values[-1]
    values, vectors = values[used], vectors[:, used]

    def power(exponent: float) -> ClassMatrix:
        result: ClassMatrix = (vectors * values**exponent) @ vectors.T
        return result

    return LimitOfLayers(
        power(1 / (L + 1)), tuple(A.T @ power(-(L + 1 - l) / (L + 1)) @ A for l in range(1, L + 1))
    )


def collapsed_kernel(
    sizes: Sizes, kernel: BlockKernel, widths: tuple[int, ...], weighted: bool = False
) -> BlockKernel:
    """Block constants of the features' kernel at the balanced collapse point; kappa_n < 0 where the features are centred.

    Args:
        sizes: C, m, n.
        kernel: K0.
        widths: n_1 .. n_L.
        weighted: W-weighted instead of the mean over neurons: mu_single, L mu_class, mu_global of K0, times x^{L-1}.
    """
    mu, L, n, C = eigenvalues(sizes, kernel), len(widths), widths[-1], sizes.C
    scale = collapse_x(sizes, kernel, L) ** (L - 1)
    if L == 1:
        return kernel
    if weighted:
        return BlockKernel.of_eigenvalues(
            sizes, scale * mu.mu_single, L * scale * mu.mu_class, scale * mu.mu_global
        )
    share, more = (C - 1) / n, 1 + (L - 1) * (C - 1) / n
    return BlockKernel.of_eigenvalues(
        sizes, share * scale * mu.mu_single, more * scale * mu.mu_class, share * scale * mu.mu_global
    )


def ceiling(problem: LayeredProblem, t: float, trace: float, rank: int) -> float:
    """Upper bound of tr S[1](t) when every Q_l >= 0: [tr S(0)^{-L} + 2 L mu_single (m/mu_single)^L t/r^L]^{-1/L} (theory 18.4).

    Args:
        problem: under scalar blocks of equal classes, squared error, no decay.
        t: flow time.
        trace: tr S[1](0).
        rank: rank of S[1](0), at most C where every Q_l >= 0.
    """
    kernel, L, m = problem.equal_blocks, problem.L, problem.sizes.per_class
    assert kernel is not None
    if trace == 0:
        return 0.0
    mu = eigenvalues(problem.sizes, kernel).mu_single
    return float((trace**-L + 2 * L * mu * (m / mu / rank) ** L * t) ** (-1 / L))
