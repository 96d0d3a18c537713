"""Batch normalisation of Flax NNX: layers that tell what they are given, when somebody asks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy as copy_of
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from ntkflow._types import Array
from ntkflow.errors import InputError
from ntkflow.foreign.arrays import Rows
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow_validation.normalisation.watched import (
    AtOnce,
    Forward,
    Path,
    Seen,
    Statistics,
    Stored,
    once_each,
    pooled,
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
        self: ForeignNetwork,
        x: jax.Array,
        use_running_average: bool | None = None,
        *,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        asked = _ASKED.get()
        if asked is not None:
            told = seen(self.watched_path, x, self.axis, mask)
            asked.found.append(told)
            if asked.own:
                # Not what training mode would compute, E x^2 - (E x)^2, which large means take the digits from.
                _write(self, pooled(told))
            use_running_average = True
        found: jax.Array = kind.__call__(self, x, use_running_average=use_running_average, mask=mask)
        return found

    return type(f"Watched{kind.__name__}", (kind,), {"__call__": call, "__doc__": kind.__doc__})


def seen(path: Path, x: jax.Array, axis: int | tuple[int, ...], mask: jax.Array | None = None) -> Seen:
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


def _write(layer: nnx.BatchNorm, found: Statistics) -> None:
    layer.mean[...] = jnp.asarray(found.mean, layer.mean[...].dtype)
    layer.var[...] = jnp.asarray(found.var, layer.var[...].dtype)


class Pass:
    """A pass through a network whose layers tell what they are given, compiled once.

    Args:
        told: of (network, x, own): its outputs, and what the layers tell, normalising by the batch (`own`) or by what is stored.
    """

    def __init__(self, told: Callable[[PyTree, jax.Array, bool], tuple[PyTree, list[Seen]]]) -> None:
        self._paths: dict[bool, list[Path]] = {}

        def found(
            network: PyTree, x: jax.Array, own: bool
        ) -> tuple[jax.Array | None, list[tuple[Array, Array]]]:
            with inlined():
                outputs, layers = told(network, x, own)
            # Traced once; the order of the calls is part of the trace.
            self._paths[own] = once_each([s.path for s in layers])
            if not own:
                return None, [(s.first, s.within) for s in layers]
            numbers = isinstance(outputs, jax.Array) and jnp.issubdtype(outputs.dtype, jnp.floating)
            return outputs if numbers else None, [tuple(pooled(s)) for s in layers]

        self._run = jax.jit(full(found), static_argnums=2)
        self._moved: tuple[Rows | None, jax.Array | None] = None, None

    def look(self, network: PyTree, x: Rows) -> list[Seen]:
        """See `Watched.look`."""
        with running():
            _, moments = self._run(network, self._on_device(x), False)
        return [
            Seen(path, *map(_on_host, pair)) for path, pair in zip(self._paths[False], moments, strict=True)
        ]

    def at_once(self, network: PyTree, x: Rows) -> AtOnce:
        """See `Watched.at_once`."""
        with running():
            outputs, pairs = self._run(network, self._on_device(x), True)
        statistics = {
            path: Statistics(*map(_on_host, pair))
            for path, pair in zip(self._paths[True], pairs, strict=True)
        }
        return AtOnce(None if outputs is None else _on_host(outputs), statistics)

    def _on_device(self, x: Rows) -> jax.Array | None:
        """The inputs, moved once as long as they are the same array: a recorder passes them again and again."""
        if self._moved[0] is not x:
            self._moved = x, jnp.asarray(x)
        return self._moved[1]


def _on_host(a: jax.Array) -> np.ndarray:
    return np.asarray(a, np.float64)


@contextmanager
def inlined() -> Iterator[None]:
    """Functions that a user compiled are traced anew in it, as a part of whatever calls them.

    They would be remembered as they are while layers are watched, for the user's own calls too.
    """
    with jax.disable_jit():
        yield


def _pass(structure: nnx.GraphDef[nnx.Module], forward: Forward) -> Pass:
    """A pass through the module of this structure, of whose state it is a function."""

    def told(state: PyTree, x: jax.Array, own: bool) -> tuple[PyTree, list[Seen]]:
        with watching(own) as found:
            outputs = forward(nnx.merge(structure, state), x)
        return outputs, found

    return Pass(told)


def by_batch(module: nnx.Module) -> nnx.Module:
    """A copy in inference mode whose batch normalisations alone are in training mode."""
    copy = nnx.clone(module)
    copy.eval()
    for _, layer in layers_of(copy):
        layer.use_running_average = False
    return copy


class NnxNetwork:
    """A module's copy with its layers watched; see `Watched`."""

    def __init__(self, module: nnx.Module, forward: Forward | None, copy: bool) -> None:
        self._forward = forward or (lambda net, x: net(x))
        self._graph, state = nnx.split(module)
        inference = nnx.merge(self._graph, state, copy=True)
        inference.eval()
        watch(inference)
        structure, _ = nnx.split(inference)
        self._pass = _pass(structure, self._forward)
        self._result: nnx.Module | None = None if copy else module
        # Arrays of the result, of which inference mode has the same; None where the result has others by now.
        self._state: PyTree = state

    def result(self) -> ForeignNetwork:
        """See `Watched.result`."""
        if self._result is None:
            self._result = nnx.merge(self._graph, self._state, copy=True)
        return self._result

    def again(self, network: nnx.Module) -> "NnxNetwork":
        """See `Watched.again`."""
        graph, state = nnx.split(network)
        if graph != self._graph:
            return NnxNetwork(network, self._forward, copy=True)
        found = copy_of(self)
        found._result, found._state = None, state
        return found

    def bare(self) -> "NnxNetwork":
        """See `Watched.bare`."""
        found = copy_of(self)
        found._result = found._state = None
        return found

    def look(self, x: Rows) -> list[Seen]:
        """See `Watched.look`."""
        return self._pass.look(self._current(), x)

    def at_once(self, x: Rows) -> AtOnce:
        """See `Watched.at_once`."""
        return self._pass.at_once(self._current(), x)

    def stored(self) -> dict[Path, Stored]:
        """See `Watched.stored`."""
        return {
            path: Stored(
                np.asarray(layer.mean[...], np.float64), np.asarray(layer.var[...], np.float64), layer.epsilon
            )
            for path, layer in layers_of(self.result())
        }

    def store(self, statistics: Mapping[Path, Statistics]) -> None:
        """See `Watched.store`."""
        layers = dict(layers_of(self.result()))
        for path, found in statistics.items():
            _write(layers[path], found)
        self._state = None

    def _current(self) -> PyTree:
        if self._state is None:
            self._state = nnx.state(self.result())
        return self._state
