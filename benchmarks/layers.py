"""Linear layers: CPU seconds of `nf.solve_layers`, for L = 1 beside `nf.solve`, in subspaces beside all features.

Run: python benchmarks/layers.py [--out FILE]

Every row is the best of five calls after a first one, in turns with what stands beside it, in one process with one BLAS
thread; errors are against rtol 1e-12.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

import ntkflow as nf  # noqa: E402
from ntkflow.problem.layers import initial  # noqa: E402

KERNEL = nf.BlockKernel(1.0, 0.5, 0.1)
# C, m, widths, initial state, end time.
CASES = (
    (4, 6, (10,), "gaussian", 30.0),
    (10, 12, (64,), "balanced-contrast", 30.0),
    (10, 120, (64,), "balanced-contrast", 30.0),
    (10, 1200, (64,), "balanced-contrast", 100.0),
    (4, 6, (10, 10), "gaussian", 30.0),
    (10, 12, (64, 64), "balanced-contrast", 30.0),
    (10, 12, (32, 32, 32), "balanced-contrast", 30.0),
    (10, 120, (64, 64), "balanced-contrast", 10.0),
)


def timed(*calls: Any, repeat: int = 5) -> list[tuple[float, Any]]:
    """CPU seconds of each, the least of some calls in turns after a first one, and what the last gave."""
    found = [(float("inf"), call()) for call in calls]
    for _ in range(repeat):
        for k, call in enumerate(calls):
            began = time.process_time()
            result = call()
            found[k] = min(found[k][0], time.process_time() - began), result
    return found


def _error(found: Any, exact: Any) -> float:
    return float(np.linalg.norm(found.final.W - exact) / np.linalg.norm(exact))


def main(out: Path, cases: tuple[Any, ...] = CASES) -> list[dict[str, Any]]:
    """Measure every case, print and write."""
    rows = []
    for C, m, widths, init, t_end in cases:
        sizes = nf.Sizes(C, m, widths[-1])
        state = initial.make(init, sizes, widths, KERNEL, 0, 0.5)
        problem = nf.LayeredProblem(sizes, KERNEL, state)
        at = [0.0, t_end]
        exact = nf.solve_layers(problem, save_at=at, rtol=1e-12).final.W
        calls: list[Any] = [lambda p=problem, at=at: nf.solve_layers(p, save_at=at)]
        if len(widths) == 1:
            flat = nf.Problem(sizes, KERNEL, nf.State(state.H, state.W, state.b))
            calls.append(lambda p=flat, at=at: nf.solve(p, save_at=at))
        else:
            calls.append(lambda p=problem, at=at: nf.solve_layers(p, save_at=at, form="thin"))
        (seconds, found), (beside, other) = timed(*calls)
        row: dict[str, Any] = {
            "case": f"C={C} m={m} widths={','.join(map(str, widths))} {init} t={t_end:g}",
            "engine": found.stats.engine,
            "because": found.stats.because,
            "unknowns": found.stats.unknowns,
            "steps": found.stats.steps,
            "cpu": seconds,
            "error": _error(found, exact),
            "beside": "nf.solve" if len(widths) == 1 else "all features",
            "beside_engine": other.stats.engine,
            "beside_unknowns": other.stats.unknowns,
            "beside_cpu": beside,
            "beside_error": _error(other, exact),
        }
        if len(widths) == 1:
            explicit = timed(
                lambda p=problem: nf.solve_layers(p, save_at=[0.0, 1.0], engine="DOP853"), repeat=1
            )
            row["explicit_cpu_to_t_1"] = explicit[0][0]
        rows.append(row)
        print(row, flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"load": os.getloadavg()[0], "rows": rows}, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parent / "results" / "layers.json"
    parser.add_argument("--out", type=Path, default=default, help="JSON file")
    main(parser.parse_args().out)
