"""All that the rungs need to know of a network at the start of a window, measured once and kept in a file."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Features, SampleKernel, Times
from ntkflow.errors import InputError
from ntkflow.problem.losses import loss_named, smoothed
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means, spread
from ntkflow.progress import Progress, silent
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.kernels import Measurement, measure
from ntkflow_validation.kernels.backends.jax_backend import JaxBackend
from ntkflow_validation.kernels.forecast import Forecast
from ntkflow_validation.kernels.methods.class_kernels import ClassKernels
from ntkflow_validation.kernels.methods.components import split
from ntkflow_validation.ladder.cache import Cache
from ntkflow_validation.ladder.operators.base import Operator
from ntkflow_validation.ladder.operators.linearised import (
    FrozenOperator,
    Linearised,
    decayed_part,
    training_direction,
    velocity,
)
from ntkflow_validation.ladder.operators.restricted import Basis, explored, row_basis
from ntkflow_validation.ladder.operators.subspace import residual_krylov
from ntkflow_validation.ladder.trajectories.descent import Recipe, clock_of, features_shrink, recipe_of
from ntkflow_validation.metrics.objective import Objective
from ntkflow_validation.models.base import Network, Variables
from ntkflow_validation.runs.measurement_run import batch_features
from ntkflow_validation.training.train import TrainState, head

# Neurons times samples above which the class kernels are measured in the row space of W only: they take a
# gradient for every direction, class and sample, or where normalisation couples samples one of the whole set for
# every direction and class.
CLASS_LIMIT = 100_000
COUPLED_LIMIT = 25_000
# n N^2 P up to which the N x N kernel of all neurons is measured on the side: some seconds.
SIDE_LIMIT = 1e12
# For what is measured here beside the run's own measurements.
MEMORY = "2GiB"
NAMES = ("within", "contrast", "mean")


def objective_of(config: RunConfig) -> Objective:
    """What a training minimises."""
    training = config.training
    loss = smoothed(loss_named(training.loss), training.label_smoothing)
    return Objective(loss, config.model.head_bias)


@dataclass(frozen=True, eq=False)
class Measured:
    """A network at one snapshot, on the samples whose features were observed.

    Attributes:
        network, train_state, dataset, config, step: the snapshot.
        state: H on the observed samples, W, b.
        sizes: C, s, n.
        kernel: what the run measured there.
        schedule: flow time after the start of this and later measured snapshots, and what was measured there.
        probes: draws of signs for the kernels within classes.
        cache: where measurements are kept.
        progress: called as they go.
        asked: rungs that were named one by one, whose measurements are made whatever they cost.
        announce: told in a sentence what a costly part is about to take.
        drift: |K1 - K0|/|K0| of the N x N kernel, from here to the last of `schedule`; None where it was not formed.
    """

    network: Network
    train_state: TrainState
    dataset: Dataset
    config: RunConfig
    step: int
    state: State
    sizes: Sizes
    kernel: Measurement
    schedule: tuple[tuple[float, Measurement], ...]
    probes: int = 2
    cache: Cache = field(default_factory=Cache)
    progress: Progress = silent
    asked: tuple[str, ...] = ()
    announce: Callable[[str], None] = lambda _: None
    drift: float | None = None

    @cached_property
    def objective(self) -> Objective:
        """What the training minimises."""
        return objective_of(self.config)

    @property
    def m(self) -> float:
        """Samples of each class that are trained on; of classes that differ in size their mean."""
        return self.trained / self.sizes.C

    @property
    def share(self) -> float:
        """s/m: which part of the training samples is observed; their clock runs m/s times faster."""
        return self.sizes.N / self.trained

    @property
    def x(self) -> np.ndarray:
        """Inputs of the observed samples."""
        found: np.ndarray = self.dataset.x[self.dataset.first_of_each_class(self.dataset.probe_per_class)]
        return found

    @property
    def kernel_mean(self) -> SampleKernel | None:
        """The mean over all neurons of the N x N kernels of the observed samples, if that is what the run measured."""
        K = self.kernel.features.mean
        whole = K is not None and len(K) == self.sizes.N and self.kernel.neurons == self.sizes.n
        return K if whole else None

    @cached_property
    def basis(self) -> Basis:
        """Orthonormal basis of the row space of W."""
        return row_basis(self.state.W)

    @property
    def observe_all(self) -> str:
        """What a rung that needs all samples asks for."""
        return "use data.probe_per_class = 0"

    @property
    def coupled(self) -> bool:
        """Whether normalisation moves along: trained on batch statistics and observed with the set's own."""
        return self.config.has_running_statistics and self.config.training.observed == "recalibrated"

    @cached_property
    def linearised(self) -> Linearised:
        """The Jacobian of the features as they are observed."""
        return Linearised(self.network, self.train_state.variables, self.x, self.coupled)

    @cached_property
    def frozen(self) -> Operator:
        """The whole tensor, applied."""
        return FrozenOperator(self.linearised, self.sizes)

    @cached_property
    def still(self) -> FrozenOperator:
        """The whole tensor with the statistics of normalisation held fixed, as kernels are measured."""
        return FrozenOperator(Linearised(self.network, self.train_state.variables, self.x), self.sizes)

    @cached_property
    def residual(self) -> Float64[np.ndarray, "C N"]:
        """R at the start."""
        return self.objective.residual(self.state, self.sizes)

    @cached_property
    def row_classes(self) -> ClassKernels:
        """T and D in the clock of the observed samples; of large networks in the row space of W only."""
        name = "classes" if self.whole or not np.any(self.state.W) else "row_classes"

        def measured() -> Measurement:
            return self._measure(
                "class-kernels" if name == "classes" else "row-class-kernels", bn="batch" if self.coupled else "eval",
                # By probes, since nobody asks for the block constants that come with it.
                method="sign-probes", probes=self.probes, seed=(self.config.seed, 7, self.step),
            )  # fmt: skip

        found: ClassKernels = getattr(self.cache.measurement(f"{name}-{self.probes}", measured), name)
        found = replace(found, T=found.T.astype(np.float64), D=found.D.astype(np.float64), sizes=self.sizes)
        if self.whole and not self.coupled and self.kernel_mean is not None:
            found = found.levelled(self.kernel_mean)
        return found.for_data_set(self.m)

    @property
    def classes(self) -> ClassKernels:
        """The same with all directions of feature space.

        Raises:
            InputError: too many neurons and samples.
        """
        if not self.whole:
            raise InputError(
                "rungs",
                f"{self.sizes.n} neurons on {self.sizes.N} samples",
                "are too many for class kernels outside the row space of W: "
                f"{self.sizes.n * (self.sizes.C + self.probes)} gradients of sums over all samples for every window",
                "observe fewer samples (data.probe_per_class)",
            )
        return self.row_classes

    @cached_property
    def rayleigh(self) -> dict[str, float]:
        """<G_k, Op[G_k]>/|G_k|^2 along the three components of the residual, in the observed samples' clock."""
        G, images = self.components
        sizes = np.einsum("kpi,kpi->k", G, G)
        moved = np.einsum("kpi,kpi->k", G, images)
        there = sizes > 1e-12 * sizes.sum()
        values = dict(
            zip(NAMES, np.where(there, moved / np.where(there, sizes, 1.0), np.nan).tolist(), strict=True)
        )
        return {**values, "within": values["within"] * self.share}

    @cached_property
    def components(self) -> tuple[Float64[np.ndarray, "3 n N"], Float64[np.ndarray, "3 n N"]]:
        """G_k = W^T R_k of the residual's components within classes, of class contrasts, of the mean; and Op[G_k]."""
        R = split(self.residual, self.sizes.labels)
        G = np.einsum("cn,kci->kni", self.state.W, R)
        Z, images = self.residual_directions(1)
        # The same directions at norm 1 of their residuals; images scale with them.
        norms = np.einsum("kpi,kpi->k", Z, G) / np.maximum(
            np.einsum("kpi,kpi->k", Z, Z), np.finfo(float).tiny
        )
        return G, images * norms[:, None, None]

    def explored(self, k: int) -> tuple[Float64[np.ndarray, "nC j"], Float64[np.ndarray, "nC j"]]:
        """Krylov directions of class sums from the residual at the start, and what the class kernel makes of them.

        The class kernel is taken from its matrix where all of it was measured, otherwise applied to each direction
        by one pass through the network and back.
        """
        n, C, sizes = self.sizes.n, self.sizes.C, self.sizes
        sums = class_means(self.state.W.T @ self.residual, sizes) * sizes.masses
        if self.whole:
            T = self.row_classes.T.reshape(n * C, n * C)
            return explored(lambda z: (T @ z.reshape(-1)).reshape(n, C), sums, k)

        def act(z: Float64[np.ndarray, "n C"]) -> Float64[np.ndarray, "n C"]:
            return class_means(self.frozen.act(spread(z / sizes.masses, sizes)), sizes)

        def compute() -> tuple[np.ndarray, ...]:
            return explored(act, sums, k)

        return tuple(self.cache.get((f"krylov_{k}", f"krylov_images_{k}"), compute))  # type: ignore[return-value]

    def residual_directions(
        self, blocks: int
    ) -> tuple[Float64[np.ndarray, "k n N"], Float64[np.ndarray, "k n N"]]:
        """Directions W^T R in which the residual moves, three a block, and what the whole tensor makes of them."""
        known = self.cache.known("residual_images")
        if known is None or len(known) < 3 * blocks:
            _, known = self._followed(blocks, known)
            self.cache.put("residual_images", known)
        return self._followed(blocks, known)

    def _followed(
        self, blocks: int, known: Float64[np.ndarray, "j n N"] | None
    ) -> tuple[Float64[np.ndarray, "k n N"], Float64[np.ndarray, "k n N"]]:
        act: Callable[[Features], Features] = self.frozen.act
        return residual_krylov(act, self.state, self.sizes, blocks, known, self.objective)

    def ready(self, name: str) -> Operator | None:
        """The operator of a rung where it is at hand, in place of what the ladder builds; None elsewhere."""
        del name
        return None

    def recipe(self, steps: tuple[int, ...]) -> Recipe:
        """What the training did from one snapshot to the next, in units of the sum loss."""
        return recipe_of(self.config, steps, self.share, self.momentum, self.shrinking, self.objective)

    def nominal(self, steps: tuple[int, ...], times: Times) -> Times:
        """Times of these steps for the observed samples on a clock that ignores warm-up and drops of the rate."""
        del times
        return clock_of(self.config, steps, scheduled=False) / self.share

    @property
    def trained(self) -> int:
        """Samples that are trained on."""
        return len(self.dataset.labels)

    @property
    def tensor(self) -> Float64[np.ndarray, "n N n N"]:
        """The whole tensor on the observed samples."""
        found = self._measure("tensor").full
        assert found is not None
        return found.values

    @property
    def whole(self) -> bool:
        """Whether the network is small enough for class kernels in all directions of feature space."""
        return self.sizes.n * self.sizes.N <= (COUPLED_LIMIT if self.coupled else CLASS_LIMIT)

    @cached_property
    def mean_kernel(self) -> SampleKernel:
        """Mean over all neurons of the N x N kernels: what the run measured, otherwise measured here.

        Raises:
            InputError: it would take long and neither `sample` nor `kronecker` was asked for by name.
        """
        if self.kernel_mean is not None:
            return self.kernel_mean
        n, N = self.sizes.n, self.sizes.N
        asked = bool({"sample", "kronecker"} & set(self.asked))
        long = n * N * N * self.kernel.parameters > SIDE_LIMIT
        refusal = InputError(
            "rungs",
            "sample",
            f"needs the N x N kernel of all neurons on {N} samples, of which the run measured a part: "
            f"{n * N:,} gradients and {n} products of them",
            "name sample or kronecker in --rungs to measure it",
        )

        def announce(expected: Forecast) -> None:
            self.announce(f"step {self.step}, N x N kernel of all neurons: {expected}")
            if not asked:
                raise refusal

        # Whether it is refused does not depend on what was kept; what it takes in time is told, not written.
        if long and not asked and self.cache.has_measurement("sample"):
            raise refusal
        found = self.cache.measurement("sample", lambda: self._measure(announce=announce if long else None))
        assert found.features.mean is not None
        return found.features.mean

    @cached_property
    def row_mean(self) -> SampleKernel:
        """Mean over the directions of the row space of W of the N x N kernels."""
        if not np.any(self.state.W):
            return self.mean_kernel
        # One neuron beside it: all of them are not asked for.
        found = self.cache.measurement("row-sample", lambda: self._measure("row-space", neurons=1))
        assert found.row_space is not None
        assert found.row_space.mean is not None
        return found.row_space.mean

    def _measure(self, *quantities: str, bn: str = "eval", method: str = "gram", **how: Any) -> Measurement:
        """By `measure`, on the observed samples, what the run's own measurement has not got.

        With normalisation held still, or in mode "batch" as the features are observed.
        """
        variables = self.train_state.variables
        function = batch_features(self.network) if bn == "batch" else self.network.body_features
        return measure(
            JaxBackend(function, variables.params["body"], variables), None, self.x, self.sizes.labels,
            head=(self.state.W, None), quantities=quantities, method=method, memory=MEMORY, bn=bn,
            progress=self.progress, **how,
        )  # fmt: skip

    @cached_property
    def observed_motion(self) -> Features:
        """dH/dt: the features' derivative along the gradient that training follows, in the clock of all samples."""

        def compute() -> tuple[np.ndarray, ...]:
            direction = training_direction(
                self.network, self.train_state, self.dataset, self.config, self.step
            )
            return (self.linearised.push(direction),)

        (dH,) = self.cache.get(("observed_motion",), compute)
        return dH

    @cached_property
    def shrinking(self) -> float:
        """How fast H shrinks when the decaying parameters of the body shrink at rate 1."""
        on = self.config.training.decay_on

        def compute() -> tuple[np.ndarray, ...]:
            moved = self.linearised.push(decayed_part(self.train_state.variables, on))
            return (np.array(features_shrink(self.state.H, moved)),)

        return float(self.cache.get(("shrinking",), compute)[0])

    @cached_property
    def momentum(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """The momentum buffers of H (that of the body, pushed forward), W and b; None without momentum."""
        buffer = velocity(self.train_state)
        if buffer is None:
            return None
        (H,) = self.cache.get(("velocity",), lambda: (self.linearised.push(buffer["body"]),))
        W, b = head(Variables(buffer, {}))
        return H, W, b
