"""The derivatives `JaxBackend` compiles, as functions of (varying, fixed, constants, x, directions)."""

from collections.abc import Hashable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ntkflow_validation.kernels.backends.base import FeatureFunction
from ntkflow_validation.kernels.backends.layers import Traced

# Squares of this many entries are summed in float32, the rest in float64 outside.
RUN = 256


class Skeleton(NamedTuple):
    """What is left of a parameter tree without its arrays; hashable, so that functions compile once.

    Attributes:
        structure: the tree.
        kinds: for each leaf "varying" (differentiated), "fixed" (another array) or "static".
        statics: leaves that are no arrays, such as activation functions inside Equinox modules.
    """

    structure: Any
    kinds: tuple[str, ...]
    statics: tuple[Hashable, ...]

    def join(self, varying: list[Any], fixed: list[Any]) -> Any:
        """The tree with these arrays."""
        sources = {"varying": iter(varying), "fixed": iter(fixed), "static": iter(self.statics)}
        return jax.tree.unflatten(self.structure, [next(sources[kind]) for kind in self.kinds])


def kind(leaf: Any, chosen: bool) -> str:
    """Which of these a leaf is; `chosen` ones are differentiated by."""
    if not hasattr(leaf, "dtype"):
        return "static"
    return "varying" if chosen else "fixed"


def feature_call(function: FeatureFunction, skeleton: Skeleton) -> Any:
    """The features in float32, of (varying, fixed, constants, x)."""

    def call(varying: list[jax.Array], fixed: Any, constants: Any, x: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return function(skeleton.join(varying, fixed), constants, x).astype(jnp.float32)

    return call


def pulling(call: Any) -> Any:
    """Gradients of sums over a batch, (k, P)."""

    def pull(varying: list[jax.Array], fixed: Any, constants: Any, x: jax.Array, V: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            _, back = jax.vjp(lambda q: call(q, fixed, constants, x), varying)
            return _flat(jax.vmap(back)(V)[0])

    return pull


def factoring(traced: Traced) -> Any:
    """Gradients of every sample, (rows of the rest, layers' inputs, gradients by layers' outputs)."""

    def factors(varying: list[jax.Array], fixed: Any, constants: Any, x: jax.Array, V: jax.Array) -> Any:
        def one(xi: jax.Array) -> Any:
            plain, inputs, gradients = _parts(traced, varying, fixed, constants, xi, V)
            rows = _flat(list(plain.values())) if plain else jnp.zeros((len(V), 0), jnp.float32)
            return rows, inputs, gradients

        with jax.default_matmul_precision("highest"):
            return jax.vmap(one)(x)

    return factors


def row_by_row(traced: Traced) -> Any:
    """Gradients of every sample written out, (B, k, P); those of layers as products of their factors."""
    places = {layer.leaf: i for i, layer in enumerate(traced.layers)}

    def rows(varying: list[jax.Array], fixed: Any, constants: Any, x: jax.Array, V: jax.Array) -> jax.Array:
        def one(xi: jax.Array) -> jax.Array:
            found, inputs, gradients = _parts(traced, varying, fixed, constants, xi, V)
            for leaf, i in places.items():
                product = jnp.einsum("tk,qtm->qkm", inputs[i], gradients[i])
                found[leaf] = traced.weights(i, product)
            return _flat([found[leaf] for leaf in range(len(varying))])

        # Not lax.map: XLA's convolutions inside loops are an order of magnitude slower on CPU.
        with jax.default_matmul_precision("highest"):
            return jax.vmap(one)(x)

    return rows


def contracting(traced: Traced, counts: tuple[int, ...]) -> Any:
    """Kernels of every direction, (k, N, N), and squared deviations of rows from their class means, (k, N).

    Array by array of the parameters: the rows of all of them side by side take minutes to compile on a GPU, and their
    product is what crosses the bus, not they.
    """
    places = {layer.leaf: i for i, layer in enumerate(traced.layers)}
    starts = [sum(counts[:c]) for c in range(len(counts))]

    def moved(rows: jax.Array) -> jax.Array:
        classes = [rows[a : a + m] for a, m in zip(starts, counts, strict=True)]
        return jnp.concatenate([own - own.mean(axis=0) for own in classes])

    def contract(varying: list[jax.Array], fixed: Any, constants: Any, x: jax.Array, V: jax.Array) -> Any:
        def one(xi: jax.Array) -> list[jax.Array]:
            found, inputs, gradients = _parts(traced, varying, fixed, constants, xi, V)
            for leaf, i in places.items():
                found[leaf] = jnp.einsum("tk,qtm->qkm", inputs[i], gradients[i])
            return [found[leaf].reshape(len(V), -1).astype(jnp.float32) for leaf in range(len(varying))]

        with jax.default_matmul_precision("highest"):
            K, deviations = jnp.zeros((len(V), len(x), len(x))), jnp.zeros((len(V), len(x)))
            for rows in jax.vmap(one)(x):
                K = K + jnp.einsum("ikp,jkp->kij", rows, rows)
                deviations = deviations + jnp.sum(moved(rows) ** 2, axis=2).T
            return K, deviations

    return contract


def _parts(
    traced: Traced, varying: list[jax.Array], fixed: Any, constants: Any, xi: jax.Array, V: jax.Array
) -> tuple[dict[int, jax.Array], list[jax.Array], list[jax.Array]]:
    """Of one sample: gradients by the arrays that are no layer's weights, layers' inputs, gradients by outputs."""
    own = {layer.leaf for layer in traced.layers}
    plain = {i: leaf for i, leaf in enumerate(varying) if i not in own}

    def shifted(plain: dict[int, jax.Array], shifts: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
        leaves = [plain.get(i, leaf) for i, leaf in enumerate(varying)]
        (h,), inputs = traced.run(jax.tree.leaves((leaves, fixed, constants, xi[None])), shifts)
        return h[0], inputs

    shifts = [jnp.zeros(layer.shape, jnp.float32) for layer in traced.layers]
    _, pull, inputs = jax.vjp(shifted, plain, shifts, has_aux=True)
    by_plain, by_shift = jax.vmap(pull)(V)
    gradients = [jax.vmap(partial(traced.factor, i))(g) for i, g in enumerate(by_shift)]
    return by_plain, inputs, gradients


def _flat(gradients: list[jax.Array]) -> jax.Array:
    return jnp.concatenate([g.reshape(len(g), -1).astype(jnp.float32) for g in gradients], axis=1)


@jax.jit
def moments(rows: jax.Array, fresh: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sum over the fresh samples of rows, (k, P), and in runs of parameters of |row|^2 and |row - mean|^2.

    Args:
        rows: (B, k, P).
        fresh: 1 for samples that count, 0 for others, (B,).
    """
    total = jnp.einsum("b,bkp->kp", fresh, rows, precision="highest")
    moved = (rows - total / fresh.sum()) * fresh[:, None, None]
    return total, _runs(rows * fresh[:, None, None]), _runs(moved)


def _runs(rows: jax.Array) -> jax.Array:
    main = rows.shape[2] // RUN * RUN
    runs = rows[:, :, :main].reshape(*rows.shape[:2], -1, RUN)
    return jnp.concatenate(
        [jnp.sum(runs**2, axis=3), jnp.sum(rows[:, :, main:] ** 2, axis=2, keepdims=True)], axis=2
    )
