"""The derivatives `JaxBackend` compiles, as functions of (varying, fixed, constants, x, directions)."""

from collections.abc import Callable, Collection, Hashable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from ntkflow._types import Array
from ntkflow.errors import InputError
from ntkflow_validation.kernels.backends.base import FeatureFunction
from ntkflow_validation.kernels.backends.layers import Traced

# Squares of this many entries are summed in float32, the rest in float64 outside.
RUN = 256
# Of (varying, fixed, constants, x), and of these and directions.
Call = Callable[[list[jax.Array], PyTree, PyTree, jax.Array], jax.Array]
Pull = Callable[[list[jax.Array], PyTree, PyTree, jax.Array, jax.Array], PyTree]


class Skeleton(NamedTuple):
    """What is left of a parameter tree without its arrays; hashable, so that functions compile once.

    Attributes:
        structure: the tree.
        kinds: for each leaf "varying" (differentiated), "fixed" (another array) or "static".
        statics: leaves that are no arrays, such as activation functions inside Equinox modules.
    """

    structure: PyTree
    kinds: tuple[str, ...]
    statics: tuple[Hashable, ...]

    def join(self, varying: Sequence[Array], fixed: Sequence[Array]) -> PyTree:
        """The tree with these arrays."""
        sources = {"varying": iter(varying), "fixed": iter(fixed), "static": iter(self.statics)}
        return jax.tree.unflatten(self.structure, [next(sources[kind]) for kind in self.kinds])


def kind(leaf: object, chosen: bool) -> str:
    """Which of these a leaf is; `chosen` ones are differentiated by."""
    if not hasattr(leaf, "dtype"):
        return "static"
    return "varying" if chosen else "fixed"


def on_one_device(leaf: PyTree) -> PyTree:
    """An array that data-parallel training has copied to several devices, or cut up over them, on one; others themselves.

    Raises:
        InputError: parts of it are in other processes.
    """
    if (
        not isinstance(leaf, jax.Array)
        or isinstance(leaf, jax.core.Tracer)
        or len(leaf.sharding.device_set) == 1
    ):
        return leaf
    if leaf.is_fully_replicated:
        leaf = leaf.addressable_data(0)
    elif not leaf.is_fully_addressable:
        raise InputError(
            "params",
            f"array of shape {leaf.shape} over devices of several processes",
            "must be whole in this one",
            "gather it on all of them: jax.experimental.multihost_utils.process_allgather(params, tiled=True)",
        )
    return jax.device_put(leaf, min(leaf.sharding.addressable_devices, key=lambda device: device.id))


def signature(leaf: PyTree) -> Hashable:
    """What a program is compiled for of an argument: its shape, its type, and the devices that it is on."""
    kind = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    found = getattr(leaf, "sharding", None)
    return np.shape(leaf), str(kind), None if found is None else frozenset(d.id for d in found.device_set)


