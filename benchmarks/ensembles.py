"""Ensembles in lockstep against one solve after another: CPU milliseconds a member, E = 0, C = 10, m = 12, n = 64, 61 times.

Run: python benchmarks/ensembles.py [--members 256 --alone 8 --peer --whole 1000 --map 32 --generic 128 --than ../older]
Both in one process with one BLAS thread: made, integrated with the audit, all series evaluated. `--peer` has one member solved by
the fastest peer of integrators.py too, a compiled explicit method, at a tolerance at which its final state is as good as ours; a
later call counts, and not its compilation. `--whole K` then takes K members
through `nf.ensemble` in a process for each core, and says the seconds; `--map K` a phase diagram of K x K such cells over
(kappa_c/kappa_d, kappa_n/kappa_d) through `ntkflow sweep`, from start-up to the figure. `--generic K` compares K states like ReLU
features (5386 unknowns), saved at both ends of 20 within-class time constants, as in integrators.py, and at 61 times; with
`--than DIRECTORY` also what a member takes there alone, in a checkout of another version of this package; there the fastest of
three goes counts, of every way, and of a solution nothing is kept. CPU time counts, since machines have other users too. 0 leaves
a part out, which stays as the file has it.
Writes results/ensembles.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from integrator_task import diffrax_peer, distance
from integrators import collapse_time
from threadpoolctl import threadpool_limits

import ntkflow as nf
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import solve_many
from ntkflow.runs.ensembles import common_grid

RESULTS = Path(__file__).parent / "results" / "ensembles.json"
SIZES, KERNEL = nf.Sizes(10, 12, 64), nf.BlockKernel(1.0, 0.5, 0.1)
RTOLS = (1e-6, 1e-8)
PEER = "Tsit5"
GOES = 3
# Members of `generic_member`, one by one, by whatever version is found: milliseconds each, but for the first, in the fastest of
# as many goes as everything else has.
ELSEWHERE = """
import json, sys, time
import numpy as np
import ntkflow as nf
members, rtol, grid, goes = json.loads(sys.argv[1])
sizes, kernel = nf.Sizes(10, 12, 64), nf.BlockKernel(1.0, 0.5, 0.1)
problems = [nf.Problem(sizes, kernel, nf.initial.make("relu", sizes, kernel, seed)) for seed in range(members + 1)]
nf.solve(problems[-1], save_at=np.array(grid), rtol=rtol)
def go():
    began = time.process_time()
    for problem in problems[:-1]:
        nf.solve(problem, save_at=np.array(grid), rtol=rtol)
    return 1e3 * (time.process_time() - began) / members
print(min(go() for _ in range(goes)))
"""


def member(seed: int) -> nf.Problem:
    """One member."""
    return nf.Problem(SIZES, KERNEL, nf.initial.make("balanced", SIZES, KERNEL, seed))


def generic_member(seed: int) -> nf.Problem:
    """One with generic features."""
    return nf.Problem(SIZES, KERNEL, nf.initial.make("relu", SIZES, KERNEL, seed))


def timed(work: Callable[[], Any], members: int, goes: int = 1) -> tuple[float, Any]:
    """CPU milliseconds a member in the fastest go, and what came of it."""
    spent = []
    for _ in range(goes):
        began = time.process_time()
        found = work()
        spent.append(1e3 * (time.process_time() - began) / members)
    return min(spent), found


def _nothing(number: int, solution: nf.Solution) -> None:
    del number, solution


def compared(
    members: int,
    alone: int,
    rtol: float,
    with_peer: bool = False,
    make: Callable[[int], nf.Problem] = member,
    grid: np.ndarray | None = None,
    goes: int = 0,
) -> dict[str, Any]:
    """All ways at one tolerance."""
    made, problems = timed(lambda: [make(seed) for seed in range(members)], members)
    grid = common_grid(problems[:1]) if grid is None else grid
    tasks = [Task.of(problem, save_at=grid, rtol=rtol) for problem in problems]
    together, found = timed(lambda: solve_many(tasks), members)
    series, _ = timed(lambda: [solution.series for solution in found], members)
    apart = [Task.of(problem, save_at=grid, rtol=rtol, engine="structured") for problem in problems[:alone]]
    each, single = timed(lambda: [run_alone(task) for task in apart], alone)
    if goes:
        # Of a solution nothing is kept, as ensembles and sweeps keep what they are asked for.
        del found
        together, _ = timed(lambda: solve_many([replace(task) for task in tasks], _nothing), members, goes)
        each, _ = timed(lambda: [_nothing(0, run_alone(replace(task))) for task in apart], alone, goes)
        found = solve_many(tasks)
    strict = [run_alone(Task.of(p, save_at=grid, rtol=1e-11, engine="structured")) for p in problems[:2]]

    def error(solutions: list[nf.Solution]) -> float:
        pairs = zip(solutions, strict, strict=False)
        return max(float(np.abs(x.packed - y.packed).max() / np.abs(y.packed).max()) for x, y in pairs)

    against = peer(found[0], strict[0], rtol) if with_peer else {}
    return {
        **against, "rtol": rtol, "times": len(grid), "members": members,
        "made": made, "lockstep": together, "alone": each, "series": series,
        "ratio": each / together, "steps": float(np.mean([solution.stats.steps for solution in found])),
        "steps_alone": float(np.mean([solution.stats.steps for solution in single])),
        "error": error(found), "error_alone": error(single),
    }  # fmt: skip


def elsewhere(tree: Path, members: int, rtol: float, grid: np.ndarray) -> float:
    """CPU milliseconds a member takes alone in another checkout, with one BLAS thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-c", ELSEWHERE, json.dumps([members, rtol, grid.tolist(), GOES])]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=tree, env={**os.environ, **threads, "PYTHONPATH": str(tree)}
    )  # fmt: skip
    return float(done.stdout)


