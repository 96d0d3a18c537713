"""The differentiable metrics of `ntkflow.integrate.series`, each a number of one thin state, by the functions of jax."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp

from ntkflow import checks
from ntkflow._types import Array, Labels
from ntkflow.metrics.components import loss_of, moments_of, norms_of
from ntkflow.metrics.invariant import terms_of
from ntkflow.metrics.neural_collapse import NC1_NAMES, NC2_NAMES, NC3_NAMES, nc1_of, nc2_of, nc3_of


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
    labels: Labels
    kernel: Array
    mu_single: Array


Metric = Callable[[Array, Array, Array, Array, Setting], Array]
Several = Callable[[Array, Array, Array, Array, Setting], dict[str, Array]]


def _loss(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> dict[str, Array]:
    return loss_of(jnp, H1, L, W, b, s.masses)


def _nc1(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> dict[str, Array]:
    del W
    classes = range(b.shape[0])
    # A mask a class and no sum by index: how many columns each has is known before anything is traced.
    variances = jnp.stack([jnp.sum(L[:, s.labels == c] ** 2, axis=1) / s.masses[c] for c in classes])
    return nc1_of(jnp, _centred(H1), L, variances, jnp.sum(s.masses))


def _nc2(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> dict[str, Array]:
    del L, W, b, s
    M = _centred(H1)
    return nc2_of(jnp, M.T @ M)


def _nc3(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> dict[str, Array]:
    del L, b, s
    return nc3_of(jnp, _centred(H1), W)


def _moments(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> dict[str, Array]:
    m = jnp.mean(s.masses)
    return {**moments_of(jnp, H1, L, m), **norms_of(jnp, L, W, b, m)}


def _invariant(H1: Array, L: Array, W: Array, b: Array, s: Setting) -> dict[str, Array]:
    del b
    inverse = jnp.linalg.solve(s.kernel, jnp.diag(s.masses))
    found = terms_of(jnp, H1, L, W, inverse, s.mu_single, jnp.mean(s.masses))
    weights, features = found["weights"], found["means"] + found["within"]
    sizes = jnp.linalg.norm(weights), jnp.linalg.norm(features)
    return {
        "E_norm": jnp.linalg.norm(weights - features),
        "E_alignment": jnp.sum(weights * features) / (sizes[0] * sizes[1]),
        "E_weights": sizes[0],
        "E_means": jnp.linalg.norm(found["means"]),
        "E_within": jnp.linalg.norm(found["within"]),
        "E_features": sizes[1],
    }


def _centred(H1: Array) -> Array:
    return H1 - H1.mean(axis=1, keepdims=True)


def _one(several: Several, name: str, H1: Array, L: Array, W: Array, b: Array, s: Setting) -> Array:
    """One metric of those that are worked out together; what is not used is never compiled."""
    return several(H1, L, W, b, s)[name]


_TOGETHER: dict[Several, tuple[str, ...]] = {
    _loss: ("loss", "loss_global", "loss_class", "loss_individual"),
    _nc1: NC1_NAMES,
    _nc2: NC2_NAMES,
    _nc3: NC3_NAMES,
    _moments: ("tr_S", "H1H1_norm", "H2H2_norm", "gg_norm", "W_norm", "b_error"),
    _invariant: ("E_norm", "E_alignment", "E_weights", "E_means", "E_within", "E_features"),
}
# Keys as in `ntkflow.integrate.series.DESCRIPTIONS`.
METRICS: dict[str, Metric] = {
    name: partial(_one, several, name) for several, names in _TOGETHER.items() for name in names
}


def metric(name: str) -> Metric:
    """The metric of this name.

    Raises:
        InputError: there is none; NC4 is piecewise constant and the drift of E is zero.
    """
    checks.choice("metric", name, METRICS)
    return METRICS[name]
