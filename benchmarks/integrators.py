"""Integrators of the flow side by side: ours against scipy and diffrax on the raw system, at equal final accuracy.

Run: python benchmarks/integrators.py [--quick] [--part against] [--only m=1200] [--peer DOP853] [--cap 60] [--out FILE]
Parts can be run one after the other; each replaces its own rows in the file.

Every row is a series of calls in a process of its own with one BLAS thread, or as many as the row says: the first
call, imports and compilation included, then later ones, in wall and CPU seconds; ratios are of CPU seconds, which other
programs on the machine disturb least. A peer's rtol is tightened until the error of its final
state, against a reference at 1e-13, is no larger than ours; it has no Jacobian, as a user of the raw system would
run it. A peer that needs more than the cap (CPU seconds in one call) is recorded as 'over cap'.
"""

import argparse
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESNET20, STANDARD = (23.2, 20.2, 19.1), (1.0, 0.5, 0.1)
SCIPY = ("RK45", "DOP853", "LSODA", "BDF", "Radau")
DIFFRAX = ("Tsit5", "Dopri8", "Kvaerno5")
PEERS = (*SCIPY, *(f"diffrax {name}" for name in DIFFRAX))
OURS = "ours"
# A peer is tried at these rtols, loosest first, until its final state is as good as ours.
# A cap is in CPU seconds; on a busy machine they take longer.
PATIENCE = 40
TRIED = (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12)
# Beyond this many unknowns a dense Jacobian by differences does not end, or does not fit.
MOST_FOR_IMPLICIT = 12_000


@dataclass(frozen=True)
class Case:
    """One problem: sizes, kernel, initial state and end time; t_end None means to our stationarity or NC1."""

    C: int
    m: int
    n: int
    kappa: tuple[float, float, float] = STANDARD
    init: str = "gaussian"
    t_end: float | None = 1.0
    rtol: float = 1e-8
    threads: int = 1

    @property
    def name(self) -> str:
        """What a reader sees."""
        end = "to the stop" if self.t_end is None else f"t = {self.t_end:g}"
        return f"C={self.C} m={self.m} n={self.n} {self.init} kappa={self.kappa} {end} rtol={self.rtol:g}"


@dataclass
class Plan:
    """What is run: cases against peers, cases of ours alone, the ensemble, cases against extended precision."""

    against: list[Case] = field(default_factory=list)
    alone: list[Case] = field(default_factory=list)
    members: int = 0
    peers: tuple[str, ...] = PEERS
    cap: float = 60.0
    exact: list[Case] = field(default_factory=list)


def collapse_time(m: int, kappa: tuple[float, float, float]) -> float:
    """20 within-class time constants 1/(mu_single x*): NC1 falls by 1e-8 in 18.4 of them."""
    kd, kc, kn = kappa
    return 20 / ((kd - kc) * (m / (kd - kc + m * (kc - kn))) ** 0.5)


def full_plan(cap: float) -> Plan:
    """The regimes of the table."""

    def until_collapse(C: int, m: int, n: int, kappa: tuple[float, float, float], init: str) -> Case:
        return Case(C, m, n, kappa, init, collapse_time(m, kappa))

    against = [
        until_collapse(4, 6, 10, STANDARD, "relu"),
        until_collapse(10, 12, 64, RESNET20, "relu"),
        until_collapse(10, 12, 64, STANDARD, "balanced"),
        *(until_collapse(10, m, 64, STANDARD, "relu") for m in (12, 120, 1200, 6000)),
        *(until_collapse(10, 12, n, STANDARD, "relu") for n in (256, 512)),
        *(until_collapse(C, 12, 2 * C, STANDARD, "relu") for C in (50, 100)),
    ]
    alone = [
        *(
            Case(10, m, 64, kappa, init, None)
            for kappa, init in ((STANDARD, "gaussian"), (STANDARD, "relu"), (RESNET20, "relu"))
            for m in (12, 120, 1200, 6000)
        ),
        *(Case(C, 12, C + 28, STANDARD, "balanced-contrast", None, threads=2) for C in (100, 300, 1000)),
    ]
    exact = [Case(10, 12, 64, RESNET20, "relu", 0.1, rtol) for rtol in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11)]
    return Plan(against, alone, 1000, PEERS, cap, exact)


