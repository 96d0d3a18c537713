"""Derivatives of features by parameters: the only thing measuring asks of a framework."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64

from ntkflow.errors import InputError
from validation.kernels.factored import Factors
from validation.kernels.layers import Layer, Traced, trace

Inputs = np.ndarray
Directions = Float[np.ndarray, "k n"]
# (differentiated parameters, other numbers, inputs (B, ...)) to features (B, n)
FeatureFunction = Callable[[Any, Any, jax.Array], jax.Array]


@runtime_checkable
class Backend(Protocol):
    """A network's features h(x) and their derivatives; float32 or better inside, numpy outside.

    Attributes:
        n: features.
        P: numbers that are differentiated by.
    """

    n: int
    P: int

    def features(self, x: Inputs) -> Float64[np.ndarray, "B n"]:
        """h(x_i)."""

    def rows(self, x: Inputs, V: Directions) -> Float[np.ndarray, "B k P"]:
        """Gradients of v_k . h(x_i), one row per sample and direction; needs samples not to see each other."""

    def pull(self, x: Inputs, cotangents: Float[np.ndarray, "k B n"]) -> Float[np.ndarray, "k P"]:
        """Gradients of sum_i cotangent_ki . h(x_i), with all x in one batch."""

    def squares(
        self, x: Inputs, V: Directions, means: Float[np.ndarray, "k P"]
    ) -> Float64[np.ndarray, "2 B k"]:
        """|row|^2 and |row - mean|^2, summed in float64."""

    def tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions to give `rows` at once so that it stays below `limit` bytes."""

    def batch(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions to give `pull` at once so that it stays below `limit` bytes."""

    def pull_bytes(self, x: Inputs, k: int) -> int:
        """What `pull` of k directions on all of x at once needs."""

    def fingerprint(self) -> bytes:
        """The parameters as bytes, for names of stored chunks."""


@runtime_checkable
class FactoringBackend(Backend, Protocol):
    """A backend that also gives the gradients of dense and convolutional layers as products of factors.

    Attributes:
        layers: those where products of factors are cheaper; none when there are no such.
        plain: numbers that are no such layer's weights.
    """

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers whose weights `factors` takes apart."""

    @property
    def plain(self) -> int:
        """Parameters outside these."""

    def factors(self, x: Inputs, V: Directions) -> Factors:
        """The same Jacobian as `rows`, in parts."""

    def factor_tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions to give `factors` at once so that it stays below `limit` bytes."""


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


def _kind(leaf: Any) -> str:
    if not hasattr(leaf, "dtype"):
        return "static"
    return "varying" if jnp.issubdtype(leaf.dtype, jnp.inexact) else "fixed"


@dataclass(frozen=True, eq=False)
class _Compiled:
    call: Any
    features: Any
    rows: Any
    pull: Any
    # by name and shapes; lives as long as the functions, so that the next snapshot compiles nothing
    executables: dict[Any, Any] = field(default_factory=dict)


@lru_cache(maxsize=32)
def _compile(function: FeatureFunction, skeleton: Skeleton) -> _Compiled:
    def call(varying: list[jax.Array], fixed: Any, constants: Any, x: jax.Array) -> jax.Array:
        return function(skeleton.join(varying, fixed), constants, x).astype(jnp.float32)

    def rows(varying: list[jax.Array], fixed: Any, constants: Any, x: jax.Array, V: jax.Array) -> jax.Array:
        def one(xi: jax.Array) -> jax.Array:
            _, pull = jax.vjp(lambda q: call(q, fixed, constants, xi[None])[0], varying)
            return _flat(jax.vmap(pull)(V)[0])

        # Not lax.map: XLA's convolutions inside loops are an order of magnitude slower on CPU.
        with jax.default_matmul_precision("highest"):
            return jax.vmap(one)(x)

    def pull(varying: list[jax.Array], fixed: Any, constants: Any, x: jax.Array, V: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            _, back = jax.vjp(lambda q: call(q, fixed, constants, x), varying)
            return _flat(jax.vmap(back)(V)[0])

    def features(varying: list[jax.Array], fixed: Any, constants: Any, x: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return call(varying, fixed, constants, x)

    return _Compiled(call, jax.jit(features), jax.jit(rows), jax.jit(pull))


def _flat(gradients: list[jax.Array]) -> jax.Array:
    return jnp.concatenate([g.reshape(len(g), -1).astype(jnp.float32) for g in gradients], axis=1)


def _factoring(traced: Traced) -> Any:
    """The compiled function behind `factors`."""
    layers = traced.layers
    own = {layer.leaf for layer in layers}

    def one(
        xi: jax.Array, varying: list[jax.Array], fixed: Any, constants: Any, V: jax.Array
    ) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
        plain = [leaf for i, leaf in enumerate(varying) if i not in own]

        def shifted(plain: list[jax.Array], shifts: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
            rest = iter(plain)
            leaves = [leaf if i in own else next(rest) for i, leaf in enumerate(varying)]
            (h,), inputs = traced.run(jax.tree.leaves((leaves, fixed, constants, xi[None])), shifts)
            return h[0], inputs

        shifts = [jnp.zeros(layer.shape, jnp.float32) for layer in layers]
        _, pull, inputs = jax.vjp(shifted, plain, shifts, has_aux=True)
        by_plain, by_shift = jax.vmap(pull)(V)
        rows = _flat(by_plain) if plain else jnp.zeros((len(V), 0), jnp.float32)
        gradients = [jax.vmap(partial(traced.factor, i))(g) for i, g in enumerate(by_shift)]
        return rows, inputs, gradients

    def factors(varying: list[jax.Array], fixed: Any, constants: Any, x: jax.Array, V: jax.Array) -> Any:
        with jax.default_matmul_precision("highest"):
            return jax.vmap(one, in_axes=(0, None, None, None, None))(x, varying, fixed, constants, V)

    return jax.jit(factors)


# Squares of this many entries are summed in float32, the rest in float64 outside.
RUN = 256


@jax.jit
def _partial_squares(rows: jax.Array, means: jax.Array) -> jax.Array:
    main = rows.shape[2] // RUN * RUN

    def partial(a: jax.Array, b: jax.Array) -> jax.Array:
        runs = (a[:, :, :main] - b[:, :main]).reshape(*a.shape[:2], -1, RUN)
        tail = jnp.sum((a[:, :, main:] - b[:, main:]) ** 2, axis=2, keepdims=True)
        return jnp.concatenate([jnp.sum(runs**2, axis=3), tail], axis=2)

    return jnp.stack([partial(rows, jnp.zeros_like(means)), partial(rows, means)])


class JaxBackend:
    """Derivatives through JAX, for any pure function: Flax NNX and Linen, Equinox, haiku-style, plain.

    Args:
        features: function of (params, constants, x) giving (B, n); compiled once for each function object.
        params: tree whose floating-point arrays are differentiated by.
        constants: its other numbers.

    Raises:
        InputError: a parameter is not finite, or there is none.
    """

    def __init__(self, features: FeatureFunction, params: Any, constants: Any = None) -> None:
        check_finite(params, "params")
        leaves, structure = jax.tree.flatten(params)
        kinds = tuple(_kind(leaf) for leaf in leaves)
        chosen = {
            kind: [leaf for leaf, k in zip(leaves, kinds, strict=True) if k == kind]
            for kind in ("varying", "fixed", "static")
        }
        self.P = sum(leaf.size for leaf in chosen["varying"])
        if not self.P:
            raise InputError("params", "no floating-point array", "nothing to differentiate by", "give some")
        self._arrays = (chosen["varying"], chosen["fixed"], constants)
        self._functions = _compile(features, Skeleton(structure, kinds, tuple(chosen["static"])))
        arrays, constant_structure = jax.tree.flatten(self._arrays)
        self._shapes = (constant_structure, *((np.shape(a), str(np.asarray(a).dtype)) for a in arrays))
        self.n = 0

    def check(self, x: Inputs) -> "JaxBackend":
        """Learn n from the shape of the features.

        Raises:
            InputError: the features are not (samples, n).
        """
        known, key = self._functions.executables, ("shape", self._shapes, x.shape[1:])
        if key not in known:
            known[key] = jax.eval_shape(self._functions.features, *self._arrays, jnp.asarray(x[:2])).shape
        shape = known[key]
        if len(shape) != 2 or shape[0] != len(x[:2]):
            raise InputError("features", f"output of shape {shape}", "must be (samples, n)", "flatten each h")
        self.n = int(shape[1])
        self._sample = jax.ShapeDtypeStruct((1, *x.shape[1:]), jnp.asarray(x[:0]).dtype)
        return self

    @property
    def _traced(self) -> Traced:
        known, key = self._functions.executables, ("traced", self._shapes, self._sample.shape)
        if key not in known:
            known[key] = trace(self._functions.call, *self._arrays, self._sample)
        return known[key]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Dense and convolutional layers for which products of factors are cheaper."""
        return self._traced.layers

    @property
    def plain(self) -> int:
        """Parameters that are no such layer's weights."""
        return self.P - sum(layer.K * layer.M for layer in self.layers)

    def _executable(self, name: str, x: Inputs, V: np.ndarray) -> Any:
        """Compiled ahead of time, which is what tells the memory it needs before it runs."""
        known, key = self._functions.executables, (name, self._shapes, x.shape, x.dtype.str, V.shape)
        if key not in known:
            factoring = name == "factors"
            function = _factoring(self._traced) if factoring else getattr(self._functions, name)
            known[key] = function.lower(*self._arrays, jnp.asarray(x), jnp.asarray(V)).compile()
        return known[key]

    def features(self, x: Inputs) -> Float64[np.ndarray, "B n"]:
        """h(x_i)."""
        return np.asarray(self._functions.features(*self._arrays, jnp.asarray(x)), dtype=np.float64)

    def _rows(self, x: Inputs, V: Directions) -> jax.Array:
        V = np.asarray(V, dtype=np.float32)
        return self._executable("rows", x, V)(*self._arrays, jnp.asarray(x), jnp.asarray(V))

    def rows(self, x: Inputs, V: Directions) -> Float[np.ndarray, "B k P"]:
        """Gradients of v_k . h(x_i)."""
        return np.asarray(self._rows(x, V))

    def factors(self, x: Inputs, V: Directions) -> Factors:
        """The same in parts."""
        V = np.asarray(V, dtype=np.float32)
        found = self._executable("factors", x, V)(*self._arrays, jnp.asarray(x), jnp.asarray(V))
        return Factors(*jax.tree.map(np.asarray, found))

    def pull(self, x: Inputs, cotangents: Float[np.ndarray, "k B n"]) -> Float[np.ndarray, "k P"]:
        """Gradients of sum_i cotangent_ki . h(x_i)."""
        V = np.asarray(cotangents, dtype=np.float32)
        return np.asarray(self._executable("pull", x, V)(*self._arrays, jnp.asarray(x), jnp.asarray(V)))

    def squares(
        self, x: Inputs, V: Directions, means: Float[np.ndarray, "k P"]
    ) -> Float64[np.ndarray, "2 B k"]:
        """|row|^2 and |row - mean|^2."""
        parts = _partial_squares(self._rows(x, V), jnp.asarray(means, jnp.float32))
        return np.asarray(parts).sum(axis=3, dtype=np.float64)

    def tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `rows`."""
        most = 16 if jax.default_backend() == "cpu" else 256
        k = min(k, most)
        return self._shrink("rows", x, max(1, most // k), k, limit)

    def factor_tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `factors`."""
        most = 64 if jax.default_backend() == "cpu" else 1024
        k = min(k, most)
        return self._shrink("factors", x, max(1, most // k), k, limit)

    def batch(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `pull`."""
        return self._shrink("pull", x, 64 if jax.default_backend() == "cpu" else 1024, min(k, 4), limit)

    def pull_bytes(self, x: Inputs, k: int) -> int:
        """What `pull` of k directions on all of x at once needs."""
        return self._needed("pull", x, k)

    def _needed(self, name: str, x: Inputs, k: int) -> int:
        V = np.zeros((k, len(x), self.n) if name == "pull" else (k, self.n), np.float32)
        analysis = self._executable(name, x, V).memory_analysis()
        # The output twice: on the device and as numpy.
        return 0 if analysis is None else analysis.temp_size_in_bytes + 2 * analysis.output_size_in_bytes

    def _shrink(self, name: str, x: Inputs, samples: int, k: int, limit: int) -> tuple[int, int]:
        samples = min(samples, len(x))
        while samples * k > 1 and self._needed(name, x[:samples], k) > limit:
            samples, k = (samples, (k + 1) // 2) if k > 1 else (samples // 2, 1)
        return samples, k

    def fingerprint(self) -> bytes:
        """The parameters and constants as bytes."""
        return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(self._arrays))


def check_finite(tree: Any, root: str) -> None:
    """Raise InputError naming the first array of a tree that is not finite."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    for path, leaf in leaves:
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        value = np.asarray(leaf)
        bad = value.size - int(np.isfinite(value).sum())
        if bad:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise InputError(
                f"{root}.{name}" if name else root,
                f"array with {bad} NaN or infinite entries",
                "must be finite",
                "use an earlier snapshot",
            )
