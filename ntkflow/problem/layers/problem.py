"""A problem whose features are L linear layers: its kernel is not given, it moves with the layers (theory 18)."""

from dataclasses import dataclass
from functools import cached_property

from ntkflow import checks, views
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.problem.kernels.base import Kernel, ThinCoefficients
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.losses import MSE, SQUARED_ERROR, Loss
from ntkflow.problem.sizes import Sizes


@dataclass(frozen=True)
class LayerDecay:
    """Rates at which each layer, W, b and the layers' biases are pulled to zero, per flow time.

    Args:
        layers: l_1 .. l_L >= 0; one number stands for all layers.
        W: rate of the weights.
        b: rate of the biases.
        c: rate of the layers' biases.

    Raises:
        InputError: a rate is negative or not finite.
    """

    layers: tuple[float, ...] | float = 0.0
    W: float = 0.0
    b: float = 0.0
    c: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.layers, int | float):
            rates: tuple[float, ...] | float = checks.not_negative(
                "decay.layers", self.layers, "give a rate >= 0"
            )
        else:
            rates = tuple(
                checks.not_negative(f"decay.layers[{l}]", r, "give a rate >= 0")
                for l, r in enumerate(self.layers, 1)
            )
        object.__setattr__(self, "layers", rates)
        for name in ("W", "b", "c"):
            value = checks.not_negative(f"decay.{name}", getattr(self, name), "give a rate >= 0")
            object.__setattr__(self, name, value)

    def of_layers(self, L: int) -> tuple[float, ...]:
        """l_1 .. l_L."""
        return self.layers if isinstance(self.layers, tuple) else (self.layers,) * L

    def rates(self, L: int) -> tuple[float, ...]:
        """l_1 .. l_L, l_W."""
        return (*self.of_layers(L), self.W)

    @property
    def any(self) -> bool:
        """Whether some rate is not zero."""
        return any((*self.of_layers(1), self.W, self.b, self.c))

    def as_dict(self) -> Json:
        """Plain values for files."""
        return {"layers": self.layers, "W": self.W, "b": self.b, "c": self.c}


@dataclass(frozen=True, eq=False)
class LayeredProblem:
    """Gradient flow of a sum loss over V_1 .. V_L, W and b of a linear network with inputs of Gram matrix K0.

    L = 1 is `Problem` with the constant kernel K0. For L >= 2 the kernel of the last layer's features moves (theory 18.2).

    Args:
        sizes: C, m, and n = n_L.
        kernel: K0, a constant kernel between samples: blocks, blocks of classes, or any N x N one.
        state: initial layers.
        loss: a sum over samples; only MSE has a thin form.
        decay: rates of the layers, W and the biases.

    Raises:
        InputError: the state or the kernel does not fit the sizes, the kernel is singular, moves, or acts between
            features, or the rates are not one per layer.
    """

    sizes: Sizes
    kernel: Kernel
    state: LayeredState
    loss: Loss = SQUARED_ERROR
    decay: LayerDecay = LayerDecay()

    def __post_init__(self) -> None:
        kinds = {"sizes": Sizes, "kernel": Kernel, "state": LayeredState, "loss": Loss, "decay": LayerDecay}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if isinstance(value, type) or not isinstance(value, kind):
                rule = f"must be a {kind.__name__}"
                raise InputError(name, type(value).__name__, rule, "see help(ntkflow.LayeredProblem)")
        refuse_moving(self.kernel)
        if len(self.decay.of_layers(self.L)) != self.L:
            rule = f"must be one rate for each of {self.L} layers"
            raise InputError(
                "decay.layers", list(self.decay.of_layers(self.L)), rule, "give all, or one number for all"
            )
        if self.decay.c > 0 and not self.state.c:
            raise InputError("decay.c", self.decay.c, "has no meaning for layers without biases", "drop it")
        self.state.check(self.sizes)
        self.kernel.check(self.sizes)

    @property
    def L(self) -> int:
        """Number of layers below the classifier."""
        return self.state.L

    @property
    def widths(self) -> tuple[int, ...]:
        """n_1 .. n_L."""
        return self.state.widths

    @property
    def squared_error(self) -> bool:
        """Whether the loss is the squared error, the only one with a thin form and closed limits."""
        return isinstance(self.loss, MSE)

    @cached_property
    def thin(self) -> ThinCoefficients | None:
        """How K0 acts on class means and deviations; None where it does not tell them apart."""
        return self.kernel.thin(self.sizes)

    @property
    def equal_blocks(self) -> BlockKernel | None:
        """K0, where it is constant scalar blocks of one size; else None."""
        return self.kernel if isinstance(self.kernel, BlockKernel) and self.sizes.balanced else None

    def __repr__(self) -> str:
        s = self.sizes
        decay = f", {self.decay}" if self.decay.any else ""
        return f"LayeredProblem(C={s.C}, m={views.brief(s.m)}, widths={self.widths}, {self.kernel}, loss={self.loss.name}{decay})"


def refuse_moving(kernel: Kernel) -> None:
    """Refuse what is no Gram matrix of inputs.

    Raises:
        InputError: the kernel moves by itself, or acts between features.
    """
    if not kernel.on_samples:
        raise InputError(
            "kernel",
            f"{kernel.rung} kernel",
            "must be constant and act between samples only, as the Gram matrix of inputs does",
            "use BlockKernel, ClassBlockKernel or SampleKernel",
        )
