"""Networks of Flax Linen and Equinox as bodies of Flax NNX, so that training and kernels see one kind."""

import inspect

import jax
from flax import linen, nnx
from jaxtyping import PyTree

from ntkflow.foreign.modules import ForeignNetwork
from ntkflow_validation.normalisation.linen import STATISTICS, intercepting
from ntkflow_validation.normalisation.nnx_layers import asked

# The arguments by which a Linen module is told that it trains, and what they are then.
FLAGS = {"train": True, "training": True, "use_running_average": False, "deterministic": False}


class Fixed:
    """What of a network is no array. Compared by identity: whoever merges a structure finds its own again."""

    def __init__(self, value: PyTree) -> None:
        self.value = value


class LinenBody(nnx.Module):
    """A Linen module with its variables.

    Args:
        module: from (B, ...) to (B, n).
        variables: its collections, "params" and perhaps "batch_stats".
    """

    def __init__(self, module: linen.Module, variables: PyTree) -> None:
        self.fixed = Fixed(module)
        self.flags = tuple(
            name for name in inspect.signature(type(module).__call__).parameters if name in FLAGS
        )
        self.use_running_average = False
        self.params = nnx.data(jax.tree.map(nnx.Param, variables["params"]))
        self.statistics = nnx.data(jax.tree.map(nnx.BatchStat, variables.get(STATISTICS, {})))

    def __call__(self, x: jax.Array) -> PyTree:
        """Features, (B, n)."""
        variables = {"params": _values(self.params)}
        if self.statistics:
            variables[STATISTICS] = _values(self.statistics)
        module, watched = self.fixed.value, asked()
        if watched is not None:
            with intercepting(watched.found, watched.own, ("body", "statistics")):
                # What the layers write is dropped: their inputs are looked at, and told to whoever asked.
                return module.apply(variables, x, **self._mode(False), mutable=[*variables])[0]
        trains = not self.use_running_average
        if not (trains and self.statistics and self.flags):
            return module.apply(variables, x, **self._mode(trains))
        found, written = module.apply(variables, x, **self._mode(True), mutable=[STATISTICS])
        held = jax.tree.leaves(self.statistics, is_leaf=_is_variable)
        for leaf, new in zip(held, jax.tree.leaves(written[STATISTICS]), strict=True):
            leaf[...] = new
        return found

    def _mode(self, trains: bool) -> dict[str, bool]:
        return {name: FLAGS[name] is trains for name in self.flags}


class EquinoxBody(nnx.Module):
    """An Equinox module, which sees one sample, applied to each of a batch.

    Args:
        module: from (...) to (n,).
    """

    def __init__(self, module: ForeignNetwork) -> None:
        import equinox

        arrays, rest = equinox.partition(module, equinox.is_inexact_array)
        leaves, structure = jax.tree_util.tree_flatten_with_path(arrays)
        names = [
            jax.tree_util.keystr(path, simple=True, separator=".").replace(".", "_") for path, _ in leaves
        ]
        self.fixed = Fixed((structure, rest, tuple(names)))
        self.params = nnx.data({name: nnx.Param(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)})

    def __call__(self, x: jax.Array) -> PyTree:
        """Features, (B, n)."""
        import equinox

        structure, rest, names = self.fixed.value
        arrays = jax.tree.unflatten(structure, [self.params[name][...] for name in names])
        return jax.vmap(equinox.combine(arrays, rest))(x)


def _values(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[...], tree, is_leaf=_is_variable)


def _is_variable(node: object) -> bool:
    return isinstance(node, nnx.Variable)