def peer(solution: nf.Solution, strict: nf.Solution, rtol: float) -> dict[str, float]:
    """CPU milliseconds of the peer for a member that is solved, saved at its end alone, and the tolerance that it needs."""
    ours, exact = distance(solution.final, strict.final), strict.final
    call = diffrax_peer(solution.problem, {"t_end": float(solution.times[-1])}, PEER)
    state, _, _ = call(rtol)
    while (error := distance(state, exact)) > ours:
        rtol /= 3.0
        state, _, _ = call(rtol)
    spent, (_, steps, _) = timed(lambda: call(rtol), 1)
    return {"peer": spent, "peer_rtol": rtol, "peer_steps": steps, "peer_error": error, "final_error": ours}


def whole(members: int, rtol: float) -> dict[str, float]:
    """Seconds for an ensemble from the problems to the series, in local processes, and of all their processors together."""
    problems = [member(seed) for seed in range(members)]
    began, before = time.perf_counter(), os.times()
    found = nf.ensemble(problems, rtol=rtol, times=common_grid(problems[:1]))
    assert not found.failed
    seconds, after = time.perf_counter() - began, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    return {"rtol": rtol, "members": members, "seconds": seconds, "cpu": cpu, "load": os.getloadavg()[0]}


def phase_diagram(side: int) -> dict[str, float]:
    """Seconds for the command, and of all its processes together; kappa_d is 1."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "ntkflow", "sweep", "--quiet", "--out", f"{folder}/map", "--y", "nc.NC1.final"),
            *("--over", f"kappa_c/kappa_d=0.3:0.9:{side}", "--over", f"kappa_n/kappa_d=0.05:0.25:{side}"),
            *("--set", "init=balanced", "--set", "classes=10", "--set", "per_class=12", "--set", "features=64"),
        ]  # fmt: skip
        began, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds, after = time.perf_counter() - began, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    return {
        "cells": side**2,
        "seconds": seconds,
        "cpu": cpu,
        "cpu_ms_a_cell": 1e3 * cpu / side**2,
        "load": os.getloadavg()[0],
    }


def show(row: dict[str, Any]) -> None:
    """One comparison."""
    print(
        f"rtol {row['rtol']:g}, {row['times']} times: {row['lockstep']:.1f} ms a member in lockstep, {row['alone']:.1f} alone, "
        f"ratio {row['ratio']:.1f}; series {row['series']:.1f}, made {row['made']:.1f}; error {row['error']:.1e}, "
        f"alone {row['error_alone']:.1e}; steps {row['steps']:.0f}, alone {row['steps_alone']:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=256, help="0: none")
    parser.add_argument("--alone", type=int, default=8)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--whole", type=int, default=1000, help="0: not at all")
    parser.add_argument("--map", type=int, default=32, help="0: not at all")
    parser.add_argument("--generic", type=int, default=128, help="0: none")
    parser.add_argument("--than", type=Path, help="directory of another version, for --generic")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    before = json.loads(options.out.read_text()) if options.out.exists() else {"rows": [], "whole": []}
    found: dict[str, Any] = {**before, "cores": os.cpu_count()}
    if options.members:
        found |= {"load": os.getloadavg()[0], "rows": []}
    with threadpool_limits(1):
        for rtol in RTOLS if options.members else ():
            row = compared(options.members, options.alone, rtol, options.peer)
            found["rows"].append(row)
            show(row)
        if options.generic:
            end = collapse_time(SIZES.per_class, (1.0, 0.5, 0.1))
            grids = [np.array([0.0, end]), np.append(0.0, np.geomspace(1e-5 * end, end, 60))]
            found["generic"] = []
            for rtol, grid in product(RTOLS, grids):
                row = compared(
                    options.generic, options.alone, rtol, make=generic_member, grid=grid, goes=GOES
                )
                found["generic"].append(row)
                show(row)
                if options.than:
                    row["elsewhere"] = elsewhere(options.than.resolve(), 2 * options.alone, rtol, grid)
                    print(
                        f"  {row['elsewhere']:.1f} ms there, {row['elsewhere'] / row['lockstep']:.2f} times"
                    )
    if options.whole:
        found["whole"] = []
    for rtol in RTOLS if options.whole else ():
        row = whole(options.whole, rtol)
        found["whole"].append(row)
        print(f"rtol {rtol:g}: {options.whole} members in {row['seconds']:.1f} s, {row['cpu']:.1f} CPU s")
    for row in found["rows"] if options.peer and options.members else ():
        print(
            f"rtol {row['rtol']:g}: {PEER} {row['peer']:.0f} ms a member, {row['peer'] / row['lockstep']:.1f} times ours"
        )
    if options.map:
        found["map"] = row = phase_diagram(options.map)
        print(f"{row['cells']} cells in {row['seconds']:.1f} s, {row['cpu']:.1f} CPU s")
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
