"""Which framework a network is of; none is imported that the caller has not."""

import sys

from jaxtyping import PyTree

from ntkflow.errors import InputError
from ntkflow.foreign.modules import ForeignNetwork, Framework, framework_of, loaded_class
from ntkflow_validation.normalisation.watched import Forward, Watched

KINDS = "a Flax NNX module, a Flax Linen module with its variables, or a torch module"


def watched(
    network: ForeignNetwork, variables: PyTree = None, forward: Forward | None = None, copy: bool = True
) -> Watched:
    """The network with its layers of batch normalisation watched.

    Raises:
        InputError: it is no network of a known framework, or has no running statistics.
    """
    found = _of_framework(network, variables, forward, copy)
    if not found.stored():
        raise InputError(
            "network",
            type(network).__name__,
            "has no batch normalisation with running statistics",
            "measure it as it is",
        )
    return found


def watched_in(network: ForeignNetwork, forward: Forward) -> Watched | None:
    """A copy of whatever a function of (network, x) takes, watched; None where it has no running statistics.

    Besides modules these are the variables of Linen modules and states that hold them, which the function applies.

    Raises:
        InputError: it has some, and they cannot be watched.
    """
    kind = holder(network)
    if kind is None:
        return None
    if kind == "linen":
        from ntkflow_validation.normalisation.linen import LinenNetwork

        return LinenNetwork(forward, network)
    if kind in UNWATCHED:
        raise InputError("network", type(network).__name__, *UNWATCHED[kind])
    return _of_framework(network, None, forward, copy=True)


# What has running statistics in sight and no layers to watch, and what helps.
UNWATCHED = {
    "state": (
        "is the state of an NNX module, whose layers are not seen",
        "hand over the module itself, nnx.merge(graph, state)",
    ),
    "equinox": (
        "has batch normalisation of Equinox, whose statistics are in a State apart and whose layers act on single samples "
        "inside vmap, where they cannot be watched",
        "pass all of X as one batch in training mode, k times, keeping the state: of what was stale momentum**k is left",
    ),
}


def holder(network: ForeignNetwork) -> str | None:
    """Of which kind the holder of running statistics is: torch, nnx, linen, state, equinox; None where there are none."""
    if framework_of(network) is Framework.TORCH:
        from ntkflow_validation.normalisation.pytorch import normalises

        return "torch" if normalises(network) else None
    if framework_of(network) is Framework.NNX:
        from ntkflow_validation.normalisation.nnx_layers import layers_of

        return "nnx" if next(layers_of(network), None) is not None else None
    if "flax" in sys.modules:
        from ntkflow_validation.normalisation.linen import statistics_of

        if statistics_of(network) is not None:
            return "linen"
    return next((kind for kind, *named in _IN_TREES if _within(network, *named)), None)


_IN_TREES = (("state", "flax.nnx", "BatchStat"), ("equinox", "equinox.nn", "BatchNorm"))


def _within(tree: PyTree, module: str, kind: str) -> bool:
    wanted = loaded_class(module, kind)
    if wanted is None:
        return False
    import jax

    leaves = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, wanted))
    return any(isinstance(leaf, wanted) for leaf in leaves)


def by_batch(network: ForeignNetwork, forward: Forward) -> tuple[ForeignNetwork, Forward]:
    """The network and the function of it with batch normalisation by the batch and all else in inference mode.

    What holds no statistics that can be seen is taken to be in that mode already.
    """
    kind = holder(network)
    if kind == "torch":
        from ntkflow_validation.normalisation import pytorch

        return pytorch.by_batch(network), forward
    if kind == "nnx":
        from ntkflow_validation.normalisation import nnx_layers

        return nnx_layers.by_batch(network), forward
    if kind == "linen":
        from ntkflow_validation.normalisation import linen

        return network, linen.by_batch(forward)
    return network, forward


def known(network: ForeignNetwork) -> bool:
    """Whether it is a module of a framework whose layers can be watched."""
    return framework_of(network) in (Framework.TORCH, Framework.NNX, Framework.LINEN)


def linen(network: ForeignNetwork) -> bool:
    """Whether it is a module of Flax Linen."""
    return framework_of(network) is Framework.LINEN


def _of_framework(network: ForeignNetwork, variables: PyTree, forward: Forward | None, copy: bool) -> Watched:
    if linen(network):
        from ntkflow_validation.normalisation.linen import LinenNetwork, call_of

        if not copy:
            raise InputError(
                "inplace",
                True,
                "a Linen module has no variables of its own",
                "use the variables that come back",
            )
        return LinenNetwork(call_of(network, variables, forward), variables)
    if variables is not None and not _within(network, "equinox.nn", "BatchNorm"):
        raise InputError("variables", type(variables).__name__, "are for Linen modules", "leave them out")
    if framework_of(network) is Framework.TORCH:
        from ntkflow_validation.normalisation.pytorch import TorchNetwork

        return TorchNetwork(network, forward, copy)
    if framework_of(network) is Framework.NNX:
        from ntkflow_validation.normalisation.nnx_layers import NnxNetwork

        return NnxNetwork(network, forward, copy)
    kind = next((kind for kind, *named in _IN_TREES if _within(network, *named)), None)
    if kind is not None:
        raise InputError("network", type(network).__name__, *UNWATCHED[kind])
    raise InputError("network", type(network).__name__, f"is not {KINDS}", "give one of these")
