"""What recording costs: a training loop with and without a recorder that looks at every hundredth step.

Run: python benchmarks/recorder.py [--steps 1000] [--repeat 3] [--only torch]
Small networks of JAX and, where it is installed, of PyTorch on 1,000 digits of 24 x 24 pixels, in batches of 100, are trained
alternately plain and recorded: features of 500 of the samples, every metric, snapshots as they fall due, no kernels, whose
share of the time is a setting. What both compile is compiled before, and so are the features, by a record of step 0. Prints
seconds of CPU and of the clock on the wall of both and their quotients, from one run, and the load of the machine, by
which the latter is no better than a guess; writes results/recorder.json. To pass 500 samples forward after every 10,000
that were trained on is some 1.7 % by itself, and no more where batch normalisation is recalibrated.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ntkflow_validation.recording import Recorder, each
from sklearn.datasets import load_digits

import ntkflow as nf

RESULTS = Path(__file__).parent / "results" / "recorder.json"
EVERY, BATCH, N, SEEN, RATE = 100, 100, 1000, 500, 0.1
# Of CPU, on the wall, and of CPU inside the recorder.
Seconds = tuple[float, float, float]


class MLP(nnx.Module):
    """Two hidden layers of 512, 64 features."""

    norms = False

    def __init__(self, rngs: nnx.Rngs) -> None:
        widths = ((576, 512), (512, 512), (512, 64))
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in widths])
        self.normalise = nnx.List([nnx.BatchNorm(b, rngs=rngs) for _, b in widths] if self.norms else [])
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def features(self, x: jax.Array) -> jax.Array:
        """h(x)."""
        h = x.reshape(len(x), -1)
        for k, layer in enumerate(self.layers):
            h = layer(h)
            h = nnx.relu(self.normalise[k](h) if self.norms else h)
        return h


class NormalisedMLP(MLP):
    """The same with batch normalisation."""

    norms = True


class CNN(nnx.Module):
    """Three convolutions of 16 to 32 channels, 64 features."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.convolutions = nnx.List(
            [nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in ((1, 16), (16, 32), (32, 32))]
        )
        self.last, self.head = nnx.Linear(32 * 36, 64, rngs=rngs), nnx.Linear(64, 10, rngs=rngs)

    def features(self, x: jax.Array) -> jax.Array:
        """h(x)."""
        for k, convolution in enumerate(self.convolutions):
            x = nnx.relu(convolution(x))
            x = nnx.avg_pool(x, (2, 2), (2, 2)) if k < 2 else x
        return nnx.relu(self.last(x.reshape(len(x), -1)))


def features(net: Any, x: Any) -> Any:
    """h(x), of either framework."""
    return net.features(x)


def batches(steps: int) -> list[np.ndarray]:
    """Rows of every step's batch, the same for all."""
    rng = np.random.default_rng(0)
    return [rng.permutation(N)[:BATCH] for _ in range(steps)]


def in_jax(kind: type) -> Callable[[np.ndarray, np.ndarray, int], Iterator[tuple[int, Any]]]:
    """A training of a network of Flax: yields the number of steps done and the network, first of all 0."""

    def train(X: np.ndarray, y: np.ndarray, steps: int) -> Iterator[tuple[int, Any]]:
        net, x = kind(nnx.Rngs(0)), jnp.asarray(X)
        graph, state, rest = nnx.split(net, nnx.Param, ...)
        rule, targets = optax.sgd(RATE), jnp.asarray(np.eye(10, dtype=np.float32)[y])
        optimiser = rule.init(state)

        @jax.jit
        def step(state: Any, rest: Any, optimiser: Any, rows: jax.Array) -> Any:
            def loss(state: Any) -> Any:
                # Variables of its own, which the normalisation writes to.
                leaves, layout = jax.tree.flatten(rest)
                net = nnx.merge(graph, state, jax.tree.unflatten(layout, leaves))
                outputs = net.head(net.features(x[rows]))
                value = 0.5 * jnp.mean(jnp.sum((outputs - targets[rows]) ** 2, axis=1))
                return value, nnx.state(net, nnx.Not(nnx.Param))

            gradient, rest = jax.grad(loss, has_aux=True)(state)
            updates, after = rule.update(gradient, optimiser)
            return optax.apply_updates(state, updates), rest, after

        rows = [jnp.asarray(r) for r in batches(steps)]
        jax.block_until_ready(step(state, rest, optimiser, rows[0]))
        yield 0, net
        for k, r in enumerate(rows, 1):
            state, rest, optimiser = step(state, rest, optimiser, r)
            yield k, lambda: nnx.merge(graph, state, rest)  # noqa: B023 - asked for at once
        jax.block_until_ready(state)

    return train


