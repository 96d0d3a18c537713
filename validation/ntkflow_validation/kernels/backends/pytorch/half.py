"""Whether a module computes in half precision, whatever its parameters are."""

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import PyTree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ntkflow.foreign.arrays import is_half

COMPUTES = (
    "the module computes in half precision, of which kernels have two or three digits: "
    "leave out torch.autocast, .half() and .bfloat16() in its forward"
)


class Halves(TorchDispatchMode):  # type: ignore[misc]
    """Looks at every operation while it is entered.

    Attributes:
        seen: whether one made half precision of what was not; all that a module is lent is in single.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_dispatch__(
        self,
        function: Callable[..., PyTree],
        types: Iterable[type],
        args: tuple[PyTree, ...] = (),
        kwargs: Mapping[str, PyTree] | None = None,
    ) -> PyTree:
        found = function(*args, **(kwargs or {}))
        self.seen |= _half(found) and not _half((args, kwargs))
        return found


def _half(tree: PyTree) -> bool:
    return any(isinstance(leaf, torch.Tensor) and is_half(leaf) for leaf in tree_leaves(tree))
