"""Ensembles by the compiled tick beside numpy's, on a processor: CPU milliseconds a member (E = 0, C = 10, n = 64, 61 times).

Run: python benchmarks/ensembles_jax.py [--members 256]
Both in one process with one BLAS thread, from tasks to audited solutions, in 128 slots. What it takes to compile is told apart.
What a GPU makes of it is the stage `lockstep` of benchmarks/gpu.py. Writes results/ensembles-jax.json.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

# Programs are compiled here, and not found from another time.
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)

import numpy as np
from ensembles import RTOLS, member, timed
from threadpoolctl import threadpool_limits

from ntkflow.integrate.task import Task
from ntkflow.integrate.together import solve_many
from ntkflow.integrate.together.compiled import solve_compiled
from ntkflow.runs.ensembles import common_grid

RESULTS = Path(__file__).parent / "results" / "ensembles-jax.json"


def compared(members: int, rtol: float) -> tuple[dict[str, Any], float]:
    """Both at one tolerance, of the compiled one the second pass; CPU seconds that the first took beyond it."""
    problems = [member(seed) for seed in range(members)]
    grid = common_grid(problems[:1])

    def tasks() -> list[Task]:
        return [Task.of(problem, save_at=grid, rtol=rtol) for problem in problems]

    first, _ = timed(lambda: solve_compiled(tasks(), lambda _, solution: solution), 1)
    again, found = timed(lambda: solve_compiled(tasks(), lambda _, solution: solution), members)
    numpy, expected = timed(lambda: solve_many(tasks()), members)
    gaps = [np.abs(x.packed - y.packed).max() / np.abs(y.packed).max() for x, y in zip(found, expected, strict=True)]  # fmt: skip
    steps = [int(sum(solution.stats.steps for solution in some)) for some in (found, expected)]
    row = {
        "rtol": rtol, "members": members, "numpy": numpy, "jax": again,
        "steps": steps[0] / members, "steps_numpy": steps[1] / members, "largest_difference": float(max(gaps)),
        "solved_alone": sum(solution.stats.engine != "jax" for solution in found), "load": os.getloadavg()[0],
    }  # fmt: skip
    return row, (first - members * again) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=256)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found: dict[str, Any] = {"cores": os.cpu_count(), "rows": []}
    with threadpool_limits(1):
        for rtol in RTOLS:
            row, beyond = compared(options.members, rtol)
            # One program serves all tolerances.
            found.setdefault("compiling_cpu_seconds", beyond)
            found["rows"].append(row)
            print(json.dumps(row))
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