def in_torch(kind: str) -> Callable[[np.ndarray, np.ndarray, int], Iterator[tuple[int, Any]]]:
    """The same of PyTorch."""
    import torch
    from torch import nn

    def relu(a: int, b: int) -> list[Any]:
        return [nn.Linear(a, b), *([nn.BatchNorm1d(b)] if kind == "NormalisedMLP" else []), nn.ReLU()]

    def net() -> Any:
        torch.manual_seed(0)
        found = nn.Sequential()
        if kind == "CNN":
            found.features = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                nn.AvgPool2d(2), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 64), nn.ReLU(),
            )  # fmt: skip
        else:
            layers = [*relu(576, 512), *relu(512, 512), *relu(512, 64)]
            found.features = nn.Sequential(nn.Flatten(), *layers)
        found.head = nn.Linear(64, 10)
        return found

    def train(X: np.ndarray, y: np.ndarray, steps: int) -> Iterator[tuple[int, Any]]:
        torch.set_num_threads(1)
        module, x = net(), torch.from_numpy(np.moveaxis(X, -1, 1).copy())
        targets = torch.eye(10)[torch.from_numpy(y)]
        optimiser = torch.optim.SGD(module.parameters(), RATE)
        yield 0, module
        for k, rows in enumerate(batches(steps), 1):
            r = torch.from_numpy(rows)
            optimiser.zero_grad()
            (0.5 * ((module.head(module.features(x[r])) - targets[r]) ** 2).sum(1).mean()).backward()
            optimiser.step()
            yield k, module

    return train


def timed(training: Iterator[tuple[int, Any]], record: Any = None) -> Seconds:
    """Seconds of a training, but for its first record, which compiles."""
    _, net = next(training)
    if record is not None:
        record(0, net)
    wall, began, inside = time.perf_counter(), time.process_time(), 0.0
    for step, net in training:
        if record is not None and step % EVERY == 0:
            network = net() if callable(net) and not hasattr(net, "head") else net
            if isinstance(network, nnx.Module):
                # JAX may be some steps behind.
                jax.block_until_ready(nnx.state(network))
            entered = time.process_time()
            record(step, network)
            inside += time.process_time() - entered
    return time.process_time() - began, time.perf_counter() - wall, inside


def main(steps: int = 1000, repeat: int = 3, only: str = "") -> dict[str, dict[str, float]]:
    """Print the table; returns seconds plain and recorded, and their quotients, by network."""
    digits = load_digits()
    X = np.kron(digits.images[:N] / 16, np.ones((1, 3, 3))).astype(np.float32)[..., None]
    y = digits.target[:N]
    clock = nf.Clock(RATE, "half-squared", "batch-mean", samples=N, classes=10, batch=BATCH)
    trainings = {f"jax {kind.__name__}": (in_jax(kind), X) for kind in (MLP, CNN, NormalisedMLP)}
    if find_spec("torch") is not None:
        kinds = ("MLP", "CNN", "NormalisedMLP")
        trainings |= {f"torch {kind}": (in_torch(kind), np.moveaxis(X, -1, 1)) for kind in kinds}
    found: dict[str, dict[str, float]] = {}
    for name, (train, inputs) in trainings.items():
        if only not in name:
            continue
        times: list[tuple[Seconds, Seconds]] = []
        for _ in range(repeat):
            with tempfile.TemporaryDirectory() as folder:
                recorder = Recorder(
                    Path(folder) / "run", y[:SEEN], clock=clock, X=inputs[:SEEN], kernels=None, features=features, head="head"
                )  # fmt: skip
                times.append((timed(train(X, y, steps)), timed(train(X, y, steps), each(recorder, EVERY))))
                recorder.close()
        row = {"load": os.getloadavg()[0], "steps": steps}
        for k, unit in enumerate(("cpu", "wall")):
            row[f"plain_{unit}"] = statistics.median(plain[k] for plain, _ in times)
            row[f"recorded_{unit}"] = statistics.median(recorded[k] for _, recorded in times)
            row[f"quotient_{unit}"] = statistics.median(recorded[k] / plain[k] for plain, recorded in times)
        # Of one process and not the difference of two, so that what else the machine does is in both.
        row["share_inside"] = statistics.median(spent / (cpu - spent) for _, (cpu, _, spent) in times)
        found[name] = row
        print(
            f"{name}, {steps} steps: CPU {row['plain_cpu']:.2f} s, recorded {row['recorded_cpu']:.2f} s, "
            f"{100 * (row['quotient_cpu'] - 1):+.1f} % (wall {100 * (row['quotient_wall'] - 1):+.1f} %, load {row['load']:.1f}); "
            f"inside the recorder {100 * row['share_inside']:.1f} %"
        )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="", help="networks whose name has this in it")
    given = parser.parse_args()
    results = main(given.steps, given.repeat, given.only)
    # Of some networks alone, the rows of the others stay.
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**before, **results}, indent=1) + "\n", encoding="utf-8")
