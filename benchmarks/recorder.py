"""What recording costs: a training loop with and without a recorder that looks at every hundredth step.

Run: python benchmarks/recorder.py [--steps 1000] [--repeat 3]
Small networks on 1,000 digits of 24 x 24 pixels, in batches of 100, are trained alternately plain and recorded: features of
500 of the samples, every metric, snapshots as they fall due, no kernels, whose share of the time is a setting. What both compile
is compiled before, and so are the features, by a record of step 0. Prints CPU seconds of both and their quotient, from
one run, and writes results/recorder.json. To pass 500 samples forward after every 10,000 that were trained on is some
1.7 % by itself.
"""

import argparse
import json
import statistics
import tempfile
import time
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


class MLP(nnx.Module):
    """Two hidden layers of 512, 64 features."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in ((576, 512), (512, 512), (512, 64))])
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def features(self, x: jax.Array) -> jax.Array:
        """h(x)."""
        h = x.reshape(len(x), -1)
        for layer in self.layers:
            h = nnx.relu(layer(h))
        return h


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


def trained(kind: type, X: np.ndarray, y: np.ndarray, steps: int, record: Any = None) -> float:
    """Seconds of CPU time of a training, compiled beforehand: other programs on the machine do not count."""
    graph, state = nnx.split(kind(nnx.Rngs(0)))
    rule, targets = optax.sgd(RATE), jnp.asarray(np.eye(10, dtype=np.float32)[y])
    x, optimiser = jnp.asarray(X), rule.init(state)

    @jax.jit
    def step(state: Any, optimiser: Any, rows: jax.Array) -> Any:
        def loss(state: Any) -> jax.Array:
            net = nnx.merge(graph, state)
            return 0.5 * jnp.mean(jnp.sum((net.head(net.features(x[rows])) - targets[rows]) ** 2, axis=1))

        updates, after = rule.update(jax.grad(loss)(state), optimiser)
        return optax.apply_updates(state, updates), after

    rng = np.random.default_rng(0)
    batches = [jnp.asarray(rng.permutation(N)[:BATCH]) for _ in range(steps)]
    jax.block_until_ready(step(state, optimiser, batches[0]))
    if record is not None:
        record(0, state)
    began = time.process_time()
    for k, rows in enumerate(batches):
        state, optimiser = step(state, optimiser, rows)
        if record is not None:
            record(k + 1, state)
    jax.block_until_ready(state)
    return time.process_time() - began


def main(steps: int = 1000, repeat: int = 3) -> dict[str, dict[str, float]]:
    """Print the table; returns seconds plain and recorded, and their quotient, by network."""
    digits = load_digits()
    X = np.kron(digits.images[:N] / 16, np.ones((1, 3, 3))).astype(np.float32)[..., None]
    y = digits.target[:N]
    clock = nf.Clock(RATE, "half-squared", "batch-mean", samples=N, classes=10, batch=BATCH)
    found = {}
    for kind in (MLP, CNN):
        graph, _ = nnx.split(kind(nnx.Rngs(0)))
        times: dict[str, list[float]] = {"plain": [], "recorded": []}
        for _ in range(repeat):
            with tempfile.TemporaryDirectory() as folder:
                recorder = Recorder(
                    Path(folder) / "run", y[:SEEN], clock=clock, X=X[:SEEN], kernels=None,
                    features=lambda state, x, graph=graph: nnx.merge(graph, state).features(x),
                    head=lambda state, graph=graph: nnx.merge(graph, state).head,
                )  # fmt: skip
                both = (trained(kind, X, y, steps), trained(kind, X, y, steps, each(recorder, EVERY)))
                recorder.close()
            for name, seconds in zip(times, both, strict=True):
                times[name].append(seconds)
        row = {name: statistics.median(values) for name, values in times.items()}
        row["quotient"] = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
        found[kind.__name__] = row
        print(
            f"{kind.__name__}, {steps} steps: plain {row['plain']:.2f} s, recorded {row['recorded']:.2f} s, "
            f"{100 * (row['quotient'] - 1):+.1f} %"
        )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    RESULTS.write_text(json.dumps(main(given.steps, given.repeat), indent=1) + "\n")
