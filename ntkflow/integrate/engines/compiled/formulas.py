"""Norms, histories and the choice of order of `lockstep.slots`, `lockstep.history` and `lockstep.order`, by jax."""

import math

import jax.numpy as jnp
import numpy as np

from ntkflow._types import Array, Floats
from ntkflow.integrate.engines.lockstep import history
from ntkflow.integrate.engines.lockstep.history import DIFFERENCES
from ntkflow.integrate.engines.lockstep.slots import Shape
from ntkflow.integrate.engines.structured import bdf, formulas

# Entry (i, j) of a table of the Newton basis is the product of (l - 1 - j ratio) / l, l up to i.
_I, _J = np.arange(1.0, DIFFERENCES)[:, None], np.arange(float(DIFFERENCES))


def members(shape: Shape) -> tuple[Floats, Floats, float]:
    """Which of the blocks H1, L, W, b an entry of a flat vector is of, (F, 4); their sizes; the root of all of them."""
    n, k = shape.n, shape.groups
    block = np.full(shape.size, 4)
    B, A = shape.blocks(block)
    B[:n, :k], B[:n, k:], A[:, :n], A[:, n] = 0, 1, 2, 3
    counts = np.bincount(block, minlength=5)[:4]
    belongs = (block[:, None] == np.arange(4)).astype(float)
    return belongs, np.maximum(counts, 1).astype(float), math.sqrt(counts.sum())


def weights(shape: Shape, rtol: Array, atol: Array, z: Array) -> tuple[Array, Array]:
    """By what flat vectors are multiplied before their norm is taken, (S, F); sums of squares of the blocks, (S, 4)."""
    belongs, counts, root = members(shape)
    squares = (z * z) @ belongs
    scales = 1 / (root * (atol + rtol[:, None] * jnp.sqrt(squares / counts)))
    return scales @ belongs.T, squares


def norm(e: Array, weights: Array) -> Array:
    """Norms of differences of two states; 1 is the tolerance."""
    scaled = e * weights
    return jnp.sqrt(jnp.sum(scaled * scaled, axis=-1))


def rescaling(order: Array, ratio: Array) -> Array:
    """Matrices that take D_0 .. D_k to the grid of step ratio h."""
    on = order[:, None] >= np.arange(DIFFERENCES)
    steps = (_I - 1 - ratio[:, None, None] * _J) / _I
    table = jnp.cumprod(jnp.concatenate([jnp.ones((len(ratio), 1, DIFFERENCES)), steps], axis=1), axis=1)
    changed = jnp.swapaxes(table @ history.UNIT, 1, 2)
    return jnp.where(on[:, None, :] & on[:, :, None], changed, jnp.eye(DIFFERENCES))


def interpolating(order: Array, shift: Array) -> Array:
    """Shares of D_0 .. D_5 in the values of polynomials at t_last + shift h, a row each."""
    j = np.arange(DIFFERENCES - 1.0)
    factors = (shift[:, None] + j) / (j + 1)
    shares = jnp.cumprod(jnp.concatenate([jnp.ones((len(shift), 1)), factors], axis=1), axis=1)
    return jnp.where(order[:, None] >= np.arange(DIFFERENCES), shares, 0.0)


def choose(k: Array, error: Array, equal: Array, D: Array, d: Array, w: Array) -> tuple[Array, Array]:
    """Orders, and factors by which steps grow, were steps of order k accepted; as `lockstep.order.choose`.

    Args:
        k: orders of the steps.
        error: their errors, 1 being the tolerance.
        equal: equal steps in a row.
        D: differences from before the steps.
        d: corrections.
        w: weights of the norms.
    """
    best, growth = k, _growth(error, k)
    lower, higher = jnp.maximum(k - 1, 1), jnp.minimum(k + 1, formulas.HIGHEST_ORDER)

    def row(i: Array) -> Array:
        return jnp.take_along_axis(D, i[:, None, None], axis=1)[:, 0]

    # The new differences of orders k and k + 2.
    for other, difference, there in (
        (lower, row(k) + d, k > 1),
        (higher, d - row(jnp.minimum(k + 1, formulas.HIGHEST_ORDER)), k < formulas.HIGHEST_ORDER),
    ):
        candidate = _growth(jnp.asarray(formulas.ERROR)[other] * norm(difference, w), other)
        better = there & (candidate > growth)
        best, growth = jnp.where(better, other, best), jnp.where(better, candidate, growth)
    growth = jnp.minimum(bdf.LARGEST_GROWTH, bdf.SAFETY * growth)
    stay = (growth >= bdf.SAFETY) & (growth < bdf.WORTHWHILE_GROWTH) | (equal <= k)
    return jnp.where(stay, k, best), jnp.where(stay, 1.0, growth)


def _growth(error: Array, order: Array) -> Array:
    return jnp.maximum(error, 1e-10) ** (-1 / (order + 1.0))
