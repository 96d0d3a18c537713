"""Speed of training: images per second, share of the time in metrics, peak memory.

Run: python benchmarks/training.py [--preset paper-small] [--steps 20] [--per-class 120] [--fused]
Trains the preset's network with its recipe on random images of the right shape, so no data set is needed.
Compilation is left out: the first call of everything is timed apart.
"""

import argparse
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from validation.clock import snapshot_steps, total_steps
from validation.config import DataConfig, RunConfig
from validation.datasets import Dataset
from validation.datasets.batches import batches_of
from validation.models import build
from validation.presets import preset
from validation.train import make_advance, observe, prepared_start
from validation.training_run import snapshot_metrics

SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "fashion-mnist": (28, 28, 1), "cifar10": (32, 32, 3)}


def random_images(config: DataConfig, tests: int = 1000) -> Dataset:
    """As many random images as the configuration has real ones; at most `tests` for testing."""
    rng = np.random.default_rng(0)
    N, shape = config.classes * config.per_class, SHAPES[config.name]
    x, x_test = (rng.normal(size=(k, *shape)).astype(np.float32) for k in (N, tests))
    labels = np.repeat(np.arange(config.classes), config.per_class)
    labels_test = rng.integers(0, config.classes, tests)
    return Dataset(x, labels, x_test, labels_test, config.classes, 0, config.probe_per_class)


def seconds_of_steps(config: RunConfig, dataset: Dataset, steps: int, fused: bool) -> tuple[float, float]:
    """Seconds of the first step, with compilation, and of `steps` later ones."""
    network = build(config.model, dataset.input_shape, dataset.classes, config.seed)
    recipe = config.training
    advance = make_advance(network, recipe, dataset.per_class, fused)
    x, labels = jnp.asarray(dataset.x), jnp.asarray(dataset.labels.astype(np.int32))
    state, times = prepared_start(network, dataset, recipe), []
    for ahead in (range(1), range(1, 1 + steps)):
        rows = batches_of(dataset.labels, dataset.classes, recipe.batch_per_class, 0, ahead)
        began = time.perf_counter()
        state = jax.block_until_ready(advance(state, x, labels, rows))
        times.append(time.perf_counter() - began)
    return times[0], times[1]


def seconds_of_metrics(config: RunConfig, dataset: Dataset) -> tuple[float, float]:
    """Seconds of the first snapshot with its metrics, with compilation, and of the second."""
    network = build(config.model, dataset.input_shape, dataset.classes, config.seed)
    state, times = prepared_start(network, dataset, config.training), []
    for _ in range(2):
        began = time.perf_counter()
        snapshot_metrics(observe(network, dataset, state, 0, 0.0), dataset, network)
        times.append(time.perf_counter() - began)
    return times[0], times[1]


def peak_memory() -> float:
    """MiB: of the device where it tells, else of the process."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return float(stats["peak_bytes_in_use"]) / 2**20
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


def main(
    name: str = "paper-small", steps: int = 20, per_class: int | None = None, fused: bool | None = None
) -> dict[str, float]:
    """Print the table; returns its numbers."""
    config = preset(name).with_per_class(per_class)
    if config.training.learning_rate == 0:
        raise SystemExit("this preset chooses its rate; its steps are those of `digits`")
    on_device = jax.default_backend() != "cpu" if fused is None else fused
    dataset = random_images(config.data)
    first, later = seconds_of_steps(config, dataset, steps, on_device)
    first_metrics, metrics = seconds_of_metrics(config, dataset)
    m = dataset.per_class
    total = total_steps(config.training, m)
    snapshots = len(snapshot_steps(total, config.training.snapshots, config.training.spacing))
    in_steps, in_metrics = total * later / steps, snapshots * metrics
    batch = (config.training.batch_per_class or m) * dataset.classes
    result = {
        "images per second": steps * batch / later,
        "seconds per step": later / steps,
        "seconds per snapshot": metrics,
        "share of metrics": in_metrics / (in_steps + in_metrics),
        "minutes in all": (in_steps + in_metrics) / 60,
        "compilation, seconds": first + first_metrics - metrics,
        "peak memory, MiB": peak_memory(),
    }
    kind = "one program" if on_device else "loop"
    print(f"{name}: {config.model.name}, batch {batch}, N {m * dataset.classes}, {jax.devices()[0]}, {kind}")
    for key, value in result.items():
        print(f"  {key:22s} {value:10.4g}")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="paper-small")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--fused", action=argparse.BooleanOptionalAction)
    given = parser.parse_args()
    main(given.preset, given.steps, given.per_class, given.fused)
