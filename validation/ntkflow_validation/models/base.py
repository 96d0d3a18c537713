"""What every architecture gives: `features(x)` and a linear `head`, as a module and as pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from ntkflow.errors import InputError
from ntkflow_validation.normalisation.nnx_layers import watch, watching
from ntkflow_validation.normalisation.watched import Path, pooled
from ntkflow_validation.precision import full

Tree: TypeAlias = PyTree


class Classifier(nnx.Module):
    """f(x) = W h(x) + b with h = `body`; b = 0 for a head without bias. Source: eq. (1).

    Args:
        body: module from a batch of inputs (B, ...) to features (B, n).
        head: dense layer from n features to C outputs.
    """

    def __init__(self, body: nnx.Module, head: nnx.Linear) -> None:
        self.body = body
        self.head = head

    def features(self, x: jax.Array) -> jax.Array:
        """Last-layer features h(x), (B, n)."""
        found: jax.Array = self.body(x)
        return found

    def __call__(self, x: jax.Array) -> jax.Array:
        """Outputs f(x), (B, C)."""
        return self.head(self.features(x))


class Variables(NamedTuple):
    """All numbers of a network, as nested plain dicts of float32 arrays.

    Attributes:
        params: trained parameters, {"body": ..., "head": {"kernel", "bias"}}; a head without bias has none.
        statistics: running statistics of batch normalisation; empty without it.
    """

    params: Tree
    statistics: Tree

    def named(self) -> dict[str, np.ndarray]:
        """Every array under its path, such as params.body.conv1.kernel."""
        return named_leaves(self._asdict())

    def check_finite(self) -> None:
        """Raise InputError naming the first parameter that is not finite."""
        for name, value in self.named().items():
            bad = value.size - int(np.isfinite(value).sum())
            if bad:
                raise InputError(
                    name,
                    f"array with {bad} NaN or infinite entries",
                    "must be finite",
                    "use an earlier snapshot",
                )


@dataclass(frozen=True, eq=False)
class Network:
    """A classifier as pure functions of its variables.

    Attributes:
        graph_train: structure with normalisation in training mode.
        graph_eval: structure in inference mode, in which samples do not see each other.
        graph_watched: structure in inference mode whose normalisations tell what they are given.
        initial: variables at initialisation.
    """

    graph_train: nnx.GraphDef["Classifier"]
    graph_eval: nnx.GraphDef["Classifier"]
    graph_watched: nnx.GraphDef["Classifier"]
    initial: Variables

    @classmethod
    def from_module(cls, module: Classifier) -> "Network":
        """Split a module into structure and variables."""
        module.train()
        graph_train, params, rest = _split(module)
        module.eval()
        graph_eval, _, _ = _split(module)
        watch(module)
        graph_watched, _, _ = _split(module)
        initial = Variables(nnx.to_pure_dict(params), nnx.to_pure_dict(rest))
        return cls(graph_train, graph_eval, graph_watched, initial)

    def train_outputs(self, params: Tree, statistics: Tree, x: jax.Array) -> tuple[jax.Array, Tree]:
        """Outputs in training mode, (B, C), and the updated running statistics."""
        module = nnx.merge(self.graph_train, params, statistics)
        outputs = module(x)
        _, _, rest = _split(module)
        return outputs, nnx.to_pure_dict(rest)

    def outputs(self, params: Tree, statistics: Tree, x: jax.Array) -> jax.Array:
        """Outputs in inference mode, (B, C)."""
        module: Classifier = nnx.merge(self.graph_eval, params, statistics)
        return module(x)

    def calibrated(self, params: Tree, statistics: Tree, x: jax.Array) -> Tree:
        """The statistics of one batch: with them inference gives what training mode gives on this batch."""
        with watching(own=True) as found:
            nnx.merge(self.graph_watched, params, statistics)(x)
        for seen in found:
            statistics = _with(statistics, seen.path, pooled(seen)._asdict())
        return statistics

    def features(self, params: Tree, statistics: Tree, x: jax.Array) -> jax.Array:
        """Features in inference mode, (B, n)."""
        found: jax.Array = nnx.merge(self.graph_eval, params, statistics).features(x)
        return found

    @cached_property
    def compiled_features(self) -> Callable[[Tree, Tree, jax.Array], jax.Array]:
        """`features` in float32 on every device, compiled once."""
        return jax.jit(full(self.features))

    @cached_property
    def compiled_calibrated(self) -> Callable[[Tree, Tree, jax.Array], Tree]:
        """`calibrated` in float32 on every device, compiled once."""
        return jax.jit(full(self.calibrated))

    def body_features(self, body: Tree, variables: Variables, x: jax.Array) -> jax.Array:
        """Features as a function of the body's parameters alone, for Jacobians."""
        return self.features({**variables.params, "body": body}, variables.statistics, x)


def _split(module: "Classifier") -> tuple[nnx.GraphDef["Classifier"], Tree, Tree]:
    """Structure, trained parameters, everything else."""
    parts: Tree = nnx.split(module, nnx.Param, ...)
    return parts[0], parts[1], parts[2]


def _with(tree: Tree, path: Path, leaves: Tree) -> Tree:
    """The tree with these leaves of one layer in the place of its own."""
    if not path:
        return {**tree, **leaves}
    return {**tree, path[0]: _with(tree[path[0]], path[1:], leaves)}


def named_leaves(tree: Tree) -> dict[str, np.ndarray]:
    """Leaves of a tree under dotted paths."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def from_named(template: Tree, named: dict[str, np.ndarray]) -> Tree:
    """The tree with the structure of `template` and the values of `named`.

    Raises:
        InputError: an array is missing or has another shape.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    values = []
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        kind = np.asarray(leaf).dtype.kind
        if name not in named or named[name].shape != np.shape(leaf) or named[name].dtype.kind != kind:
            found = f"{named[name].dtype} of shape {named[name].shape}" if name in named else "missing"
            raise InputError(
                name,
                found,
                f"must be {np.asarray(leaf).dtype} of shape {np.shape(leaf)}",
                "use the configuration the run was made with",
            )
        values.append(jnp.asarray(named[name]))
    return jax.tree_util.tree_unflatten(structure, values)
