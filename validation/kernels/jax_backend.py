"""Derivatives through JAX, compiled once for each function and shape."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64

from ntkflow.errors import InputError
from validation.kernels import jax_functions
from validation.kernels.backend import Directions, FeatureFunction, Inputs, check_finite
from validation.kernels.budget import release
from validation.kernels.factored import Factors
from validation.kernels.jax_functions import Skeleton
from validation.kernels.layers import Layer, Traced, trace
from validation.kernels.moments import Moments, moments_of

# Numbers of gradients of one call on CPU.
CACHED = 2**22


@dataclass(frozen=True, eq=False)
class _Compiled:
    call: Any
    features: Any
    # by name and shapes; lives as long as the functions, so that the next snapshot compiles nothing
    executables: dict[Any, Any] = field(default_factory=dict)


@lru_cache(maxsize=32)
def _compile(function: FeatureFunction, skeleton: Skeleton) -> _Compiled:
    call = jax_functions.feature_call(function, skeleton)
    return _Compiled(call, jax.jit(call))


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
        kinds = tuple(jax_functions.kind(leaf) for leaf in leaves)
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
        known, sample = self._functions.executables, self._sample
        key = ("traced", self._shapes, sample.shape, str(sample.dtype))
        if key not in known:
            known[key] = trace(self._functions.call, *self._arrays, sample)
        return known[key]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Dense and convolutional layers for which products of factors are cheaper."""
        return self._traced.winning.layers

    @property
    def plain(self) -> int:
        """Parameters that are no such layer's weights."""
        return self.P - sum(layer.K * layer.M for layer in self.layers)

    def _executable(self, name: str, x: Inputs, V: np.ndarray) -> Any:
        """Compiled ahead of time, which is what tells the memory it needs before it runs."""
        known, key = self._functions.executables, (name, self._shapes, x.shape, x.dtype.str, V.shape)
        if key not in known:
            function = jax.jit(self._function(name))
            known[key] = function.lower(*self._arrays, jnp.asarray(x), jnp.asarray(V)).compile()
            # A compiler of a ResNet20 leaves some 200 MiB behind.
            release()
        return known[key]

    def _function(self, name: str) -> Any:
        if name == "pull":
            return jax_functions.pulling(self._functions.call)
        if name == "factors":
            return jax_functions.factoring(self._traced.winning)
        return jax_functions.row_by_row(self._traced)

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

    def moments(self, x: Inputs, V: Directions, fresh: np.ndarray) -> Moments:
        """Of the rows of the fresh samples; on an accelerator without taking the rows from it."""
        rows = self._rows(x, V)
        if jax.default_backend() == "cpu":
            return moments_of(np.asarray(rows)[fresh])
        total, *parts = jax_functions.moments(rows, jnp.asarray(fresh, jnp.float32))
        return Moments(np.asarray(total), *(np.asarray(p).sum(axis=(0, 2), dtype=np.float64) for p in parts))

    def tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `rows`."""
        if jax.default_backend() == "cpu":
            # Few gradients of large networks, and few samples, stay in the cache.
            most = min(max(16, CACHED // self.P), 256)
            k = min(k, most)
            return self._shrink("rows", x, max(1, most // max(k, 4)), k, limit)
        k = min(k, 256)
        return self._shrink("rows", x, 256 // k, k, limit)

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
