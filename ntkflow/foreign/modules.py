"""Which framework a network is of, and what is inside what only wraps it; no framework is imported to find out."""

import sys
from enum import StrEnum
from typing import Any

# A module of a framework, or of a user's own, or a tree of parameters in whatever containers: what it has is known to
# its framework, which is perhaps not installed. One of the few places where Any is the truth.
ForeignNetwork = Any


class Framework(StrEnum):
    """Whose modules are known."""

    TORCH = "torch"
    NNX = "nnx"
    LINEN = "linen"
    EQUINOX = "equinox"


# Where the base class of its modules lies; `Module` in each.
_HOMES = {
    Framework.TORCH: "torch.nn",
    Framework.NNX: "flax.nnx",
    Framework.LINEN: "flax.linen",
    Framework.EQUINOX: "equinox",
}


def loaded_class(module: str, name: str) -> type | None:
    """A class of a module that has been imported; None of one that has not, of whose classes nothing can be."""
    home = sys.modules.get(module)
    found: type | None = None if home is None else getattr(home, name)
    return found


def is_a(thing: object, module: str, name: str) -> bool:
    """Whether a thing is of a class of a framework."""
    kind = loaded_class(module, name)
    return kind is not None and isinstance(thing, kind)


def framework_of(network: object) -> Framework | None:
    """The framework that a network is a module of; None of a function, a tree or anything else."""
    return next((which for which, home in _HOMES.items() if is_a(network, home, "Module")), None)


def unwrapped(network: ForeignNetwork) -> ForeignNetwork:
    """The module inside what shares it between processes, whose own forward pass would wait for the other ranks, or
    inside what torch.compile made of it.
    """
    kind = type(network).__name__
    if kind in ("DistributedDataParallel", "DataParallel"):
        return unwrapped(network.module)
    # Hooks and copies are of the module that was compiled.
    return unwrapped(network._orig_mod) if kind == "OptimizedModule" else network
