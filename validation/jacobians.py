"""Exact entries of the features' NTK: Theta^h_pp(x_i, x_j) = <grad h_p(x_i), grad h_p(x_j)>.

The network runs in float32 with full-precision products; sums over parameters are accumulated in float64.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from ntkflow._types import Labels, PerClass, SampleKernel
from ntkflow.errors import InputError

# (differentiated parameters, other numbers, inputs (B, ...)) to features (B, n), sample by sample
FeatureFunction = Callable[[Any, Any, jax.Array], jax.Array]
# Products over this many parameters are summed in float32, the rest in float64.
COLUMNS = 4096
SAMPLES = 64


@dataclass(frozen=True, eq=False)
class NeuronKernel:
    """Kernel of one feature neuron.

    Attributes:
        neuron: its index p.
        gram: Theta^h_pp, N x N.
        within: for each class sum_i |J_i - class mean of J|^2 / (s - 1), measured on the centred Jacobian
            itself and so free of the cancellation in kappa_d - kappa_c; (C,).
    """

    neuron: int
    gram: SampleKernel
    within: PerClass


def neuron_kernels(
    features: FeatureFunction,
    params: Any,
    constants: Any,
    x: np.ndarray,
    labels: Labels,
    neurons: Sequence[int],
) -> Iterator[NeuronKernel]:
    """The kernel of each neuron in turn.

    Memory: one Jacobian of N rows and as many columns as the body has parameters, in float32.

    Args:
        features: pure per-sample feature function; compiled once for each function, not for each call.
        params: parameters it is differentiated by.
        constants: its other numbers.
        x: inputs, (N, ...), float32.
        labels: class of each input, any order.
        neurons: indices p.

    Raises:
        InputError: a parameter or an input is not finite.
    """
    _check_finite(params, x)
    n = jax.eval_shape(features, params, constants, jnp.asarray(x[:1])).shape[1]
    rows = _jacobian_rows(features)
    averaging = _class_averaging(labels)
    for p in neurons:
        selector = jnp.zeros(n, jnp.float32).at[p].set(1.0)
        parts = [
            rows(params, constants, jnp.asarray(x[i : i + SAMPLES]), selector)
            for i in range(0, len(x), SAMPLES)
        ]
        grams, squares = _contract(jnp.concatenate(parts), jnp.asarray(averaging, jnp.float32))
        gram = np.asarray(grams, dtype=np.float64).sum(axis=0)
        deviations = np.asarray(squares, dtype=np.float64).sum(axis=0)
        counts = np.bincount(labels)
        within = np.bincount(labels, weights=deviations) / np.maximum(counts - 1, 1)
        yield NeuronKernel(int(p), (gram + gram.T) / 2, within)


def pairwise_kernel(
    features: FeatureFunction, params: Any, constants: Any, x: np.ndarray, p: int
) -> Float64[np.ndarray, "N N"]:
    """The same gram by its definition, a gradient per sample, a product per pair; slow, for tests."""
    grad = jax.jit(jax.grad(lambda q, xi: features(q, constants, xi[None])[0, p]))

    def gradient(xi: jax.Array) -> np.ndarray:
        tree = grad(params, xi)
        return np.concatenate([np.asarray(leaf, dtype=np.float64).ravel() for leaf in jax.tree.leaves(tree)])

    gradients = [gradient(jnp.asarray(xi)) for xi in x]
    return np.array([[float(a @ b) for b in gradients] for a in gradients])


@lru_cache(maxsize=8)
def _jacobian_rows(features: FeatureFunction) -> Callable[..., jax.Array]:
    """Gradients of selector . h(x_i) as flat rows (B, P), padded with zeros to whole columns of chunks."""

    @jax.jit
    def rows(params: Any, constants: Any, x: jax.Array, selector: jax.Array) -> jax.Array:
        def one(xi: jax.Array) -> Any:
            return jax.grad(
                lambda q: jnp.vdot(features(q, constants, xi[None])[0], selector, precision="highest")
            )(params)

        with jax.default_matmul_precision("highest"):
            tree = jax.vmap(one)(x)
        flat = jnp.concatenate([leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(tree)], axis=1)
        return jnp.pad(flat, ((0, 0), (0, -flat.shape[1] % min(COLUMNS, flat.shape[1]))))

    return rows


@jax.jit
def _contract(J: jax.Array, averaging: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Grams (q, N, N) and squared deviations from the class means (q, N), for each of q chunks of columns."""
    width = min(COLUMNS, J.shape[1])
    chunks = J.reshape(J.shape[0], -1, width).transpose(1, 0, 2)
    centred = chunks - jnp.einsum("ij,qjk->qik", averaging, chunks, precision="highest")
    return jnp.einsum("qik,qjk->qij", chunks, chunks, precision="highest"), jnp.sum(centred**2, axis=2)


def _class_averaging(labels: Labels) -> Float64[np.ndarray, "N N"]:
    """The matrix that replaces every row by the mean of its class."""
    same = labels[:, None] == labels[None, :]
    return same / same.sum(axis=1)


def _check_finite(params: Any, x: np.ndarray) -> None:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    named = [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]
    for name, leaf in [*named, ("x", x)]:
        value = np.asarray(leaf)
        bad = value.size - int(np.isfinite(value).sum())
        if bad:
            raise InputError(
                name, f"array with {bad} NaN or infinite entries", "must be finite", "use an earlier snapshot"
            )
