"""Which parameters are differentiated by: what the framework trains, or what a mask says."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ntkflow.errors import InputError
from ntkflow.foreign.modules import is_a

# A tree of truth values, which may stand for whole branches, or a function of a parameter's path, "layer.kernel".
Trainable: TypeAlias = PyTree | Callable[[str], bool] | None
# What Flax Linen and its usual extensions keep beside "params".
COLLECTIONS = frozenset(
    {"batch_stats", "cache", "intermediates", "losses", "perturbations", "sow", "constants"}
)


def floating(leaf: object) -> bool:
    """Whether a leaf is an array of floating-point numbers."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def flags(params: PyTree, trainable: Trainable = None) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """For each leaf whether it is differentiated by, and whether it is a parameter at all.

    Without a mask: of Flax NNX variables the `Param`s, of Linen's collections "params", of other trees every
    floating-point array outside of a `State` of Equinox.

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
    own = numbers & _kinds(params)
    return tuple(chosen.tolist()), tuple((own | chosen).tolist())


def _masked(params: PyTree, trainable: Trainable) -> list[bool]:
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


def _truth(name: str, flag: object) -> bool:
    if not isinstance(flag, (bool, np.bool_)):
        raise InputError(
            "trainable", f"{type(flag).__name__} for {name}", "must be true or false", "give booleans"
        )
    return bool(flag)


def paths(params: PyTree) -> list[str]:
    """Dotted path of every leaf."""
    found, _ = jax.tree_util.tree_flatten_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in found]


def _of_framework(params: PyTree) -> np.ndarray:
    own = _kinds(params)
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


def _kinds(params: PyTree) -> np.ndarray:
    """False for what is no parameter: NNX's other variables, Linen's other collections, the states of Equinox's layers."""

    def own(branch: PyTree) -> list[bool]:
        nodes = jax.tree.leaves(branch, is_leaf=_is_known)
        counts = [(not _is_known(n) or is_a(n, "flax.nnx", "Param"), len(jax.tree.leaves(n))) for n in nodes]
        return [flag for flag, count in counts for _ in range(count)]

    flags = own(params)
    if isinstance(params, Mapping) and "params" in params:
        found = [name.partition(".")[0] not in COLLECTIONS for name in paths(params)]
        flags = [a and b for a, b in zip(flags, found, strict=True)]
    return np.array(flags, dtype=bool)


def _is_known(node: object) -> bool:
    return any(is_a(node, *kind) for kind in _KINDS)


_KINDS = (("flax.nnx", "Variable"), ("equinox.nn", "State"), ("equinox.nn", "StateIndex"))


def names_of(params: PyTree, chosen: tuple[bool, ...]) -> list[str]:
    """Paths of the leaves that are chosen."""
    return [name for name, flag in zip(paths(params), chosen, strict=True) if flag]
