"""One row of benchmarks/integrators.py: a task as JSON on standard input, its measurements on standard output."""

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import ntkflow as nf
from ntkflow.dynamics.packed import RawFlow

NEVER = nf.Stop(None, None, None)
# Absolute tolerance of peers over their rtol.
TINY_ATOL = 1e-3
# CPU seconds that imports and compilations of a diffrax peer may take besides the cap.
COMPILATION = 25
# Final state, steps, evaluations.
Outcome = tuple[nf.State, int, int | None]


def problem_of(case: dict[str, Any]) -> nf.Problem:
    """The problem of a case, seed 0."""
    sizes, kernel = nf.Sizes(case["C"], case["m"], case["n"]), nf.BlockKernel(*case["kappa"])
    return nf.Problem(sizes, kernel, nf.initial.make(case["init"], sizes, kernel, 0))


def distance(a: nf.State, b: nf.State) -> float:
    """Largest Frobenius distance of H, W and b, each relative to its own norm (of at least a thousandth)."""
    pairs = ((a.H, b.H), (a.W, b.W), (a.b, b.b))
    return max(float(np.linalg.norm(x - y) / max(1e-3, float(np.linalg.norm(y)))) for x, y in pairs)


def ours(problem: nf.Problem, case: dict[str, Any], rtol: float, engine: str = "auto") -> nf.Solution:
    """To the case's end time, or to the first stop condition; only the first and last state are kept."""
    if case["t_end"] is not None:
        return nf.solve(problem, save_at=[0.0, case["t_end"]], rtol=rtol, engine=engine)
    from ntkflow.integrate.horizon import default_horizon

    return nf.solve(problem, save_at=[0.0, default_horizon(problem)], stop=nf.Stop(), rtol=rtol, throw=False)


def scipy_peer(
    problem: nf.Problem, case: dict[str, Any], method: str, rtol: float, deadline: float
) -> Outcome:
    """A method of scipy on the raw system, without a Jacobian."""
    import scipy.integrate

    flow = RawFlow.build(problem)
    end = case["t_end"]

    def field(t: float, y: np.ndarray) -> np.ndarray:
        if time.process_time() > deadline:
            raise TimeoutError
        return flow.field(t, y)

    solver = getattr(scipy.integrate, method)(field, 0.0, flow.start(), end, rtol=rtol, atol=rtol * TINY_ATOL)
    steps = 0
    while solver.status == "running":
        solver.step()
        steps += 1
    if solver.status == "failed":
        raise RuntimeError(f"{method} failed at t = {solver.t:.3g}")
    return flow.state(solver.y), steps, solver.nfev


def diffrax_peer(problem: nf.Problem, case: dict[str, Any], name: str) -> Callable[[float], Outcome]:
    """A diffrax solver on the raw system in float64, compiled on its first call."""
    import diffrax
    import jax
    import jax.numpy as jnp
    import optimistix

    jax.config.update("jax_enable_x64", True)  # this process does nothing else
    sizes, state, kernel = problem.sizes, problem.state, problem.kernel
    Y = jnp.asarray(np.repeat(np.eye(sizes.C), sizes.counts, axis=1))
    assert isinstance(kernel, nf.BlockKernel)
    kd, kc, kn = kernel.kappa_d, kernel.kappa_c, kernel.kappa_n

    def field(_t: Any, y: Any, _args: Any) -> Any:
        H, W, b = y
        R = W @ H + b[:, None] - Y
        sums = R.reshape(sizes.C, sizes.C, sizes.per_class).sum(axis=2)
        RK = (kd - kc) * R + jnp.repeat((kc - kn) * sums, sizes.per_class, axis=1) + kn * sums.sum(1)[:, None]
        return -(W.T @ RK), -(R @ H.T), -R.sum(axis=1)

    @jax.jit
    def run(y: Any, rtol: Any) -> Any:
        options: dict[str, Any] = {}
        if name == "Kvaerno5":
            # With its own root finder it stalls.
            options["root_finder"] = optimistix.Newton(rtol=0.03 * rtol, atol=0.03 * rtol * TINY_ATOL)
        solver = getattr(diffrax, name)(**options)
        controller = diffrax.PIDController(rtol=rtol, atol=rtol * TINY_ATOL)
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            solver,
            0.0,
            case["t_end"],
            None,
            y,
            stepsize_controller=controller,
            max_steps=1_000_000,
            throw=False,
        )
        return found.ys, found.stats["num_steps"], found.result == diffrax.RESULTS.successful

    start = tuple(jnp.asarray(part) for part in (state.H, state.W, state.b))

    def call(rtol: float) -> Outcome:
        (H, W, b), steps, good = jax.block_until_ready(run(start, rtol))
        if not bool(good):
            raise RuntimeError(f"{name} did not reach the end")
        return nf.State(*(np.asarray(part)[0] for part in (H, W, b))), int(steps), None

    return call


def reference(problem: nf.Problem, case: dict[str, Any]) -> nf.State:
    """The final state at the tightest tolerance of two unlike methods; they must agree.

    Raises:
        RuntimeError: they do not.
    """
    state = ours(problem, case, 1e-12, "structured").final
    rho = RawFlow.build(problem).spectral_radius(RawFlow.build(problem).start())
    if rho * case["t_end"] < 3e4:
        # The thin form only halves the work here; what is checked is the method.
        explicit = ours(problem, case, 1e-12, "DOP853").final
        if (gap := distance(state, explicit)) > 1e-9:
            raise RuntimeError(f"two references differ by {gap:.2g}")
        return explicit
    return state


