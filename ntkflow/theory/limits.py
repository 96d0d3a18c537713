"""Gram matrices at the end of training, at zero loss: what E, the kernel and the biases of the limit decide.

At zero loss W H1 = A = I - b 1^T and W H2 = 0. With E = 0, X = W W^T and G = H1^T H1 follow from A and
Mc = m Kc^{-1} = Y K^{-1} Y^T alone: X = (A Mc A^T)^{1/2} and G = Mc^{-1} # (A^T A) (theory section 5).
"""

import numpy as np

from ntkflow._lazy import lister
from ntkflow._types import Biases, ClassMatrix, ClassMeans, FeatureMatrix, Floats, Weights
from ntkflow.errors import InputError
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels import Kernel, checks
from ntkflow.problem.kernels.block import BlockKernel, Eigenvalues
from ntkflow.problem.sizes import Sizes, one_hot
from ntkflow.theory.geometric_mean import geometric_mean
from ntkflow.theory.limit_point import Limit, complete

__all__ = [
    "Limit",
    "class_gram",
    "collapsed",
    "complete",
    "deviation_bound",
    "eigenvalues",
    "equal_bias",
    "gamma",
    "general_kernel",
    "geometric_mean",
    "lambda_balanced_x",
    "means_from_weights",
    "projector_invariant",
    "theta",
    "x_star",
    "zero_invariant",
]
__dir__ = lister(__all__)


def eigenvalues(sizes: Sizes, kernel: BlockKernel) -> Eigenvalues:
    """The three eigenvalues of a kernel that is positive definite on these sizes.

    Raises:
        InputError: an eigenvalue that these sizes use is not positive, or the classes are imbalanced.
    """
    kernel.check(sizes)
    return kernel.eigenvalues(sizes)


def x_star(sizes: Sizes, kernel: BlockKernel) -> float:
    """sqrt(m/mu_class), the eigenvalue of W W^T on class contrasts at collapse with E = 0. Source: eq. (58)."""
    return float(np.sqrt(sizes.per_class / eigenvalues(sizes, kernel).mu_class))


def lambda_balanced_x(sizes: Sizes, kernel: BlockKernel, e: float) -> float:
    """x_e = (m/2)(e + sqrt(e^2 + 4/(m mu_class))), the eigenvalue of W W^T when E = e times a projector.

    The positive root of x/m - 1/(mu_class x) = e, for either sign of e. Source: eqs. (55) and (58).
    """
    mu, m = eigenvalues(sizes, kernel), sizes.per_class
    root = float(np.hypot(e, 2 / np.sqrt(m * mu.mu_class)))
    # For e < 0 the textbook form cancels.
    return m * (e + root) / 2 if e >= 0 else 2 / (mu.mu_class * (root - e))


def zero_invariant(sizes: Sizes, kernel: BlockKernel, b: Biases) -> Limit:
    """E = 0 and any biases b of the limit: X = (A Mc A^T)^{1/2}, G = Mc^{-1} # (A^T A), S = 0.

    The biases themselves are found by the dynamics, not by E (`bounds.bias_bounds` limits them).

    Source: eq. (60) for X; the closed form of G is not in the paper (theory 5.2).

    >>> sizes, kernel = Sizes(C=3, m=4, n=5), BlockKernel(1.0, 0.5, 0.1)
    >>> bool(zero_invariant(sizes, kernel, np.full(3, 1 / 3)).NC3 < 1e-7)
    True
    """
    eigenvalues(sizes, kernel)
    b = _biases(b, sizes.C)
    root, inverse_root = _kernel_roots(sizes, kernel)
    return _balanced(root, inverse_root, b, "E = 0, the loss tends to 0, and the biases end at the given b")


def means_from_weights(sizes: Sizes, kernel: BlockKernel, W: Weights, b: Biases) -> ClassMeans:
    """H1 = W^T O Mc^{-1/2} of a zero-loss point with E = 0, O the orthogonal polar factor of A Mc^{1/2}.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        W: weights of the limit, with rank C.
        b: biases of the limit.

    Source: not in the paper (theory 5.2).
    """
    eigenvalues(sizes, kernel)
    root, inverse_root = _kernel_roots(sizes, kernel)
    U, _, Vt = np.linalg.svd(_zero_loss_outputs(_biases(b, sizes.C)) @ root)
    result: Floats = W.T @ (U @ Vt) @ inverse_root
    return result


