"""Batch normalisation of Flax Linen, watched as its calls are intercepted."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from ntkflow.errors import InputError
from ntkflow_validation.normalisation.nnx_layers import on_host, seen
from ntkflow_validation.normalisation.watched import Forward, Path, Seen, Statistics, Stored, running
from ntkflow_validation.precision import full

STATISTICS = "batch_stats"


class LinenNetwork:
    """A module and its variables, its layers watched; see `Watched`.

    Attributes:
        result: the variables with what was stored in them; those that were given are left as they are.
    """

    def __init__(self, module: linen.Module, variables: Any, forward: Forward | None) -> None:
        if not isinstance(variables, Mapping) or "params" not in variables:
            raise InputError(
                "variables",
                type(variables).__name__,
                "must be the collections of the Linen module, with 'params' and 'batch_stats'",
                "give what module.init returned, or {'params': ..., 'batch_stats': ...}",
            )
        self.result: Any = variables
        self._module, self._forward = module, forward or (lambda net, x: net(x))
        self._epsilons: dict[Path, float] = {}
        self._paths: dict[bool, list[Path]] = {}
        self._run = jax.jit(full(self._moments), static_argnums=2)

    def _moments(self, variables: Any, x: jax.Array, own: bool) -> list[tuple[Any, Any]]:
        found: list[Seen] = []
        with intercepting(found, own, (), self._epsilons):
            # What layers write is dropped: only the inputs are wanted.
            self._module.apply(variables, x, method=self._forward, mutable=[*variables])
        self._paths[own] = [s.path for s in found]
        return [(s.first, s.within) for s in found]

    def look(self, x: Any, own: bool) -> list[Seen]:
        """See `Watched.look`."""
        with running():
            moments = self._run(self.result, jnp.asarray(x), own)
        return on_host(self._paths[own], moments)

    def stored(self) -> dict[Path, Stored]:
        """See `Watched.stored`."""
        return {
            path: Stored(
                np.asarray(leaf["mean"], np.float64),
                np.asarray(leaf["var"], np.float64),
                self._epsilons.get(path, 1e-5),
            )
            for path, leaf in _layers(self.result.get(STATISTICS, {}), ())
        }

    def store(self, statistics: Mapping[Path, Statistics]) -> None:
        """See `Watched.store`."""
        tree = self.result[STATISTICS]
        for path, found in statistics.items():
            tree = _with(tree, path, found)
        self.result = type(self.result)({**self.result, STATISTICS: tree})


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

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if not isinstance(layer, linen.BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        inputs = args[0] if args else kwargs["x"]
        found.append(seen((*prefix, *layer.path), inputs, layer.axis, kwargs.get("mask")))
        if epsilons is not None:
            epsilons[layer.path] = layer.epsilon
        # A constructor may fix the mode, and then a call may not name it too.
        fixed = layer.use_running_average
        if fixed is None:
            return call(inputs, use_running_average=not own)
        object.__setattr__(layer, "use_running_average", not own)
        try:
            return call(inputs)
        finally:
            object.__setattr__(layer, "use_running_average", fixed)

    context: AbstractContextManager[None] = linen.intercept_methods(intercept)
    return context


def _layers(tree: Any, path: Path) -> Any:
    if "mean" in tree and "var" in tree and not isinstance(tree["mean"], Mapping):
        yield path, tree
        return
    for key, branch in tree.items():
        if isinstance(branch, Mapping):
            yield from _layers(branch, (*path, key))


def _with(tree: Any, path: Path, found: Statistics) -> Any:
    """The tree with the leaves of one layer exchanged; nothing of it is written to."""
    if path:
        return type(tree)({**tree, path[0]: _with(tree[path[0]], path[1:], found)})
    new = {
        name: jnp.asarray(value, jnp.asarray(tree[name]).dtype).reshape(jnp.shape(tree[name]))
        for name, value in found._asdict().items()
    }
    return type(tree)({**tree, **new})
