"""How long a grid of trainings will take here, from a few measured steps of each kind of network."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ntkflow._types import Json
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.sweep.grid import TrainingSweep
from ntkflow_validation.training.steps import total_steps

if TYPE_CHECKING:
    from ntkflow_validation.datasets import Dataset
    from ntkflow_validation.kernels.forecast import Forecast
    from ntkflow_validation.models.base import Network

TEST = {"digits": 1197, "mnist": 10_000, "fashion-mnist": 10_000, "cifar10": 10_000}
# Features of a network of one's own that has not been made yet.
UNKNOWN = 64
# Steps whose time is taken on an accelerator, where they are one program.
TIMED = 25


@dataclass(frozen=True)
class Speed:
    """What was measured on one kind of network.

    Attributes:
        step: seconds of an optimiser step of one network; of several in one program its share.
        forward: seconds of a forward pass of a batch.
        kernels: seconds of the features' kernels at one snapshot, with the run's own settings.
        compiling: seconds before the first.
        device: where.
        together: networks of one program.
    """

    step: float
    forward: float
    kernels: float
    compiling: float
    device: str
    together: int = 1

    def words(self) -> str:
        """One line."""
        beside = f" ({self.together} networks together)" if self.together > 1 else ""
        return (
            f"a step {in_words(self.step)}{beside}, a forward pass {in_words(self.forward)}, kernels at a snapshot "
            f"{in_words(self.kernels)} on {self.device}"
        )


@dataclass(frozen=True)
class Estimate:
    """Time of a grid.

    Attributes:
        cells: trainings.
        steps: optimiser steps in all.
        work: seconds of one worker for all.
        workers: that share them.
        device: where it was measured.
        speeds: what was measured, by network and data.
    """

    cells: int
    steps: int
    work: float
    workers: int
    device: str
    speeds: dict[str, Speed]

    @property
    def seconds(self) -> float:
        """Until the last training ends; no grid is faster than its longest training."""
        return self.work / min(self.workers, max(self.cells, 1))

    def to_dict(self) -> Json:
        """Plain values."""
        return {**asdict(self), "seconds": self.seconds}

    def words(self) -> str:
        """A line for all, and one for each kind of network."""
        whole = (
            f"{counted(self.cells, 'training')}, {self.steps} steps: about {in_words(self.seconds)} with "
            f"{counted(self.workers, 'worker')} on {self.device}"
        )
        return "\n".join([whole, *(f"  {name}: {speed.words()}" for name, speed in self.speeds.items())])


def estimate(grid: TrainingSweep, workers: int | None = None, together: int = 1) -> Estimate:
    """Measure a few steps of every kind of network in a grid, each in a process like those of the sweep.

    Args:
        grid: the trainings.
        workers: that share them; None: as many as a sweep takes.
        together: networks of one program, at most.

    Raises:
        InputError: the device does not hold as many networks.
    """
    return estimate_runs([cell.run for cell in grid.cells if cell.run is not None], workers, together)


def estimate_runs(runs: Sequence[RunConfig], workers: int | None = None, together: int = 1) -> Estimate:
    """As `estimate`, of some trainings."""
    from ntkflow_validation.sweep.devices import accelerators, default_workers
    from ntkflow_validation.sweep.running import local_workers
    from ntkflow_validation.sweep.together import require_room_for

    processes = workers or default_workers(accelerators())
    alike = Counter(map(_kind, runs))
    speeds: dict[tuple[object, ...], Speed] = {}
    work, steps, device = 0.0, 0, ""
    with local_workers(processes) as executor:
        if together > 1:
            require_room_for(runs, together, executor)
        for run in runs:
            kind = _kind(run)
            if kind not in speeds:
                count = min(together, alike[kind])
                speeds[kind] = executor.submit(measure_speed, run.to_dict(), count).result()
            speed = speeds[kind]
            work, steps = (
                work + seconds_of(run, speed),
                steps + total_steps(run.training, run.data.mean_per_class),
            )
            device = speed.device
    return Estimate(len(runs), steps, work, processes, device, _named(speeds))


def _kind(run: RunConfig) -> tuple[object, ...]:
    # All that a step's time depends on: programs and shapes; where the weights begin changes neither.
    model = tuple((k, v) for k, v in asdict(run.model).items() if k != "init")
    batch = run.training.batch_per_class or run.data.mean_per_class
    return (model, run.data.name, run.data.classes, batch, run.data.mean_per_class, run.kernels)


def _named(speeds: dict[tuple[object, ...], Speed]) -> dict[str, Speed]:
    """By network and data, numbered where several are called the same."""
    found: dict[str, Speed] = {}
    for (model, data, *_), speed in speeds.items():
        name = f"{dict(model)['name']}/{data}"  # type: ignore[call-overload]
        again = sum(known.split(" #")[0] == name for known in found)
        found[f"{name} #{again + 1}" if again else name] = speed
    return found


def measure_speed(config: Json, together: int = 1) -> Speed:
    """Seconds of compiling, of a step and of a forward pass on random images, on the worker's device as training does it."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ntkflow_validation.datasets import Dataset, input_shape
    from ntkflow_validation.models import build

    run = RunConfig.from_dict(config)
    C, m = run.data.classes, run.training.batch_per_class or run.data.mean_per_class
    shape = input_shape(run.data)
    x = np.random.default_rng(0).normal(size=(C * m, *shape)).astype(np.float32)
    data = Dataset(x, np.repeat(np.arange(C), m), x[:0], np.zeros(0, np.int64), C)
    # Any rate will do: a step takes as long, and finding the stable one takes longer than what is timed.
    recipe = replace(run.training, learning_rate=run.training.learning_rate or 0.01)
    network = build(run.model, shape, C, 0)
    call, count = _steps(replace(run, training=recipe), network, data, together)
    compiling, steps = _seconds(call)
    forward = _seconds(partial(network.compiled_features, *network.initial, jnp.asarray(x)))[1]
    return Speed(
        steps / count,
        forward,
        _kernels(run, network, shape),
        compiling,
        jax.devices()[0].device_kind,
        together,
    )


