"""Block constants of a network's features' NTK: this package against two plain algorithms.

Run: python benchmarks/kernels.py [--model resnet20] [--per-class 12] [--plain-neurons 16] [--out kernels.json]

Same network, same images, one process per method so that each has its own peak memory:
  pairwise       a gradient of both samples for every pair, as research code does; a random subset of the pairs
                 of one neuron is timed and scaled to all pairs (and neurons), which the table says
  plain          per-sample Jacobian of some neurons in one array, then one product per neuron
  gram, some     this package's exact method on the same neurons as plain
  gram, rows     the same on all neurons with every gradient written out, no factors of layers; not by default
  gram           this package's exact method on all neurons
  class-sums     this package's exact block constants without N x N kernels
  probes         this package's estimate
Times leave compilation out: every method runs once before, in full or on some neurons. Beside the seconds on the
clock stand those of all cores together, which say less about parallel work but do not depend on what else the
machine does. Peak memory is what the process added to the network and its first forward pass.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

DEFAULT = ("pairwise", "plain", "gram, some", "gram", "class-sums", "probes")
METHODS = (*DEFAULT, "gram, rows")
CONSTANTS = ("kappa_d", "kappa_c", "kappa_n", "mu_single")


class Clock:
    """Seconds on the clock and of all cores together inside a with statement."""

    def __enter__(self) -> "Clock":
        self.began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.took = time.perf_counter() - self.began[0], time.process_time() - self.began[1]

    def seconds(self, scale: float = 1.0) -> dict[str, float]:
        """Both, times `scale`."""
        return {"seconds": scale * self.took[0], "cpu_seconds": scale * self.took[1]}


def problem(settings: dict[str, Any]) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Features, parameters, images in clusters, labels."""
    from ntkflow_validation.config.config import ModelConfig
    from ntkflow_validation.models import build

    size, C, m = settings["image"], settings["classes"], settings["per_class"]
    kind = settings["model"]
    sizes = {"features": 64, "width": 16} if kind in ("resnet20", "cnn") else {}
    norm = {"norm": "batch"} if kind.startswith(("resnet", "vgg", "densenet")) else {}
    network = build(
        ModelConfig(name=kind, **{**sizes, **norm, **settings["config"]}), (size, size, 1), C, seed=0
    )
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(C), m)
    images = rng.normal(size=(C, size, size, 1))[labels] + rng.normal(size=(C * m, size, size, 1))
    variables = network.initial

    def features(body: Any, x: Any) -> Any:
        return network.body_features(body, variables, x)

    return features, variables.params["body"], images.astype(np.float32), labels


