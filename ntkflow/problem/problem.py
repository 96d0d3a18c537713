"""A problem: sizes, kernel, initial state, loss and decay; what `solve` integrates."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TypeVar, cast

from ntkflow import views
from ntkflow.errors import InputError
from ntkflow.problem.decay import NO_DECAY, Decay
from ntkflow.problem.kernels.base import Kernel, ThinCoefficients
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.losses import MSE, SQUARED_ERROR, CrossEntropy, Loss
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Problem:
    """Gradient flow of a sum loss, by default 1/2 |W H + b 1^T - Y|_F^2, under a feature kernel (Theorem 4.1).

    Args:
        sizes: C, m, n.
        kernel: a rung of the kernel ladder; `ScheduledKernel` makes it move in time.
        state: initial (H, W, b), samples ordered by class.
        loss: a sum over samples; only MSE has a thin form and closed limits.
        decay: rates at which W, H and b are pulled to zero.
        train_bias: False holds the biases where they are, db/dt = 0: a head without biases when they are 0, and
            otherwise the same flow of H and W with targets Y - b 1^T.

    Raises:
        InputError: the state or the kernel does not fit the sizes, the kernel is singular, or decay is to pull on
            biases that are held.
    """

    sizes: Sizes
    kernel: Kernel
    state: State
    loss: Loss = SQUARED_ERROR
    decay: Decay = NO_DECAY
    train_bias: bool = True

    def __post_init__(self) -> None:
        kinds = {"sizes": Sizes, "kernel": Kernel, "state": State, "loss": Loss, "decay": Decay}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if isinstance(value, type) or not isinstance(value, kind):
                raise InputError(
                    name, type(value).__name__, f"must be a {kind.__name__}", "see help(ntkflow.Problem)"
                )
        if not isinstance(self.train_bias, bool):
            raise InputError("train_bias", repr(self.train_bias), "must be True or False", "give one of them")
        if not self.train_bias and self.decay.b > 0:
            raise InputError(
                "decay.b",
                self.decay.b,
                "has no meaning for biases that are held",
                "drop it, or train the biases",
            )
        self.state.check(self.sizes)
        self.kernel.check(self.sizes)

    def __repr__(self) -> str:
        s = self.sizes
        decay = f", {self.decay}" if self.decay.any else ""
        held = "" if self.train_bias else ", train_bias=False"
        sizes = f"C={s.C}, m={views.brief(s.m)}, n={s.n}"
        return f"Problem({sizes}, {self.kernel}, loss={self.loss.name}{decay}{held})"

    @cached_property
    def thin(self) -> ThinCoefficients | None:
        """How the kernel acts on class means and deviations (theory 4.1); None where it does not tell them apart."""
        # Flow, horizon, trust, series and theory all ask, and of a moving kernel the answer is made at every knot.
        return self.kernel.thin(self.sizes)

    def once(self, make: "Callable[[Problem], T]") -> T:
        """What a function makes of the problem, made when it is first asked for and kept.

        Args:
            make: looks at sizes, kernel, loss and decay; not at the state, whose arrays can be written to.
        """
        if make not in self._made:
            self._made[make] = make(self)
        return cast(T, self._made[make])

    @cached_property
    def _made(self) -> dict[object, object]:
        return {}

    def __getstate__(self) -> dict[str, object]:
        # Another process makes what it needs of these; a law holds functions, which do not travel.
        return {part.name: getattr(self, part.name) for part in fields(self)}

    @property
    def has_thin(self) -> bool:
        """Whether a thin form exists: squared error and a kernel that acts on samples only, blocks or not."""
        # Without blocks every sample can be a group of its own: the same system with N groups of one (Theorem 4.1).
        by_samples = all(kernel.sample_matrix is not None for kernel in self.kernel.at_knots)
        return self.squared_error and (by_samples or self.thin is not None)

    @property
    def plain(self) -> bool:
        """Whether this is the paper's flow: squared error, no decay, a constant kernel, biases that are trained."""
        return self.undisturbed and self.train_bias

    @property
    def undisturbed(self) -> bool:
        """Whether this is the paper's flow, with biases that are trained or held: squared error, E constant."""
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