def feature_call(function: FeatureFunction, skeleton: Skeleton) -> Call:
    """The features in float32, of (varying, fixed, constants, x)."""

    def call(varying: list[jax.Array], fixed: PyTree, constants: PyTree, x: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return function(skeleton.join(varying, fixed), constants, x).astype(jnp.float32)

    return call


def pulling(call: Call) -> Pull:
    """Gradients of sums over a batch, (k, P)."""

    def pull(
        varying: list[jax.Array], fixed: PyTree, constants: PyTree, x: jax.Array, V: jax.Array
    ) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            _, back = jax.vjp(lambda q: call(q, fixed, constants, x), varying)
            return _flat(jax.vmap(back)(V)[0])

    return pull


def pushing(call: Call) -> Call:
    """The derivative of the features as the parameters grow by themselves, (B, n)."""

    def push(varying: list[jax.Array], fixed: PyTree, constants: PyTree, x: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            _, along = jax.jvp(lambda q: call(q, fixed, constants, x), (varying,), (varying,))
            found: jax.Array = along
            return found

    return push


def factoring(traced: Traced, apart: Collection[int]) -> Pull:
    """Gradients of every sample, (rows of the rest, layers' inputs, gradients by layers' outputs).

    Those by the weights of the layers `apart` (leaves) are left as factors; those of other layers are turned in the rows.
    """
    places = {layer.leaf: i for i, layer in enumerate(traced.layers)}
    kept = [i for leaf, i in places.items() if leaf in apart]

    def factors(
        varying: list[jax.Array], fixed: PyTree, constants: PyTree, x: jax.Array, V: jax.Array
    ) -> PyTree:
        def one(xi: jax.Array) -> PyTree:
            found, inputs, gradients = _parts(traced, varying, fixed, constants, xi, V)
            for leaf, i in places.items():
                if leaf not in apart:
                    found[leaf] = jnp.einsum("qtm,tk->qmk", gradients[i], inputs[i])
            rows = _flat(list(found.values())) if found else jnp.zeros((len(V), 0), jnp.float32)
            return rows, [inputs[i] for i in kept], [gradients[i] for i in kept]

        with jax.default_matmul_precision("highest"):
            return jax.vmap(one)(x)

    return factors


def row_by_row(traced: Traced, turned: bool = False) -> Pull:
    """Gradients of every sample written out, (B, k, P); those of layers as products of their factors.

    Turned, these are (M, K) for each direction, as XLA makes them on a CPU: to bring them into the weights' layout takes it
    as long as a third of the product. `straightened` does it where it matters.
    """
    places = {layer.leaf: i for i, layer in enumerate(traced.layers)}

    def product(i: int, inputs: jax.Array, gradients: jax.Array) -> jax.Array:
        if turned:
            return jnp.einsum("qtm,tk->qmk", gradients, inputs)
        found: jax.Array = traced.weights(i, jnp.einsum("tk,qtm->qkm", inputs, gradients))
        return found

    def rows(
        varying: list[jax.Array], fixed: PyTree, constants: PyTree, x: jax.Array, V: jax.Array
    ) -> jax.Array:
        def one(xi: jax.Array) -> jax.Array:
            found, inputs, gradients = _parts(traced, varying, fixed, constants, xi, V)
            for leaf, i in places.items():
                found[leaf] = product(i, inputs[i], gradients[i])
            return _flat([found[leaf] for leaf in range(len(varying))])

        # Not lax.map: XLA's convolutions inside loops are an order of magnitude slower on CPU.
        with jax.default_matmul_precision("highest"):
            return jax.vmap(one)(x)

    return rows


def straightened(
    traced: Traced, sizes: Sequence[int], rows: Float[np.ndarray, "B k P"]
) -> Float[np.ndarray, "B k P"]:
    """Turned rows in the layout of the parameters, of these sizes."""
    ends, found = np.cumsum(sizes), rows.copy()
    for i, layer in enumerate(traced.layers):
        own = slice(ends[layer.leaf] - sizes[layer.leaf], ends[layer.leaf])
        product = rows[:, :, own].reshape(-1, layer.M, layer.K).transpose(0, 2, 1)
        found[:, :, own] = traced.weights(i, product).reshape(*rows.shape[:2], -1)
    return found


def contracting(traced: Traced, counts: tuple[int, ...]) -> Pull:
    """Kernels of every direction, (k, N, N), and squared deviations of rows from their class means, (k, N).

    Array by array of the parameters: the rows of all of them side by side take minutes to compile on a GPU, and their
    product is what crosses the bus, not they.
    """
    places = {layer.leaf: i for i, layer in enumerate(traced.layers)}
    starts = [sum(counts[:c]) for c in range(len(counts))]

    def moved(rows: jax.Array) -> jax.Array:
        classes = [rows[a : a + m] for a, m in zip(starts, counts, strict=True)]
        return jnp.concatenate([own - own.mean(axis=0) for own in classes])

    def contract(
        varying: list[jax.Array], fixed: PyTree, constants: PyTree, x: jax.Array, V: jax.Array
    ) -> PyTree:
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
    traced: Traced, varying: list[jax.Array], fixed: PyTree, constants: PyTree, xi: jax.Array, V: jax.Array
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
