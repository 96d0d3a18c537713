"""Batch normalisation of Flax Linen, watched as its calls are intercepted."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from copy import copy

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jaxtyping import PyTree

from ntkflow.errors import InputError
from ntkflow.foreign.arrays import Rows
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow_validation.normalisation.nnx_layers import Pass, inlined, seen
from ntkflow_validation.normalisation.watched import AtOnce, Forward, Path, Seen, Statistics, Stored, pooled

STATISTICS = "batch_stats"
_FREE = "_normalised"
Call = Callable[[ForeignNetwork, jax.Array], PyTree]


class LinenNetwork:
    """A function of the variables of Linen modules, their layers watched; see `Watched`.

    Args:
        call: call(variables, x), which applies the modules.
        network: what it takes: a mapping with "params" and "batch_stats", or a state that has these by name.
    """

    def __init__(self, call: Call, network: ForeignNetwork) -> None:
        self._network: ForeignNetwork = network
        self._epsilons = dict[Path, float]()
        self._pass = _pass(call, self._epsilons)

    def again(self, network: ForeignNetwork) -> "LinenNetwork":
        """See `Watched.again`."""
        found = copy(self)
        found._network = network
        return found

    def bare(self) -> "LinenNetwork":
        """See `Watched.bare`."""
        return self.again(None)

    def result(self) -> ForeignNetwork:
        """See `Watched.result`; what was given is left as it is."""
        return self._network

    def look(self, x: Rows) -> list[Seen]:
        """See `Watched.look`."""
        return self._pass.look(self._network, x)

    def at_once(self, x: Rows) -> AtOnce:
        """See `Watched.at_once`."""
        return self._pass.at_once(self._network, x)

    def stored(self) -> dict[Path, Stored]:
        """See `Watched.stored`."""
        return {
            path: Stored(
                np.asarray(leaf["mean"], np.float64),
                np.asarray(leaf["var"], np.float64),
                self._epsilons.get(path, 1e-5),
            )
            for path, leaf in _layers(statistics_of(self._network) or {}, ())
        }

    def store(self, statistics: Mapping[Path, Statistics]) -> None:
        """See `Watched.store`."""
        tree = statistics_of(self._network)
        for path, found in statistics.items():
            tree = _with(tree, path, found)
        if isinstance(self._network, Mapping):
            kind: Callable[..., PyTree] = type(self._network)
            self._network = kind({**self._network, STATISTICS: tree})
        else:
            self._network = self._network.replace(**{STATISTICS: tree})


def statistics_of(network: ForeignNetwork) -> PyTree:
    """The running statistics in the variables of a Linen module, or in a state that has them by name; None without."""
    found = network.get(STATISTICS) if isinstance(network, Mapping) else getattr(network, STATISTICS, None)
    return found if isinstance(found, Mapping) and found else None


def call_of(module: linen.Module, variables: PyTree, forward: Forward | None) -> Call:
    """The module as such a function.

    Raises:
        InputError: these are no variables of it.
    """
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise InputError(
            "variables",
            type(variables).__name__,
            "must be the collections of the Linen module, with 'params' and 'batch_stats'",
            "give what module.init returned, or {'params': ..., 'batch_stats': ...}",
        )
    method = forward or (lambda net, x: net(x))
    # What layers write is dropped.
    return lambda variables, x: module.apply(variables, x, method=method, mutable=[*variables])[0]


def _pass(call: Call, epsilons: dict[Path, float]) -> Pass:
    """A pass through the function, of the variables and x."""

    def told(variables: PyTree, x: jax.Array, own: bool) -> tuple[PyTree, list[Seen]]:
        found: list[Seen] = []
        with intercepting(found, own, (), epsilons):
            outputs = call(variables, x)
        return outputs, found

    return Pass(told)


def by_batch(call: Call) -> Call:
    """The function with its layers normalising by the batch, whatever mode it runs them in."""

    def coupled(variables: PyTree, x: jax.Array) -> PyTree:
        with inlined(), intercepting([], True):
            return call(variables, x)

    return coupled


def intercepting(
    found: list[Seen], own: bool, prefix: Path = (), epsilons: dict[Path, float] | None = None
) -> AbstractContextManager[None]:
    """A context in which batch normalisations of Linen modules tell what they are given.

    Args:
        found: what they tell, in the order of their calls.
        own: normalise by the batch itself, else by what is stored.
        prefix: before the path of a layer.
        epsilons: what each adds to its variance, where that is wanted.
    """

    def intercept(
        call: Callable[..., PyTree],
        args: tuple[PyTree, ...],
        kwargs: dict[str, PyTree],
        context: linen.module.InterceptorContext,
    ) -> PyTree:
        layer = context.module
        # What is free is the layer that `_normalised` applies.
        if not isinstance(layer, linen.BatchNorm) or context.method_name != "__call__" or layer.name == _FREE:
            return call(*args, **kwargs)
        inputs = args[0] if args else kwargs["x"]
        told = seen((*prefix, *layer.path), inputs, layer.axis, kwargs.get("mask"))
        found.append(told)
        if epsilons is not None:
            epsilons[layer.path] = layer.epsilon
        if own:
            return _normalised(layer, inputs, pooled(told))
        # A constructor may fix the mode, and then a call may not name it too.
        fixed = layer.use_running_average
        if fixed is None:
            return call(inputs, use_running_average=True)
        object.__setattr__(layer, "use_running_average", True)
        try:
            return call(inputs)
        finally:
            object.__setattr__(layer, "use_running_average", fixed)

    context: AbstractContextManager[None] = linen.intercept_methods(intercept)
    return context


def _normalised(layer: linen.BatchNorm, x: jax.Array, by: Statistics) -> PyTree:
    """What the layer gives with these statistics; nothing is written, so that its variables need not be mutable."""
    free = layer.clone(parent=None, name=_FREE, use_running_average=True)
    stored = layer.variables[STATISTICS]
    leaves = {
        name: jnp.reshape(value, jnp.shape(stored[name])).astype(jnp.asarray(stored[name]).dtype)
        for name, value in by._asdict().items()
    }
    return free.apply({**layer.variables, STATISTICS: leaves}, x)


def _layers(tree: PyTree, path: Path) -> PyTree:
    if "mean" in tree and "var" in tree and not isinstance(tree["mean"], Mapping):
        yield path, tree
        return
    for key, branch in tree.items():
        if isinstance(branch, Mapping):
            yield from _layers(branch, (*path, key))


def _with(tree: PyTree, path: Path, found: Statistics) -> PyTree:
    """The tree with the leaves of one layer exchanged; nothing of it is written to."""
    if path:
        return type(tree)({**tree, path[0]: _with(tree[path[0]], path[1:], found)})
    new = {
        name: jnp.asarray(value, jnp.asarray(tree[name]).dtype).reshape(jnp.shape(tree[name]))
        for name, value in found._asdict().items()
    }
    return type(tree)({**tree, **new})
