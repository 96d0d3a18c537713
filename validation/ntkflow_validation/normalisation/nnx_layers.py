"""Batch normalisation of Flax NNX: layers that tell what they are given, when somebody asks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy as copy_of
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ntkflow.errors import InputError
from ntkflow_validation.normalisation.watched import (
    Forward,
    Path,
    Seen,
    Statistics,
    Stored,
    once_each,
    running,
)
from ntkflow_validation.precision import full


class _Asked(NamedTuple):
    found: list[Seen]
    own: bool


_ASKED: ContextVar[_Asked | None] = ContextVar("asked", default=None)


@contextmanager
def watching(own: bool) -> Iterator[list[Seen]]:
    """Collects what watched layers are given meanwhile; `own` normalises by the batch, else by what is stored."""
    asked = _Asked([], own)
    token = _ASKED.set(asked)
    try:
        yield asked.found
    finally:
        _ASKED.reset(token)


def asked() -> _Asked | None:
    """What `watching` collects at the moment, for layers that are told by hand; None where nobody asks."""
    return _ASKED.get()


def watch(module: nnx.Module) -> None:
    """Make the layers of batch normalisation tell `watching` what they are given; nothing else changes in them."""
    for path, layer in layers_of(module):
        layer.__class__ = _telling(type(layer))
        layer.watched_path = path  # type: ignore[attr-defined]


def layers_of(module: nnx.Module) -> Iterator[tuple[Path, nnx.BatchNorm]]:
    """Every batch normalisation with its path."""
    for path, node in nnx.iter_graph(module):
        if isinstance(node, nnx.BatchNorm):
            yield tuple(path), node


@cache
def _telling(kind: type[nnx.BatchNorm]) -> type[nnx.BatchNorm]:
    # A class of its own, since a module is called through its type; made once, so that compilations are found again.
    def call(
        self: Any, x: jax.Array, use_running_average: bool | None = None, *, mask: Any = None
    ) -> jax.Array:
        asked = _ASKED.get()
        if asked is not None:
            asked.found.append(seen(self.watched_path, x, self.axis, mask))
            use_running_average = not asked.own
        found: jax.Array = kind.__call__(self, x, use_running_average=use_running_average, mask=mask)
        return found

    return type(f"Watched{kind.__name__}", (kind,), {"__call__": call, "__doc__": kind.__doc__})


def seen(path: Path, x: jax.Array, axis: int | tuple[int, ...], mask: Any = None) -> Seen:
    """Moments of each sample over its positions, in float32 at least.

    Raises:
        InputError: some positions are masked.
    """
    if mask is not None:
        raise InputError("network", "a mask", "batch normalisation of some positions only", "leave it out")
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    kept = {a % x.ndim for a in np.atleast_1d(np.asarray(axis)).tolist()}
    positions = tuple(a for a in range(1, x.ndim) if a not in kept)
    first = x.mean(positions, keepdims=True)
    return Seen(path, first.reshape(len(x), -1), ((x - first) ** 2).mean(positions).reshape(len(x), -1))


def on_host(paths: list[Path], moments: list[tuple[Any, Any]]) -> list[Seen]:
    """What a compiled pass gave, in float64."""
    arrays = [tuple(np.asarray(a, np.float64) for a in pair) for pair in moments]
    return once_each([Seen(path, *pair) for path, pair in zip(paths, arrays, strict=True)])


@contextmanager
def inlined() -> Iterator[None]:
    """Functions that a user compiled are traced anew in it, as a part of whatever calls them.

    They would be remembered as they are while layers are watched, for the user's own calls too.
    """
    with jax.disable_jit():
        yield


def _compiled(structure: Any, forward: Forward, paths: dict[bool, list[Path]]) -> Any:
    """The moments of what layers are given, as a function of (state, x, own) that is compiled once."""

    def moments(state: Any, x: jax.Array, own: bool) -> list[tuple[Any, Any]]:
        with inlined(), watching(own) as found:
            forward(nnx.merge(structure, state), x)
        # Traced once; the order of the calls is part of the trace.
        paths[own] = [s.path for s in found]
        return [(s.first, s.within) for s in found]

    return jax.jit(full(moments), static_argnums=2)


def by_batch(module: nnx.Module) -> nnx.Module:
    """A copy in inference mode whose batch normalisations alone are in training mode."""
    copy = nnx.clone(module)
    copy.eval()
    for _, layer in layers_of(copy):
        layer.use_running_average = False
    return copy


class NnxNetwork:
    """A module's copy with its layers watched; see `Watched`.

    Attributes:
        result: the module that statistics are written into.
    """

    def __init__(self, module: nnx.Module, forward: Forward | None, copy: bool) -> None:
        self._forward = forward or (lambda net, x: net(x))
        self._paths: dict[bool, list[Path]] = {}
        self._graph, state = nnx.split(module)
        inference = nnx.merge(self._graph, state, copy=True)
        inference.eval()
        watch(inference)
        self._structure, _ = nnx.split(inference)
        self._run = _compiled(self._structure, self._forward, self._paths)
        self.result: Any = nnx.merge(self._graph, state, copy=True) if copy else module
        # Arrays of the result, of which inference mode has the same; None where the result has others by now.
        self._state: Any = state

    def again(self, network: nnx.Module) -> "NnxNetwork":
        """See `Watched.again`."""
        graph, state = nnx.split(network)
        if graph != self._graph:
            return NnxNetwork(network, self._forward, copy=True)
        found = copy_of(self)
        found.result, found._state = nnx.merge(graph, state, copy=True), state
        return found

    def release(self) -> None:
        """See `Watched.release`."""
        self.result = self._state = None

    def look(self, x: Any, own: bool) -> list[Seen]:
        """See `Watched.look`."""
        if self._state is None:
            self._state = nnx.state(self.result)
        with running():
            moments = self._run(self._state, jnp.asarray(x), own)
        return on_host(self._paths[own], moments)

    def stored(self) -> dict[Path, Stored]:
        """See `Watched.stored`."""
        return {
            path: Stored(
                np.asarray(layer.mean[...], np.float64), np.asarray(layer.var[...], np.float64), layer.epsilon
            )
            for path, layer in layers_of(self.result)
        }

    def store(self, statistics: Mapping[Path, Statistics]) -> None:
        """See `Watched.store`."""
        layers = dict(layers_of(self.result))
        for path, found in statistics.items():
            layer = layers[path]
            layer.mean[...] = jnp.asarray(found.mean, layer.mean[...].dtype)
            layer.var[...] = jnp.asarray(found.var, layer.var[...].dtype)
        self._state = None