def _steps(
    run: RunConfig, network: "Network", data: "Dataset", together: int
) -> tuple[Callable[[], object], int]:
    """A call that makes some optimiser steps, and how many of one network they are."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ntkflow_validation.training.together import Member, advance_of, stacked
    from ntkflow_validation.training.train import make_advance, start

    fused = jax.default_backend() != "cpu"
    count, samples, per_class = TIMED if fused else 1, len(data.labels), run.data.mean_per_class
    state = start(network, run.training, per_class)
    if together == 1:
        rows, labels = np.tile(np.arange(samples), (count, 1)), jnp.asarray(data.labels)
        advance = make_advance(network, run.training, per_class, fused)
        return partial(advance, state, jnp.asarray(data.x), labels, rows), count
    every = np.tile(np.arange(samples), (count, together, 1))
    rates = jnp.full(together, run.training.learning_rate, jnp.float32)
    several = advance_of([Member(run, data, network)] * together, shared=True)
    return partial(several, rates, stacked([state] * together), every), count * together


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    """The first time, with compiling, and the shortest of three others."""
    import jax

    taken = []
    for _ in range(4):
        began = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - began)
    return taken[0], min(taken[1:])


class _ToldError(Exception):
    """Ends a measurement before its long part."""


def _kernels(run: RunConfig, network: "Network", shape: tuple[int, ...]) -> float:
    """How long a measurement says that it will take, on random images."""
    import numpy as np

    from ntkflow_validation.datasets import Dataset
    from ntkflow_validation.runs.measurement_run import measure_snapshot

    C, m = run.data.classes, run.kernels.per_class or run.data.mean_per_class
    x = np.random.default_rng(0).random((C * m, *shape), np.float32)
    data = Dataset(x, np.repeat(np.arange(C), m), x[:0], np.zeros(0, np.int64), C)
    told: list[Forecast] = []

    def stop(forecast: "Forecast") -> None:
        told.append(forecast)
        raise _ToldError

    with suppress(_ToldError):
        measure_snapshot(network, network.initial, data, run.kernels, announce=stop)
    return told[0].seconds


def seconds_of(run: RunConfig, speed: Speed) -> float:
    """Training, metrics and kernels of one run."""
    recipe, data, kernels = run.training, run.data, run.kernels
    batch = (recipe.batch_per_class or data.mean_per_class) * data.classes
    test = data.test_per_class * data.classes or TEST.get(data.name, 0)
    snapshots = recipe.snapshots * speed.forward / batch * (test + 2 * data.samples)
    neurons = kernels.neurons or run.model.features or UNKNOWN
    # At the last snapshot the outputs' kernels as well, a direction a class.
    measuring = speed.kernels * (kernels.count + 1 + data.classes / neurons)
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

    >>> in_words(90), in_words(86400 * 3), in_words(0.0012)
    ('1.5 minutes', '3 days', '1.2 ms')
    """
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size or (unit == "minutes" and seconds >= size):
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} seconds" if seconds >= 0.1 or not seconds else f"{1000 * seconds:.2g} ms"
