"""Which framework a network is of; none is imported that the caller has not."""

import sys
from typing import Any

from ntkflow.errors import InputError
from ntkflow_validation.normalisation.watched import Forward, Watched

KINDS = "a Flax NNX module, a Flax Linen module with its variables, or a torch module"


def watched(
    network: Any, variables: Any = None, forward: Forward | None = None, copy: bool = True
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


def known(network: Any) -> bool:
    """Whether it is a module of a framework whose layers can be watched."""
    return _is(network, "torch.nn", "Module") or _is(network, "flax.nnx", "Module") or linen(network)


def linen(network: Any) -> bool:
    """Whether it is a module of Flax Linen."""
    return _is(network, "flax.linen", "Module")


def _is(network: Any, module: str, kind: str) -> bool:
    found = sys.modules.get(module)
    return found is not None and isinstance(network, getattr(found, kind))


def _of_framework(network: Any, variables: Any, forward: Forward | None, copy: bool) -> Watched:
    if linen(network):
        from ntkflow_validation.normalisation.linen import LinenNetwork

        if not copy:
            raise InputError(
                "inplace",
                True,
                "a Linen module has no variables of its own",
                "use the variables that come back",
            )
        return LinenNetwork(network, variables, forward)
    if variables is not None:
        raise InputError("variables", type(variables).__name__, "are for Linen modules", "leave them out")
    if _is(network, "torch.nn", "Module"):
        from ntkflow_validation.normalisation.pytorch import TorchNetwork

        return TorchNetwork(network, forward, copy)
    if _is(network, "flax.nnx", "Module"):
        from ntkflow_validation.normalisation.nnx_layers import NnxNetwork

        return NnxNetwork(network, forward, copy)
    raise InputError("network", type(network).__name__, f"is not {KINDS}", "give one of these")