def gamma(sizes: Sizes, kernel: BlockKernel, beta: float) -> float:
    """Coefficient of X = x* (I - gamma 11^T) for b = beta 1: (1 - |1 - beta C| sqrt(mu_class/mu_global))/C.

    Source: eq. (68).
    """
    mu, C = eigenvalues(sizes, kernel), sizes.C
    return float(1 - abs(1 - beta * C) * np.sqrt(mu.mu_class / mu.mu_global)) / C


def theta(sizes: Sizes, kernel: BlockKernel, beta: float) -> float:
    """Coefficient of G = (I - theta 11^T)/x* for b = beta 1: (1 - |1 - beta C| sqrt(mu_global/mu_class))/C.

    Negative values occur. Source: eq. (68), whose printed root is wrong.
    """
    mu, C = eigenvalues(sizes, kernel), sizes.C
    return float(1 - abs(1 - beta * C) * np.sqrt(mu.mu_global / mu.mu_class)) / C


def equal_bias(sizes: Sizes, kernel: BlockKernel, beta: float) -> Limit:
    """E = 0 and b = beta 1: X = x* (I - gamma 11^T), G = (I - theta 11^T)/x*.

    NC1, NC2 and NC4 hold; W P is exactly x* M^T, so NC3 fails only because W is not centred:
    NC3^2 = 2 - 2 sqrt((C-1)/(C - gamma C)).

    Source: eqs. (61)-(68), corrected (theory 5.3).
    """
    C, x, mu = sizes.C, x_star(sizes, kernel), eigenvalues(sizes, kernel)
    P = centring(C)
    J, ratio, gap = np.eye(C) - P, float(np.sqrt(mu.mu_class / mu.mu_global)), abs(1 - beta * C)
    return complete(
        X=x * (P + gap * ratio * J),
        G=(P + gap / ratio * J) / x,
        b=np.full(C, float(beta)),
        excess=gap * ratio / (C - 1),
        hypotheses="E = 0, the loss tends to 0, and all biases end at the given value beta",
    )


def collapsed(sizes: Sizes, kernel: BlockKernel) -> Limit:
    """E = 0, zero global mean and b = 1/C: X = x* P, G = P/x*, H1 = W^T/x*; NC1-NC4 all hold.

    Source: Theorem 5.2, eq. (58).
    """
    x, P = x_star(sizes, kernel), centring(sizes.C)
    return complete(
        X=x * P,
        G=P / x,
        b=np.full(sizes.C, 1 / sizes.C),
        excess=0.0,
        hypotheses="E = 0, zero global mean and b = 1/C at the start, and the loss tends to 0",
    )


def projector_invariant(sizes: Sizes, kernel: BlockKernel, e: float, d: int) -> Limit:
    """E = e Pi with Pi the projector on a d-dimensional space that contains row(W); g = 0, b = 1/C.

    d = C-1: X = x_e P, G = P/x_e and S = 0 for either sign of e, full collapse (W^T 1 = 0 at the end). d = C and e > 0:
    X = x_e P + m e J, so NC3 fails. d = C and e < 0: X = x_e P but tr S -> mu_single |e|, so NC1 fails.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        e: the eigenvalue of E.
        d: its multiplicity, C-1 or C.

    Raises:
        InputError: d is neither, or e < 0 with d = C and one sample per class, which no such state has.

    Source: eqs. (55)-(58) for d = C-1; the rest is not in the paper (theory 5.5).
    """
    C, m, mu = sizes.C, sizes.per_class, eigenvalues(sizes, kernel)
    if d not in (C - 1, C):
        raise InputError("d", d, f"must be C - 1 = {C - 1} or C = {C}", "count the eigenvalues of E")
    extra = e if d == C else 0.0
    if extra < 0 and m == 1:
        raise InputError(
            "e", e, "cannot be negative with d = C and m = 1: no feature is left to carry it", "give e >= 0"
        )
    x, P = lambda_balanced_x(sizes, kernel, e), centring(C)
    # m e J is m e/C in every entry.
    return complete(
        X=x * P + m * max(extra, 0.0) / C,
        G=P / x,
        b=np.full(C, 1 / C),
        excess=m * max(extra, 0.0) / (x * (C - 1)),
        trace_S=mu.mu_single * max(-extra, 0.0),
        hypotheses=(
            f"E = e times a projector of rank {d} on a space that contains row(W)"
            + ", zero global mean and b = 1/C at the start, and the loss tends to 0"
        ),
    )


