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


def _terms(H1: Array, L: Array, W: Array, s: Setting) -> tuple[Array, Array]:
    m = jnp.mean(s.masses)
    # Kc^-1 M is symmetric.
    means = H1 @ jnp.linalg.solve(s.kernel, jnp.diag(s.masses)) @ H1.T
    return W.T @ W / m, (means + L @ L.T / s.mu_single) / m


# Keys as in `ntkflow.series.DESCRIPTIONS`.
METRICS: dict[str, Metric] = {
    "loss": loss,
    "NC1": nc1,
    "NC1_frobenius": nc1_frobenius,
    "NC2": nc2,
    "NC3": nc3,
    "tr_S": tr_S,
    "E_norm": e_norm,
    "E_alignment": e_alignment,
    "W_norm": w_norm,
    "b_error": b_error,
}


def metric(name: str) -> Metric:
    """The metric of this name.

    Raises:
        InputError: there is none; NC4 and medians of pairs have no derivative worth having.
    """
    if name not in METRICS:
        raise InputError("metric", repr(name), f"must be one of {', '.join(METRICS)}", "choose one of these")
    return METRICS[name]
