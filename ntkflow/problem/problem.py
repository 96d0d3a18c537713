"""A problem: sizes, kernel, initial state, loss and decay; what `solve` integrates."""

from dataclasses import dataclass
from functools import cached_property

from ntkflow import views
from ntkflow.errors import InputError
from ntkflow.problem.decay import NO_DECAY, Decay
from ntkflow.problem.kernels.base import Kernel, ThinCoefficients
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.losses import MSE, SQUARED_ERROR, CrossEntropy, Loss
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State


@dataclass(frozen=True, eq=False)
class Problem:
    """Gradient flow of a sum loss, by default 1/2 |W H + b 1^T - Y|_F^2, under a feature kernel (Theorem 4.1).

    Args:
        sizes: C, m, n.
        kernel: a rung of the kernel ladder; `ScheduledKernel` makes it move in time.
        state: initial (H, W, b), samples ordered by class.
        loss: a sum over samples; only MSE has a thin form and closed limits.
        decay: rates at which W, H and b are pulled to zero.

    Raises:
        InputError: the state or the kernel does not fit the sizes, or the kernel is singular.
    """

    sizes: Sizes
    kernel: Kernel
    state: State
    loss: Loss = SQUARED_ERROR
    decay: Decay = NO_DECAY

    def __post_init__(self) -> None:
        kinds = {"sizes": Sizes, "kernel": Kernel, "state": State, "loss": Loss, "decay": Decay}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if isinstance(value, type) or not isinstance(value, kind):
                raise InputError(
                    name, type(value).__name__, f"must be a {kind.__name__}", "see help(ntkflow.Problem)"
                )
        self.state.check(self.sizes)
        self.kernel.check(self.sizes)

    def __repr__(self) -> str:
        s = self.sizes
        decay = f", {self.decay}" if self.decay.any else ""
        return f"Problem(C={s.C}, m={views.brief(s.m)}, n={s.n}, {self.kernel}, loss={self.loss.name}{decay})"

    @cached_property
    def thin(self) -> ThinCoefficients | None:
        """How the kernel acts on class means and deviations (theory 4.1); None where it does not tell them apart."""
        # Flow, horizon, trust, series and theory all ask, and of a moving kernel the answer is made at every knot.
        return self.kernel.thin(self.sizes)

    @property
    def has_thin(self) -> bool:
        """Whether a thin form exists: squared error and a kernel that acts on samples only, blocks or not."""
        # Without blocks every sample can be a group of its own: the same system with N groups of one (Theorem 4.1).
        by_samples = all(kernel.sample_matrix is not None for kernel in self.kernel.at_knots)
        return self.squared_error and (by_samples or self.thin is not None)

    @property
    def plain(self) -> bool:
        """Whether this is the paper's flow: squared error, no decay, a constant kernel."""
        return self.squared_error and not self.decay.any and not self.kernel.moves

    @property
    def squared_error(self) -> bool:
        """Whether the loss is the squared error, the only one with a thin form and closed limits."""
        return isinstance(self.loss, MSE)

    @property
    def cross_entropy(self) -> bool:
        """Whether the loss is the softmax cross-entropy."""
        return isinstance(self.loss, CrossEntropy)

    @property
    def blocks(self) -> BlockKernel | None:
        """The kernel, where it is constant scalar blocks; None elsewhere."""
        return self.kernel if isinstance(self.kernel, BlockKernel) else None

    @property
    def equal_blocks(self) -> BlockKernel | None:
        """The kernel, where it is constant scalar blocks of one size: the paper's, with three eigenvalues; else None."""
        return self.blocks if self.sizes.balanced else None
