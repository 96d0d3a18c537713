"""Initial states: random ones, and those with E = 0 that the theorems speak of. All seeded, all float64.

Balanced states are built as H K^{-1/2} = W^T Z with Z Z^T = I, which is E = 0 exactly (theory 4.4).
"""

from collections.abc import Callable

import numpy as np

from ntkflow import checks
from ntkflow._lazy import lister
from ntkflow._types import Features, Floats
from ntkflow.errors import InputError
from ntkflow.problem.kernels.base import Kernel
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import Frame

__all__ = [
    "FREE",
    "NAMES",
    "NEEDS_KERNEL",
    "balanced",
    "balanced_centred",
    "balanced_contrast",
    "equal_bias",
    "gaussian",
    "make",
    "relu",
]
__dir__ = lister(__all__)


def gaussian(sizes: Sizes, rng: np.random.Generator, scale: float = 1.0) -> State:
    """H ~ scale N(0, 1), W ~ scale N(0, 1/n), b = 0. For n > 2C and N >= n such a state never reaches NC1."""
    H = scale * rng.standard_normal((sizes.n, sizes.N))
    return State(H, _weights(sizes, rng, scale), np.zeros(sizes.C))


def relu(sizes: Sizes, rng: np.random.Generator, scale: float = 1.0) -> State:
    """Non-negative features with a large global mean, as after ReLU and pooling: H ~ scale |N(0, 1)| / 2."""
    H = 0.5 * scale * np.abs(rng.standard_normal((sizes.n, sizes.N)))
    return State(H, _weights(sizes, rng, scale), np.zeros(sizes.C))


def balanced(sizes: Sizes, kernel: BlockKernel, rng: np.random.Generator, scale: float = 1.0) -> State:
    """E = 0, otherwise generic: a global mean, W^T 1 != 0, b = 0."""
    W = _weights(sizes, rng, scale)
    return State(
        _balanced_features(W, _orthonormal_rows(sizes.C, sizes.N, rng), kernel, sizes), W, np.zeros(sizes.C)
    )


def balanced_centred(
    sizes: Sizes, kernel: BlockKernel, rng: np.random.Generator, scale: float = 1.0
) -> State:
    """E = 0, global mean zero, b = 1/C: the hypotheses of Theorem 5.2. W^T 1 != 0, so NC1 is only t^{-1/2}."""
    W = _weights(sizes, rng, scale)
    Z = _orthonormal_rows(sizes.C, sizes.N, rng, centred=True)
    return State(_balanced_features(W, Z, kernel, sizes), W, np.full(sizes.C, 1 / sizes.C))


def balanced_contrast(
    sizes: Sizes, kernel: BlockKernel, rng: np.random.Generator, scale: float = 1.0
) -> State:
    """E = 0, global mean zero, b = 1/C and W^T 1 = 0: neural collapse is exponential."""
    contrast = np.linalg.qr(np.eye(sizes.C)[:, 1:] - 1 / sizes.C)[0]
    # C - 1 rows in the frame of the contrasts: W^T 1 = 0 exactly, and not by subtracting a mean.
    reduced = _weights(sizes, rng, scale)[1:]
    Z = _orthonormal_rows(sizes.C - 1, sizes.N, rng, centred=True)
    H = _balanced_features(reduced, Z, kernel, sizes)
    return State(H, contrast @ reduced, np.full(sizes.C, 1 / sizes.C))