def quick_plan(cap: float) -> Plan:
    """A minute part of everything, for CI."""
    return Plan(
        [Case(3, 4, 5, STANDARD, "relu", 0.5)],
        [Case(3, 4, 5, STANDARD, "balanced-contrast", None)],
        0,
        ("DOP853", "LSODA"),
        min(cap, 5.0),
    )


def host() -> dict[str, Any]:
    """Facts that times depend on."""
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {}
    for package in ("ntkflow", "numpy", "scipy", "jax", "diffrax"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    cpu = "unknown"
    if (info := Path("/proc/cpuinfo")).is_file():
        cpu = next((x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x), cpu)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "blas_threads": 1,
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def in_process(task: dict[str, Any], threads: int, limit: float) -> dict[str, Any]:
    """Run one task in a fresh process; {'over_cap': True} when it passes the limit."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, "1"), "PYTHONPATH": str(HERE.parent)}
    if threads == 1 and hasattr(os, "sched_getaffinity"):
        task = {**task, "core": min(os.sched_getaffinity(0))}
    command = [sys.executable, str(HERE / "integrator_task.py")]
    began = os.getloadavg()[0]
    try:
        done = subprocess.run(
            command, input=json.dumps(task), capture_output=True, text=True, timeout=limit, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"over_cap": True}
    if done.returncode == -signal.SIGXCPU:
        return {"over_cap": True}
    if done.returncode == -signal.SIGKILL:
        return {"error": ["killed by the system, which had no memory left"]}
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]}
    return {**json.loads(done.stdout.splitlines()[-1]), "load": began}


def compare(case: Case, plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """Ours, then every peer at the loosest rtol that reaches our accuracy."""
    reference = str(folder / "reference.npz")
    common = {"case": asdict(case), "reference": reference, "repeat": 3}
    made = in_process({**common, "method": "reference"}, case.threads, 3600)
    ours = in_process({**common, "method": OURS, "rtol": case.rtol}, case.threads, 3600)
    rows = [{"case": case.name, "method": OURS, "threads": case.threads, "rtol": case.rtol, **ours}]
    if "over_cap" in made or "error" in made:
        rows[0]["reference"] = made
        return rows
    unknowns = case.n * case.C * case.m + case.C * case.n + case.C
    for method in plan.peers:
        row: dict[str, Any] = {"case": case.name, "method": method, "threads": 1}
        if (
            method.removeprefix("diffrax ") in ("LSODA", "BDF", "Radau", "Kvaerno5")
            and unknowns > MOST_FOR_IMPLICIT
        ):
            rows.append({**row, "skipped": f"a dense Jacobian of {unknowns} unknowns"})
            continue
        at = 0
        while at < len(TRIED):
            task = {**common, "method": method, "rtol": TRIED[at], "cap": plan.cap}
            found = in_process(task, 1, PATIENCE * plan.cap + 600)
            row |= {"rtol": TRIED[at], **found}
            if "error" in found or "over_cap" in found or found["final_error"] <= ours["final_error"]:
                break
            # Errors follow rtol, more or less: a decade in it for each decade that is missing.
            at += max(1, math.floor(math.log10(found["final_error"] / ours["final_error"])))
        row["matched"] = row.get("final_error", float("inf")) <= ours["final_error"]
        if row.get("over_cap"):
            row["times_ours_at_least"] = plan.cap / ours["cpu"]
        if row["matched"]:
            row["times_ours"] = row["cpu"] / ours["cpu"]
        rows.append(row)
    return rows


def show(row: dict[str, Any]) -> str:
    """One line of the table."""
    head = f"{row['method']:17s} {row['case']:74s}"
    if "seconds" not in row:
        least = row.get("times_ours_at_least")
        over = "over cap" if least is None else f"over cap: more than {least:.0f} x ours"
        verdict = over if row.get("over_cap") else row.get("skipped") or row.get("error")
        return f"{head} {verdict}"
    parts = [f"first {row['first']:8.3f} s", f"later {row['seconds']:8.3f} s (CPU {row['cpu']:.3f} s)"]
    parts.append(f"steps {row.get('steps')}")
    if row.get("final_error") is not None:
        parts.append(f"error {row['final_error']:.1e}")
    if row.get("error_in_rtol") is not None:
        parts.append(f"= {row['error_in_rtol']:.2g} rtol")
    if row.get("drift") is not None:
        parts.append(f"drift {row['drift']:.1e}")
    if row.get("times_ours") is not None:
        parts.append(f"{row['times_ours']:.1f} x ours")
    return f"{head} {'  '.join(parts)}"


def main(plan: Plan, out: Path | None) -> dict[str, Any]:
    """Run the plan, print rows as they come and save them after each, in place of the same rows of earlier parts."""
    from tempfile import TemporaryDirectory

    result, row = merged(out), dict[str, Any]()

    def add(row: dict[str, Any]) -> None:
        key = (row["case"], row["method"])
        result["rows"] = [old for old in result["rows"] if (old["case"], old["method"]) != key]
        result["rows"].append({**row, "cap": plan.cap})
        print(show(row), flush=True)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(result, indent=1) + "\n")

    began = time.perf_counter()
    for case in plan.alone:
        # The largest cases take minutes a call and are run once.
        task = {"case": asdict(case), "method": OURS, "rtol": case.rtol, "repeat": 1 if case.C > 200 else 3}
        row = {"case": case.name, "method": OURS, "threads": case.threads}
        add({**row, **in_process(task, case.threads, 3600)})
    if plan.members:
        task = {
            "case": asdict(Case(10, 12, 64, init="balanced")),
            "method": "ensemble",
            "members": plan.members,
        }
        row = {"case": f"{plan.members} seeds, C=10 m=12 n=64, E = 0", "method": OURS, "threads": 1}
        add({**row, **in_process(task, 2, 3600)})
    with TemporaryDirectory() as folder:
        for row in judge(plan.exact, Path(folder)):
            add(row)
    for case in plan.against:
        with TemporaryDirectory() as folder:
            for row in compare(case, plan, Path(folder)):
                add(row)
    result["seconds"] = result.get("seconds", 0.0) + time.perf_counter() - began
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n")
    return result


def judge(cases: list[Case], folder: Path) -> Iterator[dict[str, Any]]:
    """Ours at several rtols against one reference in extended precision."""
    reference = str(folder / "extended.npz")
    for number, case in enumerate(cases):
        if number == 0:
            in_process({"case": asdict(case), "method": "extended", "reference": reference}, 1, 3600)
        task = {"case": asdict(case), "method": OURS, "rtol": case.rtol, "repeat": 1, "reference": reference}
        row = {"case": case.name, "method": OURS, "threads": 1, "judged_by": "long double Taylor series"}
        yield {**row, **in_process(task, 1, 3600)}


def merged(out: Path | None) -> dict[str, Any]:
    """What earlier parts have written, or nothing."""
    if out is None or not out.is_file():
        return {"host": host(), "rows": []}
    return {**json.loads(out.read_text()), "host": host()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute part of everything, for CI")
    parser.add_argument("--cap", type=float, default=60.0, help="CPU seconds a peer may take for one call")
    parser.add_argument(
        "--out", type=Path, default=None, help="JSON file (default: results/ beside this file)"
    )
    parts = ("alone", "ensemble", "exact", "against")
    parser.add_argument("--part", choices=parts, action="append", help="only this part; may be repeated")
    parser.add_argument("--largest", type=int, default=1000, help="leave out cases of more classes")
    parser.add_argument("--only", default="", help="only cases with this in their name, as 'm=1200'")
    parser.add_argument("--peer", choices=PEERS, action="append", help="only this peer; may be repeated")
    given = parser.parse_args()
    chosen = quick_plan(given.cap) if given.quick else full_plan(given.cap)
    wanted = given.part or parts

    def kept(cases: list[Case], part: str) -> list[Case]:
        return [c for c in cases if part in wanted and given.largest >= c.C and given.only in c.name]

    chosen = Plan(
        kept(chosen.against, "against"),
        kept(chosen.alone, "alone"),
        chosen.members if "ensemble" in wanted and not given.only else 0,
        tuple(given.peer or chosen.peers),
        chosen.cap,
        kept(chosen.exact, "exact"),
    )
    default = HERE / "results" / ("integrators-quick.json" if given.quick else "integrators.json")
    main(chosen, given.out or default)