def class_gram(sizes: Sizes, kernel: Kernel) -> ClassMatrix:
    """Mc = Y K^{-1} Y^T of any constant kernel that acts on samples; m Kc^{-1} for scalar blocks.

    Args:
        sizes: sizes of the problem.
        kernel: a constant kernel that acts on samples, ordered by class.

    Raises:
        InputError: the kernel acts on features or moves, or is singular on these sizes.
    """
    if not kernel.on_samples:
        raise InputError(
            "kernel", kernel.rung, "is no constant kernel on samples", "use one of block, class-block, sample"
        )
    kernel.check(sizes)
    Y = one_hot(sizes.labels, sizes.C)
    Mc = kernel.solve(Y, sizes) @ Y.T
    return (Mc + Mc.T) / 2


def general_kernel(sizes: Sizes, kernel: Kernel, b: Biases) -> Limit:
    """E_K = W^T W - H K^{-1} H^T = 0 for any constant kernel on samples: `zero_invariant` with its Mc.

    NC1 needs no block structure; NC2 and NC3 hold or fail with P (Y K^{-1} Y^T) P.

    Args:
        sizes: sizes of the problem, imbalanced or not.
        kernel: a constant kernel that acts on samples, ordered by class.
        b: biases of the limit, (C,).

    Source: not in the paper (theory 5.6).
    """
    b = _biases(b, sizes.C)
    # Without blocks Mc has no eigenvalues in closed form; the rest is as with them.
    values, vectors = np.linalg.eigh(class_gram(sizes, kernel))
    root = (vectors * np.sqrt(values)) @ vectors.T
    inverse_root = (vectors / np.sqrt(values)) @ vectors.T
    return _balanced(
        root, inverse_root, b, "E_K = W^T W - H K^-1 H^T = 0, the loss tends to 0, and the biases end at b"
    )


def deviation_bound(sizes: Sizes, E: FeatureMatrix) -> float:
    """(m/2) |E|_F: how far X may be from (A Mc A^T)^{1/2}, to first order in a small E, if NC1 holds.

    X^2 = A Mc A^T + m W E W^T at zero loss; in the eigenbasis of X the first order change is
    m sqrt(x_i x_j)/(x_i + x_j) times an entry of E, at most m/2 times it. Source: not in the paper (theory 5.5).
    """
    return sizes.per_class / 2 * float(np.linalg.norm(E))


def _kernel_roots(sizes: Sizes, kernel: BlockKernel) -> tuple[ClassMatrix, ClassMatrix]:
    """Mc^{1/2} and its inverse, from the two eigenvalues of Mc."""
    # By projectors: exact where an eigenvalue decomposition would mix P and J by rounding.
    mu, m, P = kernel.eigenvalues(sizes), sizes.per_class, centring(sizes.C)
    J = np.eye(sizes.C) - P
    inverse = (np.sqrt(mu.mu_class) * P + np.sqrt(mu.mu_global) * J) / np.sqrt(m)
    return np.sqrt(m) * (P / np.sqrt(mu.mu_class) + J / np.sqrt(mu.mu_global)), inverse


def _biases(b: Biases, C: int) -> Biases:
    b = checks.array("b", b, 1)
    checks.shape("b", b.shape, (C,), "one bias per class")
    return b


def _zero_loss_outputs(b: Biases) -> ClassMatrix:
    """A = I - b 1^T, the value of W H1 at zero loss."""
    return np.eye(len(b)) - b[:, None]


def _balanced(root: ClassMatrix, inverse_root: ClassMatrix, b: Biases, hypotheses: str) -> Limit:
    """X and G from one singular value decomposition of A Mc^{1/2}, whose square roots lose no digits."""
    U, s, Vt = np.linalg.svd(_zero_loss_outputs(b) @ root)
    return complete((U * s) @ U.T, inverse_root @ (Vt.T * s) @ Vt @ inverse_root, b, hypotheses)
