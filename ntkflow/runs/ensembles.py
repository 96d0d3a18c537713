"""Ensembles: the same flow from many initial states, on one grid of times, in parallel processes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from jaxtyping import Float64

from ntkflow import checks
from ntkflow._types import Times
from ntkflow.dynamics.packed import clock
from ntkflow.errors import InputError, SolveError
from ntkflow.integrate.solve import default_horizon, solve
from ntkflow.integrate.stopping import Reason
from ntkflow.problem.problem import Problem
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.costs import MEMBER, refuse_many
from ntkflow.runs.processes.executors import local_processes
from ntkflow.runs.simulate import prepare

LEVELS = (0.05, 0.5, 0.95)
POINTS = 60
# Of a unit of the dimensionless time sqrt(m mu_class) t: before it nothing moves.
FIRST_TIME = 1e-3
# Members handed over at a time per worker; more would only fill memory with waiting problems.
WAITING = 4
UNKNOWN_WORKERS = 16

EnsembleProgress = Callable[[int, int], None]
Members = Float64[np.ndarray, "K T"]


@dataclass(frozen=True)
class Member:
    """How the integration of one member went.

    Attributes:
        seed: its seed, or its place in a list of problems.
        reason: why it ended; after a failure its series are NaN from there on.
        engine: name of the engine.
        steps: accepted steps.
        seconds: wall time of its integration.
    """

    seed: int
    reason: Reason
    engine: str
    steps: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Series of K members on a common grid of T times.

    Attributes:
        times: flow times of the sum loss (4), the first is 0, (T,).
        series: named series, (K, T) each; names as in `ntkflow.integrate.series.DESCRIPTIONS`.
        members: how each integration went.
    """

    times: Times
    series: Mapping[str, Members]
    members: tuple[Member, ...]

    def __len__(self) -> int:
        return len(self.members)

    @property
    def failed(self) -> tuple[Member, ...]:
        """Members that did not reach the end."""
        return tuple(member for member in self.members if member.reason.failed)

    def quantiles(self, name: str, levels: Sequence[float] = LEVELS) -> Float64[np.ndarray, "levels T"]:
        """Quantiles of a series over the members at each time, those without a value left out.

        Raises:
            InputError: there is no such series, or a level is not in 0 .. 1.
        """
        if name not in self.series:
            raise InputError("name", repr(name), "is not a series of this ensemble", "see its .series")
        if not all(0 <= level <= 1 for level in levels):
            raise InputError("levels", levels, "must lie in 0 .. 1", "as 0.05, 0.5, 0.95")
        values = self.series[name]
        out = np.full((len(levels), len(self.times)), np.nan)
        some = np.any(np.isfinite(values), axis=0)
        out[:, some] = np.nanquantile(values[:, some], levels, axis=0)
        return out


def ensemble(
    source: SimulateConfig | Sequence[Problem],
    seeds: Iterable[int] | None = None,
    executor: Executor | None = None,
    *,
    times: Sequence[float] | Times | None = None,
    rtol: float | None = None,
    engine: str | None = None,
    form: str | None = None,
    progress: EnsembleProgress | None = None,
) -> Ensemble:
    """Integrate many members and evaluate their series on one grid of times.

    Member k is exactly what `solve(problem_k, save_at=times, rtol=rtol, engine=engine, form=form).series` gives.

    Main arguments:
        source: a configuration whose seed is replaced by each of `seeds`, or the problems themselves.
        seeds: seeds of the members; for problems their names, by default 0, 1, 2 ...
        executor: any `concurrent.futures.Executor`, left running; None: spawned local processes, one a core, with
            one BLAS thread each. A script that uses None needs `if __name__ == "__main__":` around its work.

    Other Arguments:
        times: increasing times to save; None: 0 and 60 more, even in log time, up to the configuration's t_end or
            the longest default horizon.
        rtol: bound on the drift of E; None: the configuration's, or 1e-8.
        engine: engine of every member; None: the configuration's, or auto.
        form: form of every member; None: the configuration's, or auto.
        progress: called with the numbers of finished and of all members.

    Raises:
        InputError: no members, a seed given twice, or a configuration that can't be an ensemble.
        SolveError: a worker died.
    """
    given = source if isinstance(source, SimulateConfig) else SimulateConfig()
    names = _names(source, seeds)
    options = _Options(
        rtol if rtol is not None else given.rtol,
        engine if engine is not None else given.engine,
        form if form is not None else given.form,
    )
    grid = common_grid(source) if times is None else checks.times("times", times)
    tasks = (_Task(_member_source(source, k, seed), seed, grid, options) for k, seed in enumerate(names))
    if executor is not None:
        outcomes = _gather(tasks, len(names), executor, progress)
    else:
        with local_processes() as pool:
            outcomes = _gather(tasks, len(names), pool, progress)
    common = [name for name in outcomes[0][1] if all(name in series for _, series in outcomes)]
    stacked = {name: np.stack([series[name] for _, series in outcomes]) for name in common}
    return Ensemble(grid, stacked, tuple(member for member, _ in outcomes))


