"""Which parameters are differentiated by: what the framework trains, or what a mask says."""

import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntkflow.errors import InputError

# A tree of truth values, which may stand for whole branches, or a function of a parameter's path, "layer.kernel".
Trainable = Any
# What Flax Linen and its usual extensions keep beside "params".
COLLECTIONS = frozenset(
    {"batch_stats", "cache", "intermediates", "losses", "perturbations", "sow", "constants"}
)


def floating(leaf: Any) -> bool:
    """Whether a leaf is an array of floating-point numbers."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def flags(params: Any, trainable: Trainable = None) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """For each leaf whether it is differentiated by, and whether it is a parameter at all.

    Without a mask: of Flax NNX variables the `Param`s, of Linen's collections "params", of other trees every
    floating-point array.

    Raises:
        InputError: the mask does not fit the tree, or a tree has "params" beside other branches that could be
            parameters too.
    """
    leaves = jax.tree.leaves(params)
    numbers = np.array([floating(leaf) for leaf in leaves], dtype=bool)
    if trainable is None:
        own = numbers & _of_framework(params)
        return tuple(own.tolist()), tuple(own.tolist())
    chosen = numbers & np.array(_masked(params, trainable), dtype=bool)
    own = numbers & _kinds_of_flax(params)
    return tuple(chosen.tolist()), tuple((own | chosen).tolist())


def _masked(params: Any, trainable: Trainable) -> list[bool]:
    if callable(trainable):
        return [_truth(name, trainable(name)) for name in paths(params)]
    try:
        spread = jax.tree.map(lambda flag, branch: [flag] * len(jax.tree.leaves(branch)), trainable, params)
    except (ValueError, TypeError) as error:
        raise InputError(
            "trainable",
            "a tree of another structure than params",
            "must have its structure, or begin like it",
            "give a function of the path, such as lambda path: path.startswith('body')",
        ) from error
    return [_truth("trainable", flag) for flag in jax.tree.leaves(spread)]


def _truth(name: str, flag: Any) -> bool:
    if not isinstance(flag, (bool, np.bool_)):
        raise InputError(
            "trainable", f"{type(flag).__name__} for {name}", "must be true or false", "give booleans"
        )
    return bool(flag)


def paths(params: Any) -> list[str]:
    """Dotted path of every leaf."""
    found, _ = jax.tree_util.tree_flatten_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in found]


def _of_framework(params: Any) -> np.ndarray:
    own = _kinds_of_flax(params)
    if not isinstance(params, Mapping) or "params" not in params:
        return own
    for key, branch in params.items():
        known = key == "params" or key in COLLECTIONS
        if not known and any(floating(leaf) for leaf in jax.tree.leaves(branch)):
            raise InputError(
                "params",
                f"a tree with 'params' and {key!r}",
                f"whether {key!r} is trained cannot be told",
                "say it, with trainable={'params': True, ...} or a function of the path",
            )
    return own


def _kinds_of_flax(params: Any) -> np.ndarray:
    """False for variables of Flax that are no parameters: NNX's other kinds, Linen's other collections."""
    nnx = sys.modules.get("flax.nnx")  # without it there are no variables of its kinds

    def variable(node: Any) -> bool:
        return nnx is not None and isinstance(node, nnx.Variable)

    def own(branch: Any) -> list[bool]:
        nodes = jax.tree.leaves(branch, is_leaf=variable)
        counts = [(not variable(n) or isinstance(n, nnx.Param), len(jax.tree.leaves(n))) for n in nodes]  # type: ignore[union-attr]
        return [flag for flag, count in counts for _ in range(count)]

    flags = own(params)
    if isinstance(params, Mapping) and "params" in params:
        found = [name.partition(".")[0] not in COLLECTIONS for name in paths(params)]
        flags = [a and b for a, b in zip(flags, found, strict=True)]
    return np.array(flags, dtype=bool)


def names_of(params: Any, chosen: tuple[bool, ...]) -> list[str]:
    """Paths of the leaves that are chosen."""
    return [name for name, flag in zip(paths(params), chosen, strict=True) if flag]
