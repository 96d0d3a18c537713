"""The differentiable metrics of `ntkflow.series`, written for jax; each is a number of one thin state."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from ntkflow.errors import InputError

Array = Any


@dataclass(frozen=True)
class Setting:
    """What metrics need besides the state (H1, L, W, b).

    Attributes:
        masses: samples of each class, (C,).
        labels: class of each column of L, which here are the samples' deviations, (N,).
        kernel: Kc, (C, C).
        mu_single: the within-class eigenvalue.
    """

    masses: Array
    labels: Any
    kernel: Array
    mu_single: Array


Metric = Callable[[Array, Array, Array, Array, Setting], Array]


def loss(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """1/2 |R|_F^2, sum over samples and outputs. Source: eq. (4)."""
    R1 = W @ H1 + b[:, None] - jnp.eye(b.shape[0], dtype=b.dtype)
    return 0.5 * (jnp.sum(s.masses * R1**2) + jnp.sum((W @ L) ** 2))


def nc1(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Mean over classes and features of the standard deviation within the class."""
    del H1, W
    squares = jnp.stack([jnp.sum(L[:, s.labels == c] ** 2, axis=1) / s.masses[c] for c in range(b.shape[0])])
    return jnp.mean(jnp.sqrt(squares))


def nc1_frobenius(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """sqrt(tr S / C)."""
    del H1, W, b
    return jnp.sqrt(jnp.sum(L**2) / jnp.sum(s.masses))


def nc2(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Distance of M^T M / its norm from P / sqrt(C-1), M the centred class means."""
    del L, W, s
    C = b.shape[0]
    M = _centred(H1)
    gram = M.T @ M
    P = jnp.eye(C, dtype=b.dtype) - 1 / C
    return jnp.linalg.norm(gram / jnp.linalg.norm(gram) - P / jnp.sqrt(C - 1.0))


def nc3(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Distance of M / its norm from W^T / its norm."""
    del L, b, s
    M = _centred(H1)
    return jnp.linalg.norm(M / jnp.linalg.norm(M) - W.T / jnp.linalg.norm(W))


def loss_global(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Part of the loss in the global mean of the residual."""
    del L
    mean, _ = _residuals(H1, W, b, s)
    return 0.5 * jnp.sum(s.masses) * jnp.sum(mean**2)


def loss_class(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Part of the loss in the centred class means of the residual."""
    del L
    mean, R1 = _residuals(H1, W, b, s)
    return 0.5 * jnp.sum(s.masses * (R1 - mean[:, None]) ** 2)


def loss_individual(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Part of the loss in the residual of individual samples."""
    del H1, b, s
    return 0.5 * jnp.sum((W @ L) ** 2)


def nc1_papyan(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """tr(S_W S_B^+) / C."""
    del W, b
    M = _centred(H1)
    inverse = jnp.linalg.pinv(M.T @ M, rtol=1e-12, hermitian=True)
    return jnp.sum((inverse @ (M.T @ L)) ** 2) / jnp.sum(s.masses)


def nc1_tirer(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """tr S_W / tr S_B."""
    del W
    return jnp.sum(L**2) / jnp.sum(s.masses) / (jnp.sum(_centred(H1) ** 2) / b.shape[0])


def nc1_galanti(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Class-distance normalised variance, mean over pairs."""
    del W
    C = b.shape[0]
    spread = jnp.stack([jnp.sum(L[:, s.labels == c] ** 2) / s.masses[c] for c in range(C)])
    first, second = jnp.triu_indices(C, 1)
    distances = jnp.sum((H1[:, first] - H1[:, second]) ** 2, axis=0)
    return jnp.mean((spread[first] + spread[second]) / (2 * distances))


def nc2_unit(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Distance of M^T M with unit columns from C/(C-1) P."""
    del L, W, s
    C = b.shape[0]
    return jnp.linalg.norm(_cosines(H1) - (jnp.eye(C, dtype=b.dtype) - 1 / C) * (C / (C - 1)))


def nc2_equinorm(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Standard deviation over mean of the norms of the columns of M."""
    del L, W, b, s
    norms = jnp.linalg.norm(_centred(H1), axis=0)
    return jnp.std(norms) / jnp.mean(norms)


def nc2_equiangular(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Mean over pairs of |cos + 1/(C-1)|."""
    del L, W, s
    C = b.shape[0]
    return jnp.mean(jnp.abs(_cosines(H1)[jnp.triu_indices(C, 1)] + 1 / (C - 1)))


def nc3_unit(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """As NC3, M with unit columns."""
    del L, b, s
    M = _centred(H1)
    M = M / jnp.linalg.norm(M, axis=0)
    return jnp.linalg.norm(M / jnp.linalg.norm(M) - W.T / jnp.linalg.norm(W))


def e_weights(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """|W^T W / m|_F, the first term of E."""
    del b
    return jnp.linalg.norm(_terms(H1, L, W, s)[0])


def e_means(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Norm of the class means' term of E."""
    del b
    return jnp.linalg.norm(_terms(H1, 0 * L, W, s)[1])


def e_within(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """|H2 H2^T / mu_single|_F, the last term of E."""
    del H1, W, b
    return jnp.linalg.norm(L.T @ L) / (s.mu_single * jnp.mean(s.masses))


def e_features(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """|H K^-1 H^T / m|_F, the sum of the terms of class means and within classes."""
    del b
    return jnp.linalg.norm(_terms(H1, L, W, s)[1])


def h1h1_norm(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """|H1 H1^T|_F."""
    del L, W, b, s
    return jnp.linalg.norm(H1.T @ H1)


def h2h2_norm(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """|H2 H2^T|_F."""
    del H1, W, b
    return jnp.linalg.norm(L.T @ L) / jnp.mean(s.masses)


def gg_norm(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """|g g^T|_F, g the mean of the class means."""
    del L, W, b, s
    return jnp.sum(H1.mean(axis=1) ** 2)


def tr_S(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Trace of S = H2 H2^T."""
    del H1, W, b
    return jnp.sum(L**2) / jnp.mean(s.masses)


def e_norm(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """|E|_F. Source: eq. (26)."""
    del b
    weights, features = _terms(H1, L, W, s)
    return jnp.linalg.norm(weights - features)


def e_alignment(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """Cosine between W^T W and H K^-1 H^T."""
    del b
    weights, features = _terms(H1, L, W, s)
    return jnp.sum(weights * features) / (jnp.linalg.norm(weights) * jnp.linalg.norm(features))


def w_norm(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """|W|_F."""
    del H1, L, b, s
    return jnp.linalg.norm(W)


def b_error(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """|b - 1/C|."""
    del H1, L, W, s
    return jnp.linalg.norm(b - 1 / b.shape[0])


def _centred(H1: Array) -> Array:
    return H1 - H1.mean(axis=1, keepdims=True)


def _cosines(H1: Array) -> Array:
    M = _centred(H1)
    norms = jnp.linalg.norm(M, axis=0)
    return M.T @ M / jnp.outer(norms, norms)


def _residuals(H1: Array, W: Array, b: Array, s: Setting) -> tuple[Array, Array]:
    """Mean over samples and class means of the residual."""
    R1 = W @ H1 + b[:, None] - jnp.eye(b.shape[0], dtype=b.dtype)
    return R1 @ s.masses / jnp.sum(s.masses), R1


def _terms(H1: Array, L: Array, W: Array, s: Setting) -> tuple[Array, Array]:
    m = jnp.mean(s.masses)
    # Kc^-1 M is symmetric.
    means = H1 @ jnp.linalg.solve(s.kernel, jnp.diag(s.masses)) @ H1.T
    return W.T @ W / m, (means + L @ L.T / s.mu_single) / m


# Keys as in `ntkflow.series.DESCRIPTIONS`.
METRICS: dict[str, Metric] = {
    "loss": loss,
    "loss_global": loss_global,
    "loss_class": loss_class,
    "loss_individual": loss_individual,
    "NC1": nc1,
    "NC1_frobenius": nc1_frobenius,
    "NC1_papyan": nc1_papyan,
    "NC1_tirer": nc1_tirer,
    "NC1_galanti": nc1_galanti,
    "NC2": nc2,
    "NC2_unit": nc2_unit,
    "NC2_equinorm": nc2_equinorm,
    "NC2_equiangular": nc2_equiangular,
    "NC3": nc3,
    "NC3_unit": nc3_unit,
    "tr_S": tr_S,
    "H1H1_norm": h1h1_norm,
    "H2H2_norm": h2h2_norm,
    "gg_norm": gg_norm,
    "E_norm": e_norm,
    "E_alignment": e_alignment,
    "E_weights": e_weights,
    "E_means": e_means,
    "E_within": e_within,
    "E_features": e_features,
    "W_norm": w_norm,
    "b_error": b_error,
}


def metric(name: str) -> Metric:
    """The metric of this name.

    Raises:
        InputError: there is none; NC4 is piecewise constant and the drift of E is zero.
    """
    if name not in METRICS:
        raise InputError("metric", repr(name), f"must be one of {', '.join(METRICS)}", "choose one of these")
    return METRICS[name]