def equal_bias(
    sizes: Sizes,
    kernel: BlockKernel,
    rng: np.random.Generator,
    scale: float = 1.0,
    beta: float = 0.0,
    share: float = 0.5,
) -> State:
    """E = 0 and permutation symmetric, so that b = beta(t) 1 for all time (theory 4.5).

    Args:
        sizes: sizes with n >= C and m >= 2, so that the frame and the within-class part fit.
        kernel: scalar blocks.
        rng: source of the random frames.
        scale: norm of each row of W.
        beta: initial value of every bias.
        share: fraction of H K^{-1} H^T that lies in the class means; the rest is within classes.
    """
    C, m = sizes.C, sizes.per_class
    if sizes.n < C:
        raise InputError(
            "n", sizes.n, f"must be at least C = {C} for an equal-bias state", "use more features"
        )
    if m < 2:
        raise InputError("m", m, "must be at least 2 for an equal-bias state", "use more samples per class")
    if not 0 <= share <= 1:
        raise InputError("share", share, "must lie in 0 .. 1", "give a fraction")
    kernel.check(sizes)
    mu = kernel.eigenvalues(sizes)
    V = np.linalg.qr(rng.standard_normal((sizes.n, C)))[0]
    J = np.full((C, C), 1 / C)
    P = np.eye(C) - J
    # E = 0 on P and on J: wP^2/m = hP^2/mu_class + sP/mu_single, the features' side split by `share` (theory 4.5).
    H1 = scale * np.sqrt(share / m) * V @ (np.sqrt(mu.mu_class) * P + np.sqrt(mu.mu_global) * J)
    L = scale * np.sqrt((1 - share) * mu.mu_single) * V
    # C orthonormal columns that sum to zero over every class: one direction of deviations for each of W's rows.
    Z = rng.standard_normal((C, m, C))
    Z -= Z.mean(axis=1, keepdims=True)
    Q = np.linalg.qr(Z.reshape(sizes.N, C))[0]
    frame = Frame(sizes, Q, np.eye(sizes.n), (0,) * C)
    return frame.compose(ThinState(H1, L, scale * V.T, np.full(C, float(beta))))


NEEDS_KERNEL: dict[str, Callable[..., State]] = {
    "balanced": balanced,
    "balanced-centred": balanced_centred,
    "balanced-contrast": balanced_contrast,
    "equal-bias": equal_bias,
}
FREE: dict[str, Callable[..., State]] = {"gaussian": gaussian, "relu": relu}
NAMES = (*FREE, *NEEDS_KERNEL)


def make(
    name: str,
    sizes: Sizes,
    kernel: Kernel | None = None,
    seed: int = 0,
    scale: float = 1.0,
    beta: float | None = None,
) -> State:
    """Initial state by name (one of `NAMES`) from a seed.

    Args:
        name: gaussian and relu need no kernel; the others are balanced for `kernel`.
        sizes: C, m, n.
        kernel: scalar blocks; another one will do for the free ones.
        seed: seed of the random numbers.
        scale: scale of the state.
        beta: initial bias of every class, for equal-bias only.

    Raises:
        InputError: unknown name, no scalar block kernel where one is needed, negative seed, a scale that is
            not positive, or a beta that the state would ignore.
    """
    checks.choice("init", name, NAMES)
    checks.whole("seed", seed, 0)
    checks.positive("scale", scale, "give a scale > 0")
    if beta is not None and name != "equal-bias":
        raise InputError("beta", beta, f"has no meaning for init {name}", "drop it, or use equal-bias")
    rng = np.random.default_rng(seed)
    if name in FREE:
        return FREE[name](sizes, rng, scale=scale)
    if not isinstance(kernel, BlockKernel):
        raise InputError("init", repr(name), "is balanced for scalar blocks only", "use gaussian or relu")
    options = {} if beta is None else {"beta": beta}
    return NEEDS_KERNEL[name](sizes, kernel, rng, scale=scale, **options)


def _weights(sizes: Sizes, rng: np.random.Generator, scale: float) -> Floats:
    result: Floats = scale * rng.standard_normal((sizes.C, sizes.n)) / np.sqrt(sizes.n)
    return result


def _orthonormal_rows(rows: int, N: int, rng: np.random.Generator, centred: bool = False) -> Floats:
    if rows > N - centred:
        raise InputError(
            "N",
            N,
            f"is too few samples in all for {rows} balanced directions"
            + (", whose features have zero mean" if centred else ""),
            "use more samples per class",
        )
    # Centred before they are made orthonormal: g = H 1/N is then zero whatever the kernel's root does to Z.
    Z = rng.standard_normal((N, rows))
    if centred:
        Z -= Z.mean(axis=0)
    return np.linalg.qr(Z)[0].T


def _balanced_features(W: Floats, Z: Floats, kernel: BlockKernel, sizes: Sizes) -> Features:
    """H = W^T Z K^{1/2}."""
    result: Floats = W.T @ kernel.root(Z, sizes)
    return result
