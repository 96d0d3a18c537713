"""A problem: sizes, kernel and initial state; what `solve` integrates."""

from dataclasses import dataclass

from ntkflow.errors import InputError
from ntkflow.kernels.base import Kernel
from ntkflow.sizes import Sizes
from ntkflow.state import State


@dataclass(frozen=True, eq=False)
class Problem:
    """Gradient flow of the sum loss 1/2 |W H + b 1^T - Y|_F^2 under a constant feature kernel (Theorem 4.1).

    Args:
        sizes: C, m, n.
        kernel: a rung of the kernel ladder.
        state: initial (H, W, b), samples ordered by class.

    Raises:
        InputError: the state or the kernel does not fit the sizes, or the kernel is singular.
    """

    sizes: Sizes
    kernel: Kernel
    state: State

    def __post_init__(self) -> None:
        for name, kind in (("sizes", Sizes), ("kernel", Kernel), ("state", State)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise InputError(
                    name, type(value).__name__, f"must be a {kind.__name__}", "see help(ntkflow.Problem)"
                )
        self.state.check(self.sizes)
        self.kernel.check(self.sizes)
