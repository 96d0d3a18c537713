"""Measures of collapse at C = 1000, n = 2048, N = 20,000, float32: seconds and memory beside a plain numpy implementation.

Run: python benchmarks/metrics.py [--classes 1000 --features 2048 --samples 20000 --threads 2]
Each method is a process of its own; memory is the peak beyond the inputs. `plain` is what papers' scripts do: centre a float64
copy of all features, form S_W and S_B, both n x n, and invert with `np.linalg.pinv`; it computes NC1 (pinv and quotient), NC2,
NC3 and NC4 alone, where `ours` computes every measure. Writes results/metrics.json.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "metrics.json"


def inputs(C: int, n: int, N: int) -> tuple[np.ndarray, ...]:
    """Clusters in float32, made in pieces so that nothing but them is counted."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((C, n), dtype=np.float32)
    y = rng.permutation(np.arange(N) % C)
    H = np.empty((N, n), dtype=np.float32)
    for i in range(0, N, 500):
        H[i : i + 500] = means[y[i : i + 500]]
        H[i : i + 500] += 0.5 * rng.standard_normal(H[i : i + 500].shape, dtype=np.float32)
    return H, y, means + 0.1 * rng.standard_normal((C, n), dtype=np.float32), np.zeros(C, dtype=np.float32)


def plain(H: np.ndarray, y: np.ndarray, W: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """The textbook formulas, array after array."""
    H, W = H.astype(np.float64), W.astype(np.float64)
    C, N = len(W), len(H)
    means = np.stack([H[y == c].mean(axis=0) for c in range(C)])
    M = means - means.mean(axis=0)
    D = H - means[y]
    S_W, S_B = D.T @ D / N, M.T @ M / C
    gram, P = M @ M.T, np.eye(C) - 1 / C
    nearest = np.argmin((means**2).sum(axis=1) - 2 * H @ means.T, axis=1)
    return {
        "NC1_papyan": float(np.trace(S_W @ np.linalg.pinv(S_B, rcond=1e-10, hermitian=True)) / C),
        "NC1_tirer": float(np.trace(S_W) / np.trace(S_B)),
        "NC2": float(np.linalg.norm(gram / np.linalg.norm(gram) - P / np.sqrt(C - 1))),
        "NC3": float(np.linalg.norm(W / np.linalg.norm(W) - M / np.linalg.norm(M))),
        "NC4": float(np.mean((H @ W.T + b).argmax(axis=1) == nearest)),
    }


def ours(H: np.ndarray, y: np.ndarray, W: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """All of them."""
    from ntkflow.metrics.published.collapse import collapse

    return dict(collapse(H, y, W, b))


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(method: str, sizes: tuple[int, int, int], threads: int, pipe) -> None:
    from threadpoolctl import threadpool_limits

    arrays = inputs(*sizes)
    run = {"ours": ours, "plain": plain}[method]
    run(*inputs(10, 20, 100))
    before, began, cpu = peak(), time.perf_counter(), time.process_time()
    with threadpool_limits(threads):
        values = run(*arrays)
    pipe.send({
        "seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu,
        "MiB beyond the inputs": peak() - before, "values": values,
    })  # fmt: skip


def main(C: int = 1000, n: int = 2048, N: int = 20_000, threads: int = 2) -> dict:
    """Run both, print and return what was measured."""
    context = multiprocessing.get_context("spawn")
    found = {"C": C, "n": n, "N": N, "threads": threads, "load": Path("/proc/loadavg").read_text().split()[0]}
    for method in ("ours", "plain"):
        ours_end, their_end = context.Pipe()
        process = context.Process(target=measured, args=(method, (C, n, N), threads, their_end))
        process.start()
        their_end.close()
        found[method] = ours_end.recv()
        process.join()
        row = found[method]
        print(
            f"{method:6s} {row['seconds']:7.2f} s  {row['cpu_seconds']:7.2f} CPU s  {row['MiB beyond the inputs']:7.0f} MiB"
        )
    shared = found["plain"]["values"]
    found["largest relative difference"] = max(
        abs(found["ours"]["values"][k] / v - 1) for k, v in shared.items()
    )
    for key in ("seconds", "cpu_seconds", "MiB beyond the inputs"):
        found[f"ratio of {key}"] = found["plain"][key] / found["ours"][key]
    print({key: value for key, value in found.items() if key.startswith(("ratio", "largest"))})
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    result = main(chosen.classes, chosen.features, chosen.samples, chosen.threads)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
