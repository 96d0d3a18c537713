"""Ensembles in lockstep against one solve after another: CPU milliseconds a member, E = 0, C = 10, m = 12, n = 64, 61 times.

Run: python benchmarks/ensembles.py [--members 256 --alone 8 --whole 1000]
Both in one process with one BLAS thread: made, integrated with the audit, all series evaluated. `--whole K` then takes K members
through `nf.ensemble` in a process for each core, and says the seconds. CPU time counts, since machines have other users too.
Writes results/ensembles.json.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import ntkflow as nf
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import solve_many
from ntkflow.runs.ensembles import common_grid

RESULTS = Path(__file__).parent / "results" / "ensembles.json"
SIZES, KERNEL = nf.Sizes(10, 12, 64), nf.BlockKernel(1.0, 0.5, 0.1)
RTOLS = (1e-6, 1e-8)


def member(seed: int) -> nf.Problem:
    """One member."""
    return nf.Problem(SIZES, KERNEL, nf.initial.make("balanced", SIZES, KERNEL, seed))


def timed(work: Callable[[], Any], members: int) -> tuple[float, Any]:
    """CPU milliseconds a member, and what came of it."""
    began = time.process_time()
    found = work()
    return 1e3 * (time.process_time() - began) / members, found


def compared(members: int, alone: int, rtol: float) -> dict[str, Any]:
    """Both ways at one tolerance."""
    made, problems = timed(lambda: [member(seed) for seed in range(members)], members)
    grid = common_grid(problems[:1])
    tasks = [Task.of(problem, save_at=grid, rtol=rtol) for problem in problems]
    together, found = timed(lambda: solve_many(tasks), members)
    series, _ = timed(lambda: [solution.series for solution in found], members)
    apart = [Task.of(problem, save_at=grid, rtol=rtol, engine="structured") for problem in problems[:alone]]
    each, single = timed(lambda: [run_alone(task) for task in apart], alone)
    strict = [run_alone(Task.of(p, save_at=grid, rtol=1e-11, engine="structured")) for p in problems[:2]]

    def error(solutions: list[nf.Solution]) -> float:
        pairs = zip(solutions, strict, strict=False)
        return max(float(np.abs(x.packed - y.packed).max() / np.abs(y.packed).max()) for x, y in pairs)

    return {
        "rtol": rtol, "members": members, "made": made, "lockstep": together, "alone": each, "series": series,
        "ratio": each / together, "steps": float(np.mean([solution.stats.steps for solution in found])),
        "steps_alone": float(np.mean([solution.stats.steps for solution in single])),
        "error": error(found), "error_alone": error(single),
    }  # fmt: skip


def whole(members: int, rtol: float) -> dict[str, float]:
    """Seconds for an ensemble from the problems to the series, in local processes."""
    problems = [member(seed) for seed in range(members)]
    began = time.perf_counter()
    found = nf.ensemble(problems, rtol=rtol, times=common_grid(problems[:1]))
    assert not found.failed
    return {"rtol": rtol, "members": members, "seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=256)
    parser.add_argument("--alone", type=int, default=8)
    parser.add_argument("--whole", type=int, default=1000, help="0: not at all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "rows": [], "whole": []}
    with threadpool_limits(1):
        for rtol in RTOLS:
            row = compared(options.members, options.alone, rtol)
            found["rows"].append(row)
            print(
                f"rtol {rtol:g}: {row['lockstep']:.1f} ms a member in lockstep, {row['alone']:.1f} alone, ratio "
                f"{row['ratio']:.1f}; series {row['series']:.1f}, made {row['made']:.1f}; error {row['error']:.1e}, "
                f"alone {row['error_alone']:.1e}; steps {row['steps']:.0f}, alone {row['steps_alone']:.0f}"
            )
    for rtol in RTOLS if options.whole else ():
        row = whole(options.whole, rtol)
        found["whole"].append(row)
        print(f"rtol {rtol:g}: {options.whole} members in {row['seconds']:.1f} s")
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
