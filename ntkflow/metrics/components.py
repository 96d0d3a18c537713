"""Parts of the loss and moments of a thin state, or of every one of a stack, written once for numpy and jax.

The loss by component of the residual: global mean, class means, individual samples (section 4.1).
"""

from types import ModuleType

import numpy as np

from ntkflow._types import Array, PerClass
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import ThinState


def loss_components(thin: ThinState, masses: PerClass) -> dict[str, float]:
    """Loss = loss_global + loss_class + loss_individual, each 1/2 of a squared norm summed over samples.

    The three parts of R are orthogonal: R_global, R_class - R_global and R - R_class (eqs. 16-18).

    Args:
        thin: thin state; W H1 is that of the MSE model.
        masses: samples per class, (C,).
    """
    found = loss_of(np, thin.H1, thin.L, thin.W, thin.b, masses)
    return {name: float(value) for name, value in found.items()}


def moments(thin: ThinState, sizes: Sizes) -> dict[str, float]:
    """|H1 H1^T|, |H2 H2^T| and |g g^T|, Frobenius, of the features of eq. (24): H H^T = m (H1 H1^T + H2 H2^T)."""
    found = moments_of(np, thin.H1, thin.L, sizes.N / sizes.C)
    return {name: float(value) for name, value in found.items()}


def norms(thin: ThinState, sizes: Sizes) -> dict[str, float]:
    """tr S, |W| and |b - 1/C|."""
    found = norms_of(np, thin.L, thin.W, thin.b, sizes.N / sizes.C)
    return {name: float(value) for name, value in found.items()}


def loss_of(xp: ModuleType, H1: Array, L: Array, W: Array, b: Array, masses: Array) -> dict[str, Array]:
    """`loss_components` by the functions of `xp`, numpy or jax.numpy."""
    # Sums over class means weighed by their samples: nothing of size N is formed. W H2 is all that varies within classes.
    R1 = W @ H1 + b[..., None] - np.eye(len(masses))
    N = masses.sum()
    mean = R1 @ masses / N
    parts = {
        "loss_global": 0.5 * (N * xp.sum(mean**2, axis=-1)),
        "loss_class": 0.5 * xp.sum(masses * (R1 - mean[..., None]) ** 2, axis=(-2, -1)),
        "loss_individual": 0.5 * xp.sum((W @ L) ** 2, axis=(-2, -1)),
    }
    return {"loss": sum(parts.values()), **parts}


def moments_of(xp: ModuleType, H1: Array, L: Array, m: Array) -> dict[str, Array]:
    """`moments` by the functions of `xp`; m samples a class on the mean."""
    return {
        "H1H1_norm": xp.linalg.norm(xp.swapaxes(H1, -1, -2) @ H1, axis=(-2, -1)),
        "H2H2_norm": xp.linalg.norm(xp.swapaxes(L, -1, -2) @ L, axis=(-2, -1)) / m,
        "gg_norm": mean_square(xp, H1),
    }


def mean_square(xp: ModuleType, H1: Array) -> Array:
    """|g g^T| = |g|^2 alone."""
    return xp.sum(H1.mean(axis=-1) ** 2, axis=-1)


def norms_of(xp: ModuleType, L: Array, W: Array, b: Array, m: Array) -> dict[str, Array]:
    """`norms` by the functions of `xp`."""
    return {
        "tr_S": xp.sum(L**2, axis=(-2, -1)) / m,
        "W_norm": xp.linalg.norm(W, axis=(-2, -1)),
        "b_error": xp.linalg.norm(b - 1 / b.shape[-1], axis=-1),
    }
