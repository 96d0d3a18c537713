"""The exact traced kernel of one network: torch.func as its tutorial does it, against this package.

Run: python benchmarks/torch_kernels.py [--images 40] [--memory 2GiB] [--cores 2]
     [--methods "ours, jax" ...] [--out torch-kernels.json]

A ResNet20 of 16 channels and n = 64 features on 28 x 28 images, one process per method so that each has its own peak memory:
  torch.func     vmap of jacrev for all images, then einsum over all parameters
  ours, torch    `gram` of the same module with the same weights
  ours, jax      `gram` of this package's own ResNet20 in JAX, of the same sizes
  head, torch    `measure` of the module with a head of 10 classes: deviations within these, outputs, row space, quotients
  head, jax      the same of the network in JAX
Each has the same cores, all of them or as many as are said; PyTorch and XLA take as many threads.
What is timed is the second call; the first, with whatever is compiled, stands beside it. Seconds of all cores together do not
depend on what else the machine does. Peak memory is what the process added to the network and its first forward pass.
Of some methods alone, the rows of the others stay as they are in the file.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

METHODS = ("torch.func", "ours, torch", "ours, jax", "head, torch", "head, jax")
SIZE, CLASSES = 28, 10


def images(count: int) -> np.ndarray:
    """Noise, channels last."""
    return np.random.default_rng(0).normal(size=(count, SIZE, SIZE, 1)).astype(np.float32)


def torch_resnet20() -> Any:
    """Three stages of three blocks of 16, 32 and 64 channels, in inference mode."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, a: int, b: int) -> None:
            super().__init__()
            step = 1 if a == b else 2
            self.one, self.two = nn.Conv2d(a, b, 3, step, 1, bias=False), nn.Conv2d(b, b, 3, 1, 1, bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(b), nn.BatchNorm2d(b)])
            self.skip = nn.Identity() if a == b else nn.Conv2d(a, b, 1, 2, bias=False)

        def forward(self, x: Any) -> Any:
            h = torch.relu(self.norms[0](self.one(x)))
            return torch.relu(self.norms[1](self.two(h)) + self.skip(x))

    torch.manual_seed(0)
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [Block(a, b) for a, b in pairwise(widths)]
    stem = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def by_torch_func(settings: dict[str, Any]) -> tuple[Callable[[], np.ndarray], int]:
    """As the tutorial on neural tangent kernels of PyTorch: Jacobians of every image, contracted over parameters."""
    import torch
    from torch.func import functional_call, jacrev, vmap

    net = torch_resnet20()
    x = torch.from_numpy(images(settings["images"])).permute(0, 3, 1, 2).contiguous()
    params = {name: p.detach() for name, p in net.named_parameters()}
    net(x[:2])

    def single(params: Any, xi: Any) -> Any:
        return functional_call(net, params, (xi[None],))[0]

    def kernel() -> np.ndarray:
        jacobians = vmap(jacrev(single), (None, 0))(params, x)
        flat = [j.flatten(2) for j in jacobians.values()]
        found = sum(torch.einsum("Naf,Maf->NM", j, j) for j in flat)
        return np.asarray(found / flat[0].shape[1])

    return kernel, sum(p.numel() for p in params.values())


def called(given: tuple[Any, ...], settings: dict[str, Any]) -> Callable[[], np.ndarray]:
    """`gram` of a network, its parameters and images; with a head `measure`, of as many images of each class."""
    from ntkflow_validation import gram, measure

    if not settings["head"]:
        return lambda: gram(*given, memory=settings["memory"])
    rng, y = np.random.default_rng(1), np.arange(settings["images"]) % CLASSES
    head = rng.normal(size=(CLASSES, 64)) / 8, rng.normal(size=CLASSES)
    return lambda: np.asarray(measure(*given, y, head=head, memory=settings["memory"]).features.mean)


def by_torch(settings: dict[str, Any]) -> tuple[Callable[[], np.ndarray], int]:
    """This package on the module as it is."""
    from ntkflow_validation import gram

    net, x = torch_resnet20(), images(settings["images"]).transpose(0, 3, 1, 2).copy()
    gram(net, None, x[:1, :, :4, :4], memory="64MiB")
    return called((net, None, x), settings), sum(p.numel() for p in net.parameters())


