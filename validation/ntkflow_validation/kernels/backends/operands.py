"""Operands of one dense or convolutional operation as matrices: inputs (T, K), outputs (T, M), weights (K, M)."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var

from ntkflow._types import Array


def shape_of(v: Var | Literal) -> tuple[int, ...]:
    """Of an operand or a result of an operation on arrays."""
    found: tuple[int, ...] = v.aval.shape  # type: ignore[attr-defined]
    return found


def is_layer(eqn: JaxprEqn, side: int) -> bool:
    """Whether operand `side` is the weights of an operation that this module can take apart."""
    if eqn.primitive.name == "dot_general":
        return not eqn.params["dimension_numbers"][1][0]
    groups = ("feature_group_count", "batch_group_count")
    return (
        eqn.primitive.name == "conv_general_dilated" and side == 1 and all(eqn.params[g] == 1 for g in groups)
    )


def contracted(eqn: JaxprEqn, side: int) -> int:
    """K, numbers that are multiplied into each output."""
    weights = shape_of(eqn.invars[side])
    if eqn.primitive.name == "dot_general":
        return math.prod(weights[axis] for axis in eqn.params["dimension_numbers"][0][side])
    count: int = math.prod(weights) // weights[eqn.params["dimension_numbers"].rhs_spec[0]]
    return count


def inputs(eqn: JaxprEqn, x: jax.Array, side: int) -> jax.Array:
    """What the weights are multiplied by, (T, K)."""
    if eqn.primitive.name == "dot_general":
        axes = eqn.params["dimension_numbers"][0][1 - side]
        free = [axis for axis in range(x.ndim) if axis not in axes]
        K = math.prod(x.shape[axis] for axis in axes)
        return x.transpose(*free, *axes).reshape(-1, K)
    return _patches(eqn, x)


def outputs(eqn: JaxprEqn, gradient: jax.Array, side: int) -> jax.Array:
    """Gradient by the output, its positions in the order of `inputs`, (T, M)."""
    if eqn.primitive.name == "dot_general":
        M = math.prod(shape_of(eqn.invars[side])) // contracted(eqn, side)
        return gradient.reshape(-1, M) if side == 1 else gradient.reshape(M, -1).T
    gradient = gradient.transpose(_features_last(eqn.params["dimension_numbers"].out_spec))
    return gradient.reshape(-1, gradient.shape[-1])


def weights(eqn: JaxprEqn, product: Array, side: int) -> Array:
    """Matrices (q, K, M) in the layout of the weights, (q, ...)."""
    shape = shape_of(eqn.invars[side])
    if eqn.primitive.name == "dot_general":
        axes = eqn.params["dimension_numbers"][0][side]
        order = [*axes, *(axis for axis in range(len(shape)) if axis not in axes)]
    else:
        out, features, *spatial = eqn.params["dimension_numbers"].rhs_spec
        order = [*spatial, features, out]
    product = product.reshape(len(product), *(shape[axis] for axis in order))
    return product.transpose(0, *(1 + order.index(axis) for axis in range(len(shape))))


def _features_last(spec: Sequence[int]) -> tuple[int, ...]:
    return (spec[0], *spec[2:], spec[1])


def _patches(eqn: JaxprEqn, x: jax.Array) -> jax.Array:
    """Inputs at every kernel position, by slices: JAX's own patches are a convolution, slow on CPU."""
    p, numbers = eqn.params, eqn.params["dimension_numbers"]
    x = x.transpose(_features_last(numbers.lhs_spec))
    edges = [(*pad, gap - 1) for pad, gap in zip(p["padding"], p["lhs_dilation"], strict=True)]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    sizes = [shape_of(eqn.outvars[0])[axis] for axis in numbers.out_spec[2:]]
    kernel = [shape_of(eqn.invars[1])[axis] for axis in numbers.rhs_spec[2:]]
    steps, gaps = p["window_strides"], p["rhs_dilation"]
    parts = []
    for position in np.ndindex(*kernel):
        first = [i * gap for i, gap in zip(position, gaps, strict=True)]
        last = [a + (size - 1) * step + 1 for a, size, step in zip(first, sizes, steps, strict=True)]
        begin, end = (0, *first, 0), (x.shape[0], *last, x.shape[-1])
        parts.append(jax.lax.slice(x, begin, end, (1, *steps, 1)))
    patches = jnp.concatenate(parts, axis=-1)
    return patches.reshape(-1, patches.shape[-1])