def measure_ours(task: dict[str, Any]) -> dict[str, Any]:
    """First and later calls of ours, with steps, drift and the error of the final state."""
    case, rtol = task["case"], task["rtol"]
    problem = problem_of(case)
    times, solution = _timed(lambda: ours(problem, case, rtol), task["repeat"])
    row: dict[str, Any] = {
        **times,
        "steps": solution.stats.steps,
        "evaluations": solution.stats.evaluations,
        "engine": solution.stats.engine,
        "reason": solution.reason.value,
        "t": float(solution.times[-1]),
        "unknowns": solution.stats.unknowns,
        "drift": drift(problem, solution),
    }
    if task.get("reference"):
        row["final_error"] = distance(solution.final, _read(task["reference"]))
        row["error_in_rtol"] = row["final_error"] / rtol
    return row


def drift(problem: nf.Problem, solution: nf.Solution) -> float | None:
    """Drift of E between the first and the last state; None where n x n matrices are large."""
    if problem.sizes.n > 400:
        return None
    first, last = (
        nf.metrics.invariant_terms(s, problem.sizes, problem.kernel) for s in (problem.state, solution.final)
    )
    return nf.metrics.drift(first, last)


def measure_peer(task: dict[str, Any]) -> dict[str, Any]:
    """First and later calls of a peer and the error of its final state."""
    case, rtol, cap = task["case"], task["rtol"], task["cap"]
    problem, method = problem_of(case), task["method"]
    began = time.process_time()
    compiled: list[Callable[[float], Outcome]] = []

    def call() -> Outcome:
        if not method.startswith("diffrax "):
            return scipy_peer(problem, case, method, rtol, time.process_time() + cap)
        if not compiled:
            compiled.append(diffrax_peer(problem, case, method.removeprefix("diffrax ")))
        return compiled[0](rtol)

    if method.startswith("diffrax "):
        # Inside a compiled loop nothing can be asked; the kernel ends the process.
        limit = math.ceil(time.process_time() + COMPILATION + cap)
        # Were the hard limit the same, the signal would be SIGKILL, which lack of memory sends too.
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 10))
    try:
        # A slow peer is measured once, unless its first call compiles.
        enough = math.inf if method.startswith("diffrax ") else cap / 4
        times, (state, steps, evaluations) = _timed(call, task["repeat"], enough)
    except TimeoutError:
        return {"over_cap": True, "cpu_spent": time.process_time() - began}
    return {
        **times,
        "steps": steps,
        "evaluations": evaluations,
        "final_error": distance(state, _read(task["reference"])),
    }


def measure_ensemble(task: dict[str, Any]) -> dict[str, Any]:
    """Wall time of an ensemble in local processes, their start included."""
    from ntkflow.runs.config import SimulateConfig

    case = task["case"]
    kd, kc, kn = case["kappa"]
    config = SimulateConfig(case["C"], case["m"], case["n"], None, kd, kc, kn, init=case["init"])
    began = time.perf_counter()
    found = nf.ensemble(config, range(task["members"]))
    seconds = time.perf_counter() - began
    steps = float(np.median([member.steps for member in found.members]))
    drift = float(found.series["E_drift"].max())
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "first": seconds,
        "seconds": seconds,
        "cpu": cpu.ru_utime + cpu.ru_stime,
        "steps": steps,
        "drift": drift,
        "failed": len(found.failed),
    }


def _timed(call: Callable[[], Any], repeat: int, enough: float = math.inf) -> tuple[dict[str, float], Any]:
    """First call, and the best of the later ones, in wall and CPU seconds.

    One call only when it took longer than `enough` CPU seconds.
    """

    def once() -> tuple[float, float]:
        nonlocal value
        began, worked = time.perf_counter(), time.process_time()
        value = call()
        return time.perf_counter() - began, time.process_time() - worked

    value: Any = None
    first = once()
    later = [once() for _ in range(repeat - 1) if first[1] <= enough] or [first]
    wall, cpu = (min(column) for column in zip(*later, strict=True))
    return {"first": first[0], "first_cpu": first[1], "seconds": wall, "cpu": cpu}, value


def _read(path: str) -> nf.State:
    with np.load(path) as arrays:
        return nf.State(arrays["H"], arrays["W"], arrays["b"])


def main() -> None:
    """Read a task, measure, print one JSON line."""
    task = json.loads(sys.stdin.read())
    if "core" in task and hasattr(os, "sched_setaffinity"):
        # One core for a row with one thread: jax would take them all.
        os.sched_setaffinity(0, {task["core"]})
    if task["method"] == "reference":
        state = reference(problem_of(task["case"]), task["case"])
        np.savez(task["reference"], H=state.H, W=state.W, b=state.b)
        row: dict[str, Any] = {}
    elif task["method"] == "extended":
        import taylor

        exact = taylor.integrate(problem_of(task["case"]), [task["case"]["t_end"]])[0]
        np.savez(task["reference"], **{name: getattr(exact, name).astype(np.float64) for name in "HWb"})
        row = {}
    elif task["method"] == "ensemble":
        row = measure_ensemble(task)
    else:
        row = measure_ours(task) if task["method"] == "ours" else measure_peer(task)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