def by_jax(settings: dict[str, Any]) -> tuple[Callable[[], np.ndarray], int]:
    """This package on its own network."""
    import jax
    import jax.numpy as jnp
    from ntkflow_validation.config.config import ModelConfig
    from ntkflow_validation.models import build

    model = ModelConfig(name="resnet20", features=64, width=16, norm="batch")
    network, x = build(model, (SIZE, SIZE, 1), 10, seed=0), images(settings["images"])
    variables = network.initial
    body = variables.params["body"]
    jnp.asarray(network.body_features(body, variables, jnp.asarray(x[:2]))).block_until_ready()
    count = sum(leaf.size for leaf in jax.tree.leaves(body))

    def features(params: Any, xs: Any) -> Any:
        return network.body_features(params, variables, xs)

    return called((features, body, x), settings), count


def child(settings: dict[str, Any], method: str) -> dict[str, Any]:
    """One method here: twice, with the second call's time and the peak of both."""
    made = by_torch_func if method == "torch.func" else {"torch": by_torch, "jax": by_jax}[method[6:]]
    kernel, parameters = made({**settings, "head": method.startswith("head")})
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(2):
        began = time.perf_counter(), time.process_time()
        found = kernel()
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "first_seconds": times[0][0],
        "seconds": times[1][0],
        "cpu_seconds": times[1][1],
        "peak_mib": (peak - base) / 1024,
        "parameters": parameters,
        "kernel": found.tolist(),
    }


def ratios_of(results: dict[str, Any]) -> dict[str, float]:
    """What the kernel of torch.func costs over each, and each of what it takes; with a head, what that costs more."""
    found, theirs = {}, results["torch.func"]
    for method in METHODS[1:]:
        ours, alone = results[method], results[f"ours{method[4:]}"]
        for kind in ("seconds", "cpu_seconds"):
            if method.startswith("head"):
                found[f"{method}: times the {kind} of the kernel alone"] = ours[kind] / alone[kind]
            else:
                found[f"{method}: times less {kind}"] = theirs[kind] / ours[kind]
        found[f"{method}: share of the memory"] = ours["peak_mib"] / theirs["peak_mib"]
    return found


def main(
    settings: dict[str, Any], methods: Sequence[str] = METHODS, out: Path | None = None
) -> dict[str, Any]:
    """Run each method in a process of its own, print the table and the ratios, write the JSON."""
    facts = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    before = json.loads(out.read_text(encoding="utf-8")) if out and out.exists() else {}
    results = {name: row for name, row in before.get("results", {}).items() if name not in methods}
    difference, kernels = before.get("difference"), {}
    print(f"{settings['images']} images, {settings['cores']} cores of {facts}")
    # For the processes of the methods, whose libraries count the cores when they are loaded.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-settings["cores"] :])
    for method in methods:
        command = [sys.executable, __file__, "--child", method, "--settings", json.dumps(settings)]
        load = os.getloadavg()[0]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        result = results[method] = {"load_before": load, **json.loads(done.stdout.splitlines()[-1])}
        kernels[method] = np.asarray(result.pop("kernel"))
        print(f"{method:12s} {result['seconds']:7.2f} s (first {result['first_seconds']:.2f}) ", end="")
        print(f"{result['cpu_seconds']:7.2f} s CPU   peak {result['peak_mib']:6.0f} MiB", flush=True)
    if {"torch.func", "ours, torch"} <= {*kernels}:
        theirs = kernels["torch.func"]
        difference = float(np.abs(kernels["ours, torch"] - theirs).max() / np.abs(theirs).max())
    document = {"host": facts, "settings": settings, "results": results, "difference": difference}
    if {*METHODS} <= {*results}:
        document["ratios"] = ratios_of(results)
        for name, value in document["ratios"].items():
            print(f"  {name}: {value:.3g}")
    print(f"  ours, torch: largest difference, of the largest entry: {difference}")
    if out:
        out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--memory", default="2GiB")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, help=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    if given["child"]:
        print(json.dumps(child(given["settings"], given["child"])))
    else:
        settings = {name: given[name] for name in ("images", "memory", "cores")}
        main(settings, given["methods"], given["out"])
