"""Where a compiled explicit method does best: a mild problem and the smallest, alone and in an ensemble, in one run.

Run: python benchmarks/mild.py [--members 256 --repeat 5]
CPU milliseconds in one process with one BLAS thread, the best of some calls: ours alone, ours in an ensemble of so many (each
member, seeds 0, 1, ..), explicit methods in thin form, and a compiled explicit method on the raw system at a tolerance at
which its final state is as good as ours, compiling apart. The problems are two rows of integrators.py, to the same times.
Writes results/mild.json.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from integrator_task import diffrax_peer, distance
from integrators import STANDARD, Case, collapse_time
from threadpoolctl import threadpool_limits

import ntkflow as nf
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import solve_many

RESULTS = Path(__file__).parent / "results" / "mild.json"
CASES = {
    "mild": Case(10, 12, 64, STANDARD, "balanced", collapse_time(12, STANDARD)),
    "smallest": Case(4, 6, 10, STANDARD, "relu", collapse_time(6, STANDARD)),
}
EXPLICIT, COMPILED = ("RK45", "DOP853"), ("Tsit5", "Dopri8")


def best(work: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """CPU milliseconds of the quickest of some calls, and what came of the last."""
    spent = []
    found = None
    for _ in range(repeat):
        began = time.process_time()
        found = work()
        spent.append(1e3 * (time.process_time() - began))
    return min(spent), found


def problem(case: Case, seed: int) -> nf.Problem:
    """One of them."""
    sizes, kernel = nf.Sizes(case.C, case.m, case.n), nf.BlockKernel(*case.kappa)
    return nf.Problem(sizes, kernel, nf.initial.make(case.init, sizes, kernel, seed))


def task(case: Case, seed: int, rtol: float, engine: str = "auto") -> Task:
    """To the end, with nothing saved on the way."""
    assert case.t_end is not None
    return Task.of(problem(case, seed), save_at=[0.0, case.t_end], rtol=rtol, engine=engine)


def thin(case: Case, name: str) -> Callable[[float], nf.State]:
    """A method of scipy in thin form, by its tolerance."""
    return lambda rtol: run_alone(task(case, 0, rtol, name)).final


def compiled(case: Case, name: str) -> Callable[[float], nf.State]:
    """A method of diffrax on the raw system, by its tolerance; compiled already."""
    call = diffrax_peer(problem(case, 0), {"t_end": case.t_end}, name)
    call(case.rtol)
    return lambda rtol: call(rtol)[0]


def matched(
    call: Callable[[float], nf.State], exact: nf.State, goal: float, rtol: float, repeat: int
) -> dict[str, float]:
    """CPU milliseconds of a method at the loosest tolerance, a third tighter each time, that is as good as `goal`."""
    while (error := distance(call(rtol), exact)) > goal and rtol > 1e-13:
        rtol /= 3.0
    spent, _ = best(partial(call, rtol), repeat)
    return {"cpu_ms": spent, "rtol": rtol, "error": error}


def measured(case: Case, members: int, repeat: int) -> dict[str, Any]:
    """All ways of one case."""
    exact = run_alone(task(case, 0, 1e-12)).final
    alone, found = best(lambda: run_alone(task(case, 0, case.rtol)), repeat)
    goal = distance(found.final, exact)
    row: dict[str, Any] = {
        "case": asdict(case), "stiffness": found.stats.stiffness, "engine": found.stats.engine, "steps": found.stats.steps,
        "error": goal, "alone": alone, "members": members,
    }  # fmt: skip
    spent, many = best(lambda: solve_many([task(case, seed, case.rtol) for seed in range(members)]), 2)
    row["in_ensemble"], row["ensemble_engine"] = spent / members, many[0].stats.engine
    row["ensemble_error"] = distance(many[0].final, exact)
    for name in EXPLICIT:
        row[f"thin {name}"] = matched(thin(case, name), exact, goal, case.rtol, repeat)
    for name in COMPILED:
        row[f"compiled {name}"] = matched(compiled(case, name), exact, goal, case.rtol, repeat)
    peer = min(row[f"compiled {name}"]["cpu_ms"] for name in COMPILED)
    row["times_alone"], row["times_in_ensemble"] = peer / alone, peer / row["in_ensemble"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        # jax would take them all.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    with threadpool_limits(1):
        for name, case in CASES.items():
            found[name] = row = measured(case, options.members, options.repeat)
            print(
                f"{name} (rho T = {row['stiffness']:.2g}): {row['alone']:.1f} ms alone by {row['engine']}, "
                f"{row['in_ensemble']:.2f} in an ensemble; "
                + ", ".join(
                    f"{key} {row[key]['cpu_ms']:.1f}" for key in row if key.split()[0] in ("thin", "compiled")
                )
                + f"; the best compiled one takes {row['times_alone']:.2f} and {row['times_in_ensemble']:.1f} times ours"
            )
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
