"""Derivatives through JAX, compiled once for each function and shape."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, PyTree

from ntkflow.errors import InputError
from ntkflow_validation.kernels.backends import by_layer, jax_functions
from ntkflow_validation.kernels.backends.base import Directions, FeatureFunction, Inputs, check_finite
from ntkflow_validation.kernels.backends.computation import computation, content
from ntkflow_validation.kernels.backends.factored import Factors
from ntkflow_validation.kernels.backends.jax_functions import Skeleton
from ntkflow_validation.kernels.backends.layers import Layer, Traced, trace
from ntkflow_validation.kernels.backends.moments import Moments, moments_of
from ntkflow_validation.kernels.backends.trainable import Trainable, flags, names_of
from ntkflow_validation.kernels.budget import release
from ntkflow_validation.memory import device_memory, needed_bytes
from ntkflow_validation.normalisation.watched import running

NOT_RUN = (
    "the function does not run on X as features(params, x)",
    "give X as it takes it, in inference mode: no dropout, and batch normalisation by its running statistics "
    "(train=False, use_running_average=True, deterministic=True, equinox.nn.inference_mode)",
)
NOT_RUN_COUPLED = (
    NOT_RUN[0],
    "give X as it takes it, with batch normalisation alone in training mode: no dropout (deterministic=True), "
    "use_running_average=False (train=True), and what it writes dropped, as by "
    "lambda v, x: net.apply(v, x, mutable=['batch_stats'])[0]",
)
# Of a module of Linen or Equinox, which is called for the user.
NOT_RUN_MODULE = (
    "the module does not run on X as module(x)",
    f"{NOT_RUN[1]}; where it needs more than x, forward=lambda net, x: net(x, train=False), or of Equinox "
    "forward=lambda net, x: jax.vmap(lambda one: net(one, state)[0])(x)",
)
NOT_DERIVED = (
    "the function cannot be differentiated by jax.vjp",
    "write it with operations that have such a derivative: scan or fori_loop in the place of while_loop, custom_vjp",
)
COMPUTES = "the network computes in half precision, of which kernels have two or three digits: give dtype=float32 to its layers"
# Numbers of gradients of one call on CPU.
CACHED = 2**22
# Directions contracted at once on an accelerator, and how often their rows are held there: once with all that they come
# from, and once less their class means.
CONTRACTED, ROWS = 16, 3
# Computations of which compiled functions are kept.
COMPILED = 32


# What XLA has made of a function.
Executable = jax.stages.Compiled
# A function as JAX has traced it, not compiled.
Operations = jax.stages.Traced
# Programs, operations and sizes; which, their keys say.
Kept = Any
# Compiled functions of what was computed last, by name and shapes; the next snapshot compiles nothing.
_SHELF: OrderedDict[Hashable, dict[Hashable, Kept]] = OrderedDict()


def _compiled(computation: bytes) -> dict[Hashable, Kept]:
    known = _SHELF.setdefault(computation, {})
    _SHELF.move_to_end(computation)
    while len(_SHELF) > COMPILED:
        _SHELF.popitem(last=False)
    return known


class JaxBackend:
    """Derivatives through JAX, for any pure function: Flax NNX and Linen, Equinox, haiku-style, plain.

    `check` looks at what the function computes, with the numbers it closes over as they are then: what was compiled
    for another computation is never used. `ntkflow_validation.measure` calls it every time.

    Args:
        features: function of (params, constants, x) giving (B, n); compiled once for what it computes.
        params: tree whose trained floating-point arrays are differentiated by.
        constants: its other numbers.
        trainable: which of them; see `ntkflow_validation.measure`.
        not_run: what is said when it does not run, a rule and a remedy.

    Attributes:
        half: what is to be said of half precision; empty where there is none.

    Raises:
        InputError: a parameter is not finite, or there is none to differentiate by.
    """

    def __init__(
        self,
        features: FeatureFunction,
        params: PyTree,
        constants: PyTree = None,
        trainable: Trainable = None,
        not_run: tuple[str, str] = NOT_RUN,
    ) -> None:
        self._not_run = not_run
        params, constants = jax.tree.map(jax_functions.on_one_device, (params, constants))
        check_finite(params, "params")
        leaves, structure = jax.tree.flatten(params)
        chosen, own = flags(params, trainable)
        kinds = tuple(jax_functions.kind(leaf, c) for leaf, c in zip(leaves, chosen, strict=True))
        parts = {
            kind: [leaf for leaf, k in zip(leaves, kinds, strict=True) if k == kind]
            for kind in ("varying", "fixed", "static")
        }
        self.P = sum(leaf.size for leaf in parts["varying"])
        self.total = sum(leaf.size for leaf, is_own in zip(leaves, own, strict=True) if is_own)
        sizes = [leaf.size for leaf in parts["varying"]]
        self.columns = list(zip(names_of(params, chosen), sizes, strict=True))
        if not self.P:
            raise InputError(
                "params",
                f"none of {self.total} floating-point numbers is trained"
                if self.total
                else "no floating-point array",
                "nothing to differentiate by",
                "give some, or trainable=lambda path: True",
            )
        self._arrays = (parts["varying"], parts["fixed"], constants)
        self._features, self._skeleton = features, Skeleton(structure, kinds, tuple(parts["static"]))
        arrays, constant_structure = jax.tree.flatten(self._arrays)
        self._shapes = (constant_structure, *map(jax_functions.signature, arrays))
        self.n, self.half = 0, ""

    def check(self, x: Inputs) -> "JaxBackend":
        """Learn n from the shape of the features, and what the function computes; to be called when it may have changed.

        Raises:
            InputError: the function does not run, or its features are not (samples, n).
        """
        few = jnp.asarray(x[:2])
        # A new object, of which JAX has traced nothing yet: what the function closes over may have changed.
        self._call = jax_functions.feature_call(self._features, self._skeleton)
        with running("features", *self._not_run):
            seen, shape, custom, self._seen, half = computation(self._call, *self._arrays, few)
        self.half = COMPUTES if half else ""
        if len(shape) != 2 or shape[0] != len(few):
            raise InputError("features", f"output of shape {shape}", "must be (samples, n)", "flatten each h")
        self.n = int(shape[1])
        self._own = seen
        if custom:
            with running("gradients", *self._not_run):
                seen += self._derivative(custom, few, jnp.zeros((1, *shape), jnp.float32))
        self._few, self._computation = few, seen
        self._known = _compiled(self._computation)
        self._sample = jax.ShapeDtypeStruct((1, *x.shape[1:]), jnp.asarray(x[:0]).dtype)
        return self

    def _derivative(self, custom: frozenset[str], few: jax.Array, V: jax.Array) -> bytes:
        """What is computed where operations have derivatives of their own."""
        if custom == {"custom_jvp_call"}:
            # What goes back is made of what goes forward, which is traced in a third of the time.
            return computation(jax_functions.pushing(self._call), *self._arrays, few).digest
        return computation(jax_functions.pulling(self._call), *self._arrays, few, V).digest

    def require_no_chance(self) -> None:
        """Refuse a function that computes something else when it is traced again.

        Raises:
            InputError: it draws random numbers of its own.
        """
        call = jax_functions.feature_call(self._features, self._skeleton)
        if self._seen and computation(call, *self._arrays, self._few).digest != self._own:
            raise InputError(
                "features",
                "random numbers, or others that change from call to call",
                "must be the same every time",
                "switch dropout and the like off, or give them as parameters that are not trained",
            )

    @property
    def _traced(self) -> Traced:
        known, sample = self._known, self._sample
        key = ("traced", self._shapes, sample.shape, str(sample.dtype))
        if key not in known:
            known[key] = trace(self._call, *self._arrays, sample)
        return cast(Traced, known[key])

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Dense and convolutional layers for which products of factors are cheaper."""
        return self._traced.winning.layers

    @property
    def plain(self) -> int:
        """Parameters that are no such layer's weights."""
        count: int = self.P - sum(layer.K * layer.M for layer in self.layers)
        return count

    def _key(self, name: Hashable, x: Inputs, *V: np.ndarray | jax.ShapeDtypeStruct) -> Hashable:
        return (name, self._shapes, x.shape, x.dtype.str, *(v.shape for v in V))

    def _operations(self, name: Hashable, x: Inputs, *V: np.ndarray | jax.ShapeDtypeStruct) -> Operations:
        """Traced, not compiled: what it needs can be told of that, in a tenth of the time."""
        shapes = (jax.ShapeDtypeStruct(v.shape, jnp.float32) for v in V)
        with running("gradients", *NOT_DERIVED):
            return jax.jit(self._function(name)).trace(*self._arrays, jnp.asarray(x), *shapes)

    def _executable(self, name: Hashable, x: Inputs, *V: np.ndarray | jax.ShapeDtypeStruct) -> Executable:
        """The compiled program for arguments of these shapes."""
        key = self._key(name, x, *V)
        if key not in self._known:
            traced = self._known.pop(("operations", key), None) or self._operations(name, x, *V)
            # A compiler of a ResNet20 needs some 200 MiB, on top of what is free inside this process but not its own.
            release()
            self._known[key] = traced.lower().compile()
            release()
        return cast(Executable, self._known[key])

    def _function(self, name: Hashable) -> Callable[..., PyTree]:
        if name == "features":
            return self._call
        if name == "pull":
            return jax_functions.pulling(self._call)
        if isinstance(name, tuple):
            return jax_functions.contracting(self._traced, name[1])
        if name == "factors":
            return jax_functions.factoring(self._traced, [layer.leaf for layer in self.layers])
        if name == "pieces":
            return jax_functions.factoring(self._traced, by_layer.apart(self._traced.layers))
        return jax_functions.row_by_row(self._traced, _on_cpu())

    def features(self, x: Inputs) -> Float64[np.ndarray, "B n"]:
        """h(x_i)."""
        with running("features", *self._not_run):
            return np.asarray(self._executable("features", x)(*self._arrays, jnp.asarray(x)), np.float64)

    def rows_begun(self, x: Inputs, V: Directions) -> jax.Array:
        """See `PromisingBackend`: JAX hands programs over and goes on. On CPU the columns of a layer are turned."""
        V = np.asarray(V, dtype=np.float32)
        rows: jax.Array = self._executable("rows", x, V)(*self._arrays, jnp.asarray(x), jnp.asarray(V))
        return rows

    def rows(self, x: Inputs, V: Directions) -> Float[np.ndarray, "B k P"]:
        """Gradients of v_k . h(x_i)."""
        return self.ordered(np.asarray(self.rows_begun(x, V)))

    def ordered(self, rows: Float[np.ndarray, "B k P"]) -> Float[np.ndarray, "B k P"]:
        """See `PromisingBackend`."""
        if not _on_cpu():
            return rows
        return jax_functions.straightened(self._traced, [size for _, size in self.columns], rows)

    def factors(self, x: Inputs, V: Directions) -> Factors:
        """The same in parts."""
        V = np.asarray(V, dtype=np.float32)
        found = self._executable("factors", x, V)(*self._arrays, jnp.asarray(x), jnp.asarray(V))
        return Factors(*jax.tree.map(np.asarray, found))

    def contractible(self, x: Inputs, k: int, limit: int) -> int:
        """See `ContractingBackend`: on an accelerator as many as its memory holds the rows of."""
        if _on_cpu():
            layers = self._traced.layers
            # Where all of them win, there are no gradients that would be written out.
            pays = any(not layer.wins for layer in layers)
            return (
                min(k, by_layer.DIRECTIONS)
                if pays and by_layer.together(layers, self.P, len(x), limit)
                else 0
            )
        count: int = min(k, CONTRACTED, device_memory() // (ROWS * 4 * len(x) * self.P))
        return count

    def contracted(
        self,
        x: Inputs,
        V: Directions,
        counts: np.ndarray | None,
        limit: int,
    ) -> tuple[Float64[np.ndarray, "k N N"], Float64[np.ndarray, "k N"]]:
        """See `ContractingBackend`."""
        if _on_cpu():
            return self._by_layer(x, V, counts, limit)
        # Filled up to a power of two: the last, smaller group of directions is then rarely a program of its own.
        given = np.zeros((1 << (len(V) - 1).bit_length(), self.n), np.float32)
        given[: len(V)] = V
        name = ("contracted", (len(x),) if counts is None else tuple(int(m) for m in counts))
        found = self._executable(name, x, given)(*self._arrays, jnp.asarray(x), jnp.asarray(given))
        K, deviations = (np.asarray(part, np.float64)[: len(V)] for part in found)
        return K, deviations

    def _by_layer(
        self, x: Inputs, V: Directions, counts: np.ndarray | None, limit: int
    ) -> tuple[Float64[np.ndarray, "k N N"], Float64[np.ndarray, "k N"]]:
        layers = self._traced.layers
        most = min(len(V), by_layer.together(layers, self.P, len(x), limit))
        # As even groups as there can be.
        most = -(-len(V) // -(-len(V) // most))
        # What one call may need: a third of `limit`, as `Budget.workspace` shares it out.
        shape = self._shrink("pieces", x, max(1, by_layer.CALL // most), most, limit // 3)

        def prepare(rows: np.ndarray, chosen: Directions) -> by_layer.Call:
            some = x[rows]
            # Compiled, and given its arrays, here: JAX's settings are those of the thread.
            program = self._executable("pieces", some, chosen)
            return partial(program, *self._arrays, jnp.asarray(some), jnp.asarray(chosen))

        kept = by_layer.apart(layers)
        apart = [layer for layer in layers if layer.leaf in kept]
        return by_layer.contracted(prepare, apart, len(x), V, counts, shape)

    def pull(self, x: Inputs, cotangents: Float[np.ndarray, "k B n"]) -> Float[np.ndarray, "k P"]:
        """Gradients of sum_i cotangent_ki . h(x_i)."""
        V = np.asarray(cotangents, dtype=np.float32)
        return np.asarray(self._executable("pull", x, V)(*self._arrays, jnp.asarray(x), jnp.asarray(V)))

    def moments(self, x: Inputs, V: Directions, fresh: np.ndarray) -> Moments:
        """Of the rows of the fresh samples; on an accelerator without taking the rows from it."""
        rows = self.rows_begun(x, V)
        if _on_cpu():
            found = moments_of(np.asarray(rows)[fresh])
            return found._replace(total=self.ordered(found.total[None])[0])
        total, *parts = jax_functions.moments(rows, jnp.asarray(fresh, jnp.float32))
        return Moments(np.asarray(total), *(np.asarray(p).sum(axis=(0, 2), dtype=np.float64) for p in parts))

    def tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `rows`."""
        if _on_cpu():
            # Few gradients of large networks, and few samples, stay in the cache.
            most = min(max(16, CACHED // self.P), 256)
            k = min(k, most)
            return self._shrink("rows", x, max(1, most // max(k, 4)), k, limit)
        k = min(k, 256)
        return self._shrink("rows", x, 256 // k, k, limit)

    def factor_tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `factors`."""
        most = 64 if _on_cpu() else 1024
        k = min(k, most)
        return self._shrink("factors", x, max(1, most // k), k, limit)

    def batch(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `pull`."""
        return self._shrink("pull", x, 64 if _on_cpu() else 1024, min(k, 4), limit)

    def pull_bytes(self, x: Inputs, k: int) -> int:
        """What `pull` of k directions on all of x at once needs."""
        return self._needed("pull", x, k)

    def _needed(self, name: str, x: Inputs, k: int) -> int:
        """By its program where that is compiled, else by its operations."""
        V = self._directions(name, x, k)
        key = self._key(name, x, V)
        if key in self._known:
            analysis = self._known[key].memory_analysis()
            # The output twice: on the device and as numpy.
            return 0 if analysis is None else analysis.temp_size_in_bytes + 2 * analysis.output_size_in_bytes
        if ("needed", key) not in self._known:
            traced = self._operations(name, x, V)
            inside, results = needed_bytes(traced.jaxpr)
            self._known["needed", key] = inside + 2 * results
            # Whoever has it compiled next need not trace it again.
            self._known["operations", key] = traced
        found: int = self._known["needed", key]
        return found

    def _shrink(self, name: str, x: Inputs, samples: int, k: int, limit: int) -> tuple[int, int]:
        samples = min(samples, len(x))
        while samples * k > 1 and not self._fits(name, x[:samples], k, limit):
            samples, k = (samples, (k + 1) // 2) if k > 1 else (samples // 2, 1)
        return samples, k

    def _fits(self, name: str, x: Inputs, k: int, limit: int) -> bool:
        """Of what does not nothing is compiled, unless its operations promise less than its program needs."""
        V = self._directions(name, x, k)
        if self._needed(name, x, k) > limit:
            self._known.pop(("operations", self._key(name, x, V)), None)
            return False
        self._executable(name, x, V)
        return self._needed(name, x, k) <= limit

    def _directions(self, name: str, x: Inputs, k: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((k, len(x), self.n) if name == "pull" else (k, self.n), jnp.float32)

    def fingerprint(self) -> bytes:
        """What is computed, with what closed-over numbers, and the parameters and constants."""
        found = hashlib.sha256(self._computation + repr(jax.tree.structure(self._arrays)).encode())
        for leaf in jax.tree.leaves(self._arrays):
            found.update(content(leaf if hasattr(leaf, "dtype") else np.asarray(leaf)))
        return found.digest()


def _on_cpu() -> bool:
    found: bool = jax.default_backend() == "cpu"
    return found
