"""How long a grid of trainings will take here, from a few measured steps of each kind of network."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ntkflow._types import Json
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.sweep.grid import TrainingSweep
from ntkflow_validation.training.steps import total_steps

TEST = {"digits": 1197, "mnist": 10_000, "fashion-mnist": 10_000, "cifar10": 10_000}
# Exact gradients of one neuron on as many images cost a little more than a training step on them (docs/benchmarks.md).
NEURON_STEPS = 1.25
# Features of a network of one's own that has not been made yet.
UNKNOWN = 64
# Steps whose time is taken on an accelerator, where they are one program.
TIMED = 25


@dataclass(frozen=True)
class Speed:
    """What was measured on one kind of network.

    Attributes:
        step: seconds of an optimiser step.
        forward: seconds of a forward pass of a batch.
        compiling: seconds before the first.
        device: where.
    """

    step: float
    forward: float
    compiling: float
    device: str


@dataclass(frozen=True)
class Estimate:
    """Time of a grid.

    Attributes:
        cells: trainings.
        steps: optimiser steps in all.
        work: seconds of one worker for all.
        workers: that share them.
        device: where it was measured.
    """

    cells: int
    steps: int
    work: float
    workers: int
    device: str

    @property
    def seconds(self) -> float:
        """Until the last training ends; no grid is faster than its longest training."""
        return self.work / min(self.workers, max(self.cells, 1))

    def to_dict(self) -> Json:
        """Plain values."""
        return {**asdict(self), "seconds": self.seconds}

    def words(self) -> str:
        """One line."""
        return (
            f"{counted(self.cells, 'training')}, {self.steps} steps: about {in_words(self.seconds)} with "
            f"{counted(self.workers, 'worker')} on {self.device}"
        )


def estimate(grid: TrainingSweep, workers: int | None = None) -> Estimate:
    """Measure a few steps of every kind of network in a grid, each in a process like those of the sweep."""
    return estimate_runs([cell.run for cell in grid.cells if cell.run is not None], workers)


def estimate_runs(runs: Sequence[RunConfig], workers: int | None = None) -> Estimate:
    """As `estimate`, of some trainings."""
    from ntkflow_validation.sweep.devices import accelerators, default_workers
    from ntkflow_validation.sweep.running import local_workers

    together = workers or default_workers(accelerators())
    speeds: dict[tuple[object, ...], Speed] = {}
    work, steps, device = 0.0, 0, ""
    with local_workers(together) as executor:
        for run in runs:
            kind = _kind(run)
            if kind not in speeds:
                speeds[kind] = executor.submit(measure_speed, run.to_dict()).result()
            speed = speeds[kind]
            work, steps = (
                work + seconds_of(run, speed),
                steps + total_steps(run.training, run.data.mean_per_class),
            )
            device = speed.device
    return Estimate(len(runs), steps, work, together, device)


def _kind(run: RunConfig) -> tuple[object, ...]:
    # All that a step's time depends on: programs and shapes; where the weights begin changes neither.
    model = tuple((k, v) for k, v in asdict(run.model).items() if k != "init")
    return (model, run.data.name, run.data.classes, run.training.batch_per_class or run.data.mean_per_class)


def measure_speed(config: Json) -> Speed:
    """Seconds of compiling, of a step and of a forward pass on random images, on the worker's device as training does it."""
    from collections.abc import Callable
    from dataclasses import replace
    from functools import partial

    import jax
    import jax.numpy as jnp
    import numpy as np

    from ntkflow_validation.datasets import input_shape
    from ntkflow_validation.models import build
    from ntkflow_validation.training.train import make_advance, start

    run = RunConfig.from_dict(config)
    C, m = run.data.classes, run.training.batch_per_class or run.data.mean_per_class
    shape = input_shape(run.data)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(C * m, *shape)).astype(np.float32))
    labels = jnp.repeat(jnp.arange(C), m)
    # Any rate will do: a step takes as long, and finding the stable one takes longer than what is timed.
    recipe = replace(run.training, learning_rate=run.training.learning_rate or 0.01)
    network = build(run.model, shape, C, 0)
    fused = jax.default_backend() != "cpu"
    count = TIMED if fused else 1
    advance = make_advance(network, recipe, run.data.mean_per_class, fused)
    rows = np.tile(np.arange(C * m), (count, 1))
    state = start(network, recipe, run.data.mean_per_class)

    def seconds(call: Callable[[], object]) -> tuple[float, float]:
        """The first time, with compiling, and the shortest of three others."""
        taken = []
        for _ in range(4):
            began = time.perf_counter()
            jax.block_until_ready(call())
            taken.append(time.perf_counter() - began)
        return taken[0], min(taken[1:])

    compiling, steps = seconds(partial(advance, state, x, labels, rows))
    _, forward = seconds(partial(network.compiled_features, *state.variables, x))
    return Speed(steps / count, forward, compiling, jax.devices()[0].device_kind)


def seconds_of(run: RunConfig, speed: Speed) -> float:
    """Training, metrics and kernels of one run."""
    recipe, data, kernels = run.training, run.data, run.kernels
    batch = (recipe.batch_per_class or data.mean_per_class) * data.classes
    per_image = speed.step / batch
    test = data.test_per_class * data.classes or TEST.get(data.name, 0)
    snapshots = recipe.snapshots * speed.forward / batch * (test + 2 * data.samples)
    images = (kernels.per_class or data.mean_per_class) * data.classes
    neurons = kernels.neurons or run.model.features or UNKNOWN
    measuring = NEURON_STEPS * per_image * images * (kernels.count * neurons + data.classes + neurons)
    steps = total_steps(recipe, data.mean_per_class)
    # Features, accuracies and kernels are programs of their own.
    return 3 * speed.compiling + steps * speed.step + snapshots + measuring


def counted(number: int, noun: str) -> str:
    """A number of things, in the plural where there are several.

    >>> counted(1, "training"), counted(2, "training")
    ('1 training', '2 trainings')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def in_words(seconds: float) -> str:
    """A duration with the unit that fits.

    >>> in_words(90), in_words(86400 * 3)
    ('1.5 minutes', '3 days')
    """
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size or (unit == "minutes" and seconds >= size):
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} seconds"
