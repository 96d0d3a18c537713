"""Speed of training: images per second, share of the time in metrics, peak memory.

Run: python benchmarks/training.py [--preset paper-small] [--steps 40] [--per-class 120] [--fused] [--no-kernels]
         [--out training.json]
Trains the preset's network with its recipe on random images of the right shape, so no data set is needed. A
snapshot's metrics are those of metrics.jsonl: features of the probe, NC1-NC4, accuracies on all samples; where a
kernel is measured, its block constants come on top. Compilation is left out: the first call of everything is timed
apart. The minutes in all are computed from these rates for the preset's whole run; files are not in them.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ntkflow_validation.config.config import DataConfig, RunConfig
from ntkflow_validation.config.presets import preset
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.datasets.batches import batches_of
from ntkflow_validation.models import build
from ntkflow_validation.runs.measurement_run import measure_snapshot
from ntkflow_validation.runs.training_run import planned_kernels, snapshot_metrics
from ntkflow_validation.training.steps import snapshot_steps, total_steps
from ntkflow_validation.training.train import make_advance, observe, prepared_start, recalibrated

# Steps are timed in so many blocks; the median and the fastest are printed, since other work on a machine only slows.
BLOCKS = 5
SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "fashion-mnist": (28, 28, 1), "cifar10": (32, 32, 3)}


def random_images(config: DataConfig, tests: int = 1000) -> Dataset:
    """As many random images as the configuration has real ones; at most `tests` for testing."""
    rng = np.random.default_rng(0)
    N, shape = config.classes * config.per_class, SHAPES[config.name]
    x, x_test = (rng.normal(size=(k, *shape)).astype(np.float32) for k in (N, tests))
    labels = np.repeat(np.arange(config.classes), config.per_class)
    labels_test = rng.integers(0, config.classes, tests)
    return Dataset(x, labels, x_test, labels_test, config.classes, 0, config.probe_per_class)


def seconds_of_steps(
    config: RunConfig, dataset: Dataset, steps: int, fused: bool
) -> tuple[float, list[float]]:
    """Seconds of the first step, with compilation, and seconds a step of `BLOCKS` blocks of later ones."""
    network = build(config.model, dataset.input_shape, dataset.classes, config.seed)
    recipe = config.training
    advance = make_advance(network, recipe, dataset.per_class, fused)
    x, labels = jnp.asarray(dataset.x), jnp.asarray(dataset.labels.astype(np.int32))
    state, times = prepared_start(network, dataset, recipe), []
    each = -(-steps // BLOCKS)
    for ahead in (range(1), *(range(1 + i * each, 1 + (i + 1) * each) for i in range(BLOCKS))):
        rows = batches_of(dataset.labels, dataset.classes, recipe.batch_per_class, 0, ahead)
        began = time.perf_counter()
        state = jax.block_until_ready(advance(state, x, labels, rows))
        times.append((time.perf_counter() - began) / len(ahead))
    return times[0], times[1:]


def seconds_of_metrics(config: RunConfig, dataset: Dataset) -> tuple[float, float]:
    """Seconds of the first snapshot with its metrics, with compilation, and of the second."""
    network = build(config.model, dataset.input_shape, dataset.classes, config.seed)
    state, times = prepared_start(network, dataset, config.training), []
    for _ in range(2):
        began = time.perf_counter()
        seen = recalibrated(network, dataset, state) if config.recalibrates else state
        snapshot_metrics(observe(network, dataset, seen, 0, 0.0), dataset, network)
        times.append(time.perf_counter() - began)
    return times[0], times[1]


def seconds_of_kernel(config: RunConfig, dataset: Dataset) -> tuple[float, float]:
    """Seconds of the first measured kernel, with compilation, and of the second."""
    network = build(config.model, dataset.input_shape, dataset.classes, config.seed)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        measure_snapshot(network, network.initial, dataset, config.kernels)
        times.append(time.perf_counter() - began)
    return times[0], times[1]


def peak_memory() -> float:
    """MiB: of the device where it tells, else of the process."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return float(stats["peak_bytes_in_use"]) / 2**20
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


def host() -> dict[str, Any]:
    """What the numbers were measured on."""
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def main(
    name: str = "paper-small",
    steps: int = 40,
    per_class: int | None = None,
    fused: bool | None = None,
    kernels: bool = True,
    out: Path | None = None,
) -> dict[str, float]:
    """Print the table, write it to a file when told; returns its numbers."""
    config = preset(name).with_per_class(per_class)
    if config.training.learning_rate == 0:
        raise SystemExit("this preset chooses its rate; its steps are those of `digits`")
    on_device = jax.default_backend() != "cpu" if fused is None else fused
    dataset = random_images(config.data)
    m = dataset.per_class
    total = total_steps(config.training, m)
    first, blocks = seconds_of_steps(config, dataset, steps, on_device)
    step = float(np.median(blocks))
    first_metrics, metrics = seconds_of_metrics(config, dataset)
    measured = len(planned_kernels(config, total)) if kernels and config.kernels.while_training else 0
    first_kernel, kernel = seconds_of_kernel(config, dataset) if measured else (0.0, 0.0)
    snapshots = len(snapshot_steps(total, config.training.snapshots, config.training.spacing))
    in_steps, in_metrics, in_kernels = total * step, snapshots * metrics, measured * kernel
    whole = in_steps + in_metrics + in_kernels
    batch = (config.training.batch_per_class or m) * dataset.classes
    result = {
        "images per second": batch / step,
        "of the fastest block": batch / min(blocks),
        "seconds per step": step,
        "seconds per snapshot": metrics,
        "seconds per kernel": kernel,
        "share of metrics": in_metrics / whole,
        "share of kernels": in_kernels / whole,
        "minutes in all": whole / 60,
        "compilation, seconds": first + first_metrics - metrics + first_kernel - kernel,
        "peak memory, MiB": peak_memory(),
    }
    kind = "one program" if on_device else "loop"
    print(f"{name}: {config.model.name}, batch {batch}, N {m * dataset.classes}, {jax.devices()[0]}, {kind}")
    print(f"  {total} steps, {snapshots} snapshots, {measured} kernels in the whole run; {steps} steps timed")
    for key, value in result.items():
        print(f"  {key:22s} {value:10.4g}")
    if out is not None:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        record: dict[str, Any] = {
            "load": load,
            "model": config.model.name,
            "batch": batch,
            "N": m * dataset.classes,
            "loop": kind,
        }
        record |= {"steps": total, "snapshots": snapshots, "kernels": measured, "steps timed": steps}
        write(out, name, {**record, **result})
    return result


def write(out: Path, name: str, record: dict[str, Any]) -> None:
    """Put one preset's numbers into a file that may hold others of the same machine."""
    document: dict[str, Any] = {"host": host(), "presets": {}}
    if out.exists():
        found = json.loads(out.read_text(encoding="utf-8"))
        document["presets"] = found["presets"] if found["host"] == document["host"] else {}
    document["presets"][name] = record
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    temporary.replace(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="paper-small")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--fused", action=argparse.BooleanOptionalAction)
    parser.add_argument("--kernels", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, help="JSON file; numbers of other presets in it are kept")
    given = parser.parse_args()
    main(given.preset, given.steps, given.per_class, given.fused, given.kernels, given.out)
