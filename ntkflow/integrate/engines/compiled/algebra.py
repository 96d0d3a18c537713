"""What `lockstep.slots`, `lockstep.newton` and `lockstep.projection` work out, as functions of jax with the slots in front.

Matrices of a stack are multiplied one by one here too, so that no slot sees what lies in the others.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from ntkflow._types import Array
from ntkflow.integrate.engines.lockstep.slots import Shape
from ntkflow.integrate.engines.structured.projection import TINY, WEAK


class Kernels(NamedTuple):
    """How kernels move, as in `structured.coordinates.Moving`."""

    start: Array
    span: Array
    base: Array
    change: Array
    first: Array
    slope: Array


class System(NamedTuple):
    """The constants of the systems in the slots.

    Attributes:
        d, T, decay: as in `structured.coordinates.Coordinates`.
        conserves: whether E stays put.
        kernels: how they move, or None.
    """

    d: Array
    T: Array
    decay: Array
    conserves: Array
    kernels: Kernels | None


class Matrices(NamedTuple):
    """The matrices sigma I - J, eliminated as in `lockstep.newton`."""

    V: Array
    Wt: Array
    Pt: Array
    reciprocal: Array
    B: Array
    d: Array
    inverses: Array
    sigma: Array
    sigma_G: Array


def transposed(A: Array) -> Array:
    """Every matrix of a stack transposed."""
    return jnp.swapaxes(A, -1, -2)


def blocks(shape: Shape, z: Array) -> tuple[Array, Array]:
    """B, (S, n+1, q), and A, (S, C, n+1), of flat vectors."""
    n, S = shape.n, len(z)
    return z[:, : shape.split].reshape(S, n + 1, shape.q), z[:, shape.split :].reshape(S, shape.C, n + 1)


def flat(dG: Array, dA: Array) -> Array:
    """Flat vectors of changes of G and A; the row e of B stays."""
    S = len(dG)
    return jnp.concatenate([jnp.pad(dG, ((0, 0), (0, 1), (0, 0))).reshape(S, -1), dA.reshape(S, -1)], axis=1)


def rates(shape: Shape, system: System, t: Array) -> tuple[Array, Array | None]:
    """Vectors d at times t, and what a moving kernel has off the diagonal."""
    kernels = system.kernels
    if kernels is None:
        return system.d, None
    share = ((t - kernels.start) / kernels.span)[:, None]
    kernel = kernels.base + share[:, :, None] * kernels.change
    diagonal = jnp.diagonal(kernel, axis1=1, axis2=2)
    rest = kernel * (1 - jnp.eye(shape.groups))
    return jnp.concatenate([diagonal, kernels.first + share * kernels.slope], axis=1), rest


def field(shape: Shape, system: System, t: Array, z: Array) -> Array:
    """dz/dt, as `Coordinates.field`."""
    n, k = shape.n, shape.groups
    B, A = blocks(shape, z)
    P = system.T - A @ B
    dA = P @ transposed(B)
    d, rest = rates(shape, system, t)
    scaled = P * d[:, None]
    if rest is not None:
        scaled = scaled.at[..., :k].add(P[..., :k] @ rest)
    lw, lh, lb = (system.decay[:, j, None, None] for j in range(3))
    dG = transposed(A[..., :n]) @ scaled - lh * B[:, :n]
    pull = jnp.where(jnp.arange(n + 1) < n, lw, lb)
    return flat(dG, dA - pull * A)


def inverse(M: Array) -> Array:
    """Inverses of positive definite matrices, by Gauss and Jordan without pivots.

    Libraries take the small matrices of a stack one call each, or one kernel each; here a column of all is one operation.
    """
    size = M.shape[-1]

    def eliminate(k: Array, M: Array) -> Array:
        here = jnp.arange(size) == k
        row, column = (lax.dynamic_index_in_dim(M, k, axis, keepdims=False) for axis in (-2, -1))
        pivot = 1 / lax.dynamic_index_in_dim(row, k, -1)
        row = row * pivot
        # Chosen and not added up: what cancels would take digits with it.
        rest = jnp.where(here, -(column * pivot)[..., :, None], M - column[..., :, None] * row[..., None, :])
        return jnp.where(here[:, None], jnp.where(here, pivot, row)[..., None, :], rest)

    return lax.fori_loop(0, size, eliminate, M)


def matrices(shape: Shape, system: System, t: Array, z: Array, sigma: Array) -> Matrices:
    """Those at times t and states z."""
    n = shape.n
    B, A = blocks(shape, z)
    d, _ = rates(shape, system, t)
    lw, lh, lb = system.decay.T
    W, sigma_G = A[..., :n], (sigma + lh)[:, None, None]
    gram = W @ transposed(W)
    # Libraries of eigenvalues may not return from what is not finite.
    w, V = jnp.linalg.eigh(jnp.where(jnp.isfinite(gram), gram, 0.0), symmetrize_input=False)
    reciprocal = 1 / (sigma_G + jnp.maximum(w, 0.0)[:, :, None] * d[:, None])
    rows = (B[:, None] * (sigma_G * reciprocal)[:, :, None, :]) @ transposed(B)[:, None]
    last = jnp.arange(n + 1) == n
    shift = jnp.where(last, (sigma + lb)[:, None], (sigma + lw)[:, None])
    inverses = inverse(rows + shift[:, None, :, None] * jnp.eye(n + 1))
    Vt = transposed(V)
    return Matrices(V, Vt @ W, Vt @ (A @ B - system.T), reciprocal, B, d, inverses, sigma, sigma + lh)


def solve(shape: Shape, M: Matrices, g: Array) -> Array:
    """(sigma I - J)^-1 g, nearly."""
    n = shape.n
    gB, gA = blocks(shape, g)
    gG, sigma_G = gB[:, :n], M.sigma_G[:, None, None]
    d = M.d[:, None]
    Q, Pd = d * M.reciprocal, M.Pt * d
    Wg = M.Wt @ gG
    rhs = transposed(M.V) @ gA - (M.reciprocal * Wg) @ transposed(M.B)
    # What dG would be if A stood still.
    still = (gG - transposed(M.Wt) @ (Q * Wg)) / sigma_G
    rhs = rhs.at[..., :n].add(-(M.Pt @ transposed(still)))
    X = (rhs[:, :, None] @ M.inverses)[:, :, 0]
    XW = transposed(X[..., :n])
    Wg = (Wg - (M.Wt @ XW) @ Pd + sigma_G * (X @ M.B)) * Q
    dG = (gG - XW @ Pd - transposed(M.Wt) @ Wg) / sigma_G
    return flat(dG, M.V @ X)


def terms(shape: Shape, system: System, z: Array) -> tuple[Array, Array]:
    """The two terms of m E, W^T W and G diag(d)^-1 G^T."""
    B, A = blocks(shape, z)
    G, W = B[:, : shape.n], A[..., : shape.n]
    return transposed(W) @ W, (G / system.d[:, None]) @ transposed(G)


def restoring(shape: Shape, system: System, target: Array, z: Array) -> Array:
    """What moves states z to m E = target, as `structured.projection`; nothing where it can't be told."""
    n = shape.n
    weights, features = terms(shape, system, z)
    total = weights + features
    good = jnp.all(jnp.isfinite(total), axis=(1, 2))[:, None]
    e, V = jnp.linalg.eigh(jnp.where(good[:, None], total, 0.0), symmetrize_input=False)
    sums = jnp.maximum(e[:, :, None] + e[:, None, :], 0.0)
    Vt = transposed(V)
    gap = Vt @ (target - weights + features) @ V
    shift = V @ (gap * sums / (sums**2 + (WEAK * e[:, -1, None, None]) ** 2 + TINY)) @ Vt
    B, A = blocks(shape, z)
    # The bias is the last column of A, and does not move.
    dA = jnp.pad(A[..., :n] @ shift, ((0, 0), (0, 0), (0, 1)))
    return jnp.where(good, flat(-(shift @ B[:, :n]), dA), 0.0)
