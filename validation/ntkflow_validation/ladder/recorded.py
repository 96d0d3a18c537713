"""What the rungs need of a run that was recorded elsewhere: there is no network to ask, only what was measured of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Features, SampleKernel
from ntkflow.errors import InputError
from ntkflow.problem.kernels import Kernel, TensorKernel
from ntkflow.problem.state import State, class_means
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.kernels.methods.class_kernels import ClassKernels
from ntkflow_validation.kernels.methods.components import NAMES
from ntkflow_validation.ladder.measured import Measured
from ntkflow_validation.ladder.operators.base import KernelOperator, Operator
from ntkflow_validation.ladder.operators.restricted import explored
from ntkflow_validation.ladder.trajectories.descent import Recipe
from ntkflow_validation.models.base import Network
from ntkflow_validation.training.train import TrainState


@dataclass(frozen=True, eq=False)
class Recorded(Measured):
    """A recorded snapshot. Rungs of what was not measured there are refused, each by the name of what it lacks.

    Attributes:
        network, train_state: none.
        later: the second snapshot of the window, and the flow time to it in the clock of all samples.
    """

    network: Network | None  # type: ignore[assignment]
    train_state: TrainState | None  # type: ignore[assignment]
    later: tuple[State, float] = field(default=(None, 0.0))  # type: ignore[assignment]

    @property
    def _recorded(self) -> RecordedConfig:
        assert isinstance(self.config, RecordedConfig)
        return self.config

    @cached_property
    def _samples(self) -> int:
        return self._recorded.time_keeper().samples

    @property
    def coupled(self) -> bool:
        """Kernels of recorded networks are measured with normalisation held still."""
        return False

    @property
    def observe_all(self) -> str:
        """What a rung that needs all samples asks for."""
        return "give the recorder y and X of all that are trained on"

    @property
    def whole(self) -> bool:
        """What is known is known in all directions."""
        return True

    @property
    def trained(self) -> int:
        """N of the training."""
        return self._samples

    @property
    def tensor(self) -> Float64[np.ndarray, "n N n N"]:
        """The whole tensor on the recorded samples.

        Raises:
            InputError: it was not measured.
        """
        if self.kernel.full is None or self.kernel.full.values.shape[1] != self.sizes.N:
            raise _missing("the whole tensor", "measure={'quantities': ['tensor', ...]} of the recorder")
        found: np.ndarray = self.kernel.full.values
        return found

    @cached_property
    def frozen(self) -> Operator:
        """The whole tensor, as an operator."""
        return KernelOperator(TensorKernel(self.tensor), self.sizes)

    @cached_property
    def row_classes(self) -> ClassKernels:
        """T and D: exactly from the tensor where that was measured, else as they were measured themselves."""
        known, sizes = self.kernel.classes, self.sizes
        if self.kernel.full is None and known is not None and known.whole and known.sizes.N == sizes.N:
            T, D = (array.astype(np.float64) for array in (known.T, known.D))
            return ClassKernels(T, D, known.D_error, sizes).for_data_set(self.m)
        if self.kernel.full is None:
            raise _missing(
                "the class kernel", "measure={'quantities': ['class-kernels', ...]} of the recorder"
            )
        Theta = self.tensor
        Y = sizes.Y / sizes.masses[:, None]
        T = np.einsum("ci,piqj,dj->pcqd", Y, Theta, Y, optimize=True)
        D = np.zeros((sizes.C, sizes.n, sizes.n))
        for c, (start, m) in enumerate(zip(sizes.starts, sizes.counts, strict=True)):
            own = Theta[:, start : start + m][:, :, :, start : start + m]
            D[c] = (np.einsum("piqi->pq", own) - m * T[:, c, :, c]) / max(m - 1, 1)
        found = ClassKernels(T, D, 0.0, sizes)
        # Of classes of different sizes a part is not known to be like the whole.
        return found if self.share == 1 else found.for_data_set(self.m)

    @property
    def classes(self) -> ClassKernels:
        """The same."""
        return self.row_classes

    @cached_property
    def rayleigh(self) -> dict[str, float]:
        """As they were measured."""
        if not self.objective.plain:
            raise InputError(
                "rungs",
                "quotients along the residual",
                f"were measured along that of one-hot squares, and the training followed {self.objective.loss.name}",
                "measure the whole tensor for components and residual rungs, or use block rungs",
            )
        found = self.kernel.rayleigh
        if found is None:
            raise _missing("quotients along the residual", "'rayleigh' among the quantities of the recorder")
        return {name: found.features[name] * (self.share if name == "within" else 1.0) for name in NAMES}

    @cached_property
    def components(self) -> tuple[Float64[np.ndarray, "3 n N"], Float64[np.ndarray, "3 n N"]]:
        """G_k and the tensor's images of them."""
        G, _ = super().components
        return G, np.stack([self.frozen.act(g) for g in G])

    def explored(self, k: int) -> tuple[Float64[np.ndarray, "nC j"], Float64[np.ndarray, "nC j"]]:
        """See `Measured.explored`; from the class kernel."""
        n, C, T = self.sizes.n, self.sizes.C, self.classes.T
        sums = class_means(self.state.W.T @ self.residual, self.sizes) * self.sizes.masses
        T = T.reshape(n * C, n * C)
        return explored(lambda z: (T @ z.reshape(-1)).reshape(n, C), sums, k)

    def residual_directions(
        self, blocks: int
    ) -> tuple[Float64[np.ndarray, "k n N"], Float64[np.ndarray, "k n N"]]:
        """See `Measured.residual_directions`; from the tensor."""
        return self._followed(blocks, None)

    @cached_property
    def mean_kernel(self) -> SampleKernel:
        """As it was measured."""
        if self.kernel_mean is None:
            raise _missing(
                "the N x N kernel of all recorded samples and neurons", "method 'gram' and no per_class"
            )
        return self.kernel_mean

    @cached_property
    def row_mean(self) -> SampleKernel:
        """As it was measured."""
        family = self.kernel.row_space
        if family is None or family.mean is None or len(family.mean) != self.sizes.N:
            raise _missing("the N x N kernel of the row space of W", "'row-space' among the quantities")
        return family.mean

    def ready(self, name: str) -> Operator | None:
        """Rungs that follow from constants, where there is no tensor to take them from."""
        if self.kernel.full is not None or self.share != 1:
            return None
        kernel = self.kernel
        given: dict[str, Callable[[], Kernel]] = {
            "class-block": kernel.class_block,
            "row-block": lambda: kernel.block("row_space"),
            "row-class-block": lambda: kernel.class_block("row_space"),
            "matrix-block": kernel.matrix_block,
        }
        return KernelOperator(given[name](), self.sizes) if name in given else None

    @cached_property
    def observed_motion(self) -> Features:
        """dH/dt in the clock of all samples, as the difference of the first two snapshots."""
        state, time = self.later
        found: Features = (state.H - self.state.H) / time
        return found

    @cached_property
    def shrinking(self) -> float:
        """What the clock says of it."""
        return self._recorded.time_keeper().degree

    @property
    def momentum(self) -> None:
        """The buffers are not recorded."""
        return None

    def recipe(self, steps: tuple[int, ...]) -> Recipe:
        """The optimiser's own steps; none where they are not known: of a schedule, or with momentum under way."""
        clock, share = self._recorded.time_keeper(), self.share
        unknown = (
            clock.learning_rate is None
            or (clock.momentum and steps[0] > 0)
            or (clock.momentum and clock.decay_form == "decoupled" and clock.weight_decay)
        )
        if unknown:
            return Recipe(steps, np.zeros(0))
        assert clock.learning_rate is not None
        eta = np.full(steps[-1] - steps[0], clock.learning_rate / clock.scale / share)
        decay = clock.decay
        return Recipe(
            steps,
            eta,
            clock.momentum,
            clock.nesterov,
            (decay.W * share, decay.H * share, decay.b * share),
            objective=self.objective,
        )

    def nominal(self, steps: tuple[int, ...], times: np.ndarray) -> np.ndarray:
        """A recorded clock has no other rates to be told from."""
        del steps
        return times


def _missing(what: str, remedy: str) -> InputError:
    return InputError("rungs", what, "was not measured when the training was recorded", f"give {remedy}")


def stand_in(config: RecordedConfig) -> Dataset:
    """As much of a data set as scores ask for: its labels."""
    counts = config.counts
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    nothing = np.empty((0,), np.float32)
    return Dataset(
        np.empty((len(labels), 0), np.float32),
        labels,
        nothing.reshape(0, 0),
        np.empty(0, np.int64),
        len(counts),
    )