def pairwise(settings: dict[str, Any]) -> dict[str, Any]:
    """Seconds for all pairs of one neuron, from a subset; both gradients for each pair."""
    import jax
    import jax.numpy as jnp

    features, params, x, _ = problem(settings)
    x, N = jnp.asarray(x), len(x)

    @jax.jit
    def entry(q: Any, a: Any, b: Any) -> Any:
        one, two = (jax.grad(lambda r, z=z: features(r, z[None])[0, 0])(q) for z in (a, b))
        return sum(jnp.vdot(u, v) for u, v in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))

    entry(params, x[0], x[1]).block_until_ready()
    pairs = np.random.default_rng(1).integers(N, size=(settings["pairs"], 2))
    with Clock() as clock:
        for i, j in pairs:
            entry(params, x[i], x[j]).block_until_ready()
    n = jax.eval_shape(features, params, x[:1]).shape[1]
    scale = N * (N + 1) / 2 / len(pairs)
    return {
        "neurons": 1,
        **clock.seconds(scale),
        "timed_pairs": len(pairs),
        "all_neurons": clock.seconds(scale * n),
    }


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Jacobian of some neurons on every sample in one array, then a product per neuron."""
    import jax
    import jax.numpy as jnp

    features, params, x, labels = problem(settings)
    k = settings["plain_neurons"]

    @jax.jit
    def rows(q: Any, xi: Any) -> Any:
        J = jax.jacrev(lambda r: features(r, xi[None])[0, :k])(q)
        return jnp.concatenate([leaf.reshape(k, -1) for leaf in jax.tree.leaves(J)], axis=1)

    rows(params, jnp.asarray(x[0])).block_until_ready()
    with Clock() as clock:
        J = jnp.stack([rows(params, jnp.asarray(xi)) for xi in x])
        K = np.asarray(jnp.einsum("ikp,jkp->ij", J, J)) / k
    same, eye = labels[:, None] == labels, np.eye(len(K), dtype=bool)
    d, c, n = (float(K[mask].mean()) for mask in (eye, same & ~eye, ~same))
    return {"neurons": k, **clock.seconds(), "values": dict(zip(CONSTANTS, (d, c, n, d - c), strict=True))}


def ours(settings: dict[str, Any], method: str) -> dict[str, Any]:
    """One method of this package; a first call, on some neurons where the timed one takes all, compiles."""
    from ntkflow_validation.kernels import measure
    from ntkflow_validation.kernels.backends.layers import Layer

    if method == "gram, rows":
        Layer.wins = property(lambda _: False)  # type: ignore[assignment,method-assign]
    features, params, x, labels = problem(settings)
    chosen = {
        "method": method.split(",", maxsplit=1)[0],
        "memory": settings["memory"],
        "probes": settings["probes"],
    }
    if method == "gram, some":
        chosen["neurons"] = settings["plain_neurons"]
    # As many as are handled at once, so that the shapes are those of the timed call.
    few = {"gram": {"neurons": 16}, "gram, rows": {"neurons": 16}, "class-sums": {"neurons": 8}}.get(
        method, {}
    )
    measure(features, params, x, labels, **{**chosen, **few})
    with Clock() as clock:
        found = measure(features, params, x, labels, **chosen)
    constants = {name: getattr(found, name) for name in CONSTANTS}
    return {
        "neurons": found.total_neurons if method == "probes" else found.neurons,
        **clock.seconds(),
        "values": {name: c.value for name, c in constants.items()},
        "standard_errors": {name: c.standard_error for name, c in constants.items()},
    }


def child(settings: dict[str, Any], method: str) -> dict[str, Any]:
    """Run one method here and add its peak memory."""
    import jax.numpy as jnp

    features, params, x, _ = problem(settings)
    jnp.asarray(features(params, jnp.asarray(x[:2]))).block_until_ready()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = {"pairwise": pairwise, "plain": plain}.get(method)
    result = run(settings) if run else ours(settings, method)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**result, "peak_mib": (peak - base) / 1024}


def host() -> dict[str, Any]:
    """What the numbers depend on."""
    import jax

    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "device": jax.devices()[0].device_kind,
    }


def main(
    settings: dict[str, Any], methods: tuple[str, ...] = DEFAULT, out: Path | None = None
) -> dict[str, Any]:
    """Run every method in a process of its own, print the table, write the JSON."""
    facts, results = host(), {}
    document: dict[str, Any] = {}
    print(f"{settings['model']}, {settings['classes']} x {settings['per_class']} images, {facts}")
    for method in methods:
        command = [sys.executable, __file__, "--child", method, "--settings", json.dumps(settings)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        result = results[method] = json.loads(done.stdout.splitlines()[-1])
        print(f"{method:12s} {result['neurons']:4d} neurons {result['seconds']:9.2f} s ", end="")
        print(f"{result['cpu_seconds']:9.2f} s CPU", end="")
        print(f"   peak {result['peak_mib']:7.0f} MiB   {result.get('values', '')}", flush=True)
        document = {"host": facts, "settings": settings, "results": results, "ratios": ratios(results)}
        if out:
            # After every method: what was measured is kept.
            out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for name, value in ratios(results).items():
        print(f"  {name}: {value:.4g}")
    return document


def ratios(results: dict[str, Any]) -> dict[str, float]:
    """Speed against pairwise on all neurons, memory against plain, error of the estimate."""
    found: dict[str, float] = {}
    for kind, words in (("seconds", ""), ("cpu_seconds", " in CPU time")):
        if "pairwise" in results:
            slow = results["pairwise"]["all_neurons"][kind]
            for method in sorted(set(results) & {"gram", "class-sums", "probes"}):
                found[f"{method}: times faster than pairwise{words}"] = slow / results[method][kind]
            if "gram, some" in results:
                some = results["gram, some"]
                each = some[kind] / some["neurons"]
                found[f"gram, some: times faster than pairwise, per neuron{words}"] = (
                    results["pairwise"][kind] / each
                )
        for name, fast, other in (
            ("gram: times faster than plain", "gram, some", "plain"),
            ("gram: times faster than with gradients written out", "gram", "gram, rows"),
        ):
            if {fast, other} <= set(results):
                found[name + words] = results[other][kind] / results[fast][kind]
    if {"plain", "gram, some"} <= set(results):
        a, b = results["plain"], results["gram, some"]
        found["gram: share of plain's memory"] = b["peak_mib"] / a["peak_mib"]
    return {**found, **accuracy(results)}


def accuracy(results: dict[str, Any]) -> dict[str, float]:
    """Stated error of the estimate, and the actual one where the exact values were measured."""
    if "probes" not in results:
        return {}
    found: dict[str, float] = {}
    estimate, errors = (results["probes"][key] for key in ("values", "standard_errors"))
    exact = next((results[name]["values"] for name in ("gram", "class-sums") if name in results), None)
    for name in CONSTANTS:
        found[f"probes: relative standard error of {name}"] = errors[name] / estimate[name]
        if exact:
            found[f"probes: relative error of {name}"] = estimate[name] / exact[name] - 1
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--config", type=json.loads, default={}, help="more settings of the network, as JSON")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--per-class", type=int, default=12)
    parser.add_argument("--image", type=int, default=28)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--plain-neurons", type=int, default=16)
    parser.add_argument("--probes", type=int, default=16)
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--methods", nargs="+", default=list(DEFAULT), choices=METHODS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, help=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    if given["child"]:
        print(json.dumps(child(given["settings"], given["child"])))
    else:
        extra = {key: given.pop(key) for key in ("out", "child", "settings", "methods")}
        main(given, tuple(extra["methods"]), extra["out"])