def common_grid(source: SimulateConfig | Sequence[Problem]) -> Times:
    """The times an ensemble is saved at by default: 0, then 60 more, even in log time."""
    if isinstance(source, SimulateConfig):
        prepared = prepare(source)
        problems, t_end = [prepared.problem], float(prepared.config.t_end or 0.0)
    else:
        problems, t_end = list(source), max(default_horizon(problem) for problem in source)
    first = FIRST_TIME / max(clock(problem) for problem in problems)
    return np.concatenate([[0.0], np.geomspace(min(first, t_end / 10), t_end, POINTS)])


@dataclass(frozen=True)
class _Options:
    rtol: float
    engine: str
    form: str


@dataclass(frozen=True, eq=False)
class _Task:
    """One member, in a form that is small to send to a process."""

    source: SimulateConfig | Problem
    seed: int
    times: Times
    options: _Options

    def run(self) -> tuple[Member, dict[str, np.ndarray]]:
        """Integrate the member and evaluate its series; times that a failure left out are NaN."""
        problem = prepare(self.source).problem if isinstance(self.source, SimulateConfig) else self.source
        solution = solve(problem, save_at=self.times, throw=False, **vars(self.options))
        stats, kept = solution.stats, int(np.isin(solution.times, self.times).sum())
        missing = np.full(len(self.times) - kept, np.nan)
        # A member that failed between two times of the grid has its last state at the end.
        series = {name: np.concatenate([v[:kept], missing]) for name, v in solution.series.items()}
        return Member(self.seed, solution.reason, stats.engine, stats.steps, stats.seconds), series


def _names(source: SimulateConfig | Sequence[Problem], seeds: Iterable[int] | None) -> tuple[int, ...]:
    if isinstance(source, SimulateConfig):
        if seeds is None:
            raise InputError("seeds", None, "are needed with a configuration", "as range(100)")
        if source.state is not None or source.step_size is not None:
            what = "a state file" if source.state is not None else "discrete steps"
            raise InputError("source", what, "has no ensemble", "give problems, or a seeded flow")
    if seeds is not None and isinstance(seeds, Sized):
        refuse_many("seeds", len(seeds), "members", MEMBER)
    names = tuple(range(len(source))) if seeds is None else tuple(int(seed) for seed in seeds)  # type: ignore[arg-type]
    if not names:
        raise InputError("seeds", "no members", "must name at least one", "as range(100)")
    if len(set(names)) < len(names):
        raise InputError("seeds", names[:4], "has a seed twice", "give every seed once")
    if not isinstance(source, SimulateConfig) and len(source) != len(names):
        raise InputError(
            "seeds", f"{len(names)} seeds", f"must be one for each of {len(source)} problems", "drop seeds"
        )
    return names


def _member_source(source: SimulateConfig | Sequence[Problem], k: int, seed: int) -> SimulateConfig | Problem:
    return replace(source, seed=seed, ensemble=1) if isinstance(source, SimulateConfig) else source[k]


def _gather(
    tasks: Iterator[_Task], total: int, executor: Executor, progress: EnsembleProgress | None
) -> list[tuple[Member, dict[str, np.ndarray]]]:
    """Outcomes in the order of the tasks; few wait in the executor at a time."""
    most = WAITING * getattr(executor, "_max_workers", UNKNOWN_WORKERS)
    waiting: dict[Future, int] = {}
    found: dict[int, tuple[Member, dict[str, np.ndarray]]] = {}
    numbered = enumerate(tasks)
    try:
        while len(found) < total:
            for k, task in islice(numbered, most - len(waiting)):
                waiting[executor.submit(task.run)] = k
            for future in wait(waiting, return_when=FIRST_COMPLETED)[0]:
                found[waiting.pop(future)] = future.result()
                if progress is not None:
                    progress(len(found), total)
    except BrokenExecutor:
        raise SolveError(
            f"a worker died (out of memory, or killed) after {len(found)} of {total} members; use fewer workers"
        ) from None
    finally:
        for future in waiting:
            future.cancel()
    return [found[k] for k in range(total)]
