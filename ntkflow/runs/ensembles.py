"""Ensembles: the same flow from many initial states, on one grid of times, in parallel processes."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from ntkflow import checks, views
from ntkflow._types import Floats, Json, Times
from ntkflow.dynamics.packed import clock
from ntkflow.errors import InputError, SolveError
from ntkflow.integrate.horizon import default_horizon
from ntkflow.integrate.series import DESCRIPTIONS, TIME_UNIT
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import fits, solve_many
from ntkflow.problem.problem import Problem
from ntkflow.progress import Progress
from ntkflow.runs.border.costs import MEMBER, refuse_many
from ntkflow.runs.config import LOOSE_RTOL, SimulateConfig
from ntkflow.runs.processes.executors import local_processes
from ntkflow.runs.simulate import prepare

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (0.05, 0.5, 0.95)
POINTS = 60
# Of a unit of the dimensionless time sqrt(m mu_class) t: before it nothing moves.
FIRST_TIME = 1e-3
# Members handed over at a time per worker; more would only fill memory with waiting problems.
WAITING = 4
UNKNOWN_WORKERS = 16

# Members that one task integrates in lockstep, and the progress bar waits for: enough to fill the slots twice.
TOGETHER = 256

Members = Float64[Floats, "K T"]


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


_Outcome = tuple[Member, dict[str, Floats]]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Series of K members on a common grid of T times.

    Attributes:
        times: flow times of the sum loss (4), the first is 0, (T,).
        series: named series, (K, T) each; names as in `ntkflow.integrate.series.DESCRIPTIONS`.
        members: how each integration went.
        about: what all members share, as far as known: sizes, kernel, init, rtol and config, plain values.
    """

    times: Times
    series: Mapping[str, Members]
    members: tuple[Member, ...]
    about: Json = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def failed(self) -> tuple[Member, ...]:
        """Members that did not reach the end."""
        return tuple(member for member in self.members if member.reason.failed)

    def quantiles(self, name: str, levels: Sequence[float] = LEVELS) -> Float64[Floats, "levels T"]:
        """Quantiles of a series over the members at each time, those without a value left out.

        Raises:
            InputError: there is no such series, or a level is not in 0 .. 1.
        """
        if name not in self.series:
            raise InputError("name", repr(name), "is not a series of this ensemble", "see its .series")
        if not all(0 <= level <= 1 for level in levels):
            raise InputError("levels", levels, "must lie in 0 .. 1", "as 0.05, 0.5, 0.95")
        values = np.asarray(self.series[name])
        out = np.full((len(levels), len(self.times)), np.nan)
        some = np.any(np.isfinite(values), axis=0)
        out[:, some] = np.nanquantile(values[:, some], levels, axis=0)
        return out

    def save(self, path: Path | str, *, overwrite: bool = False, figures: bool = False) -> Path:
        """Write a directory that `ntkflow show` and `plot` take, and `nf.load` reads back.

        Raises:
            InputError: something else lies there.
        """
        # What writes it stands above: the door leads there.
        import ntkflow

        return ntkflow.save(self, path, overwrite=overwrite, figures=figures)

    def figure(self, **options: Any) -> "Figure":
        """Medians with bands from 5 % to 95 %; options as in `nf.figure`."""
        import ntkflow

        return ntkflow.figure(self, **options)

    def to_xarray(self) -> Any:
        """An xarray.Dataset along (seed, t); needs the extra `ntkflow[xarray]`."""
        seeds = np.array([member.seed for member in self.members])
        coords = {"seed": ("seed", seeds, {}), "t": ("t", self.times, {"units": TIME_UNIT})}
        return views.dataset(["seed", "t"], coords, self.series, DESCRIPTIONS, {})

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row for every seed and time; needs the extra `ntkflow[pandas]`."""
        seeds = np.array([member.seed for member in self.members])
        columns = {name: np.asarray(values).ravel() for name, values in self.series.items()}
        rows = {"seed": np.repeat(seeds, len(self.times)), "t": np.tile(self.times, len(self)), **columns}
        return views.dataframe(rows)

    def _ends(self) -> list[tuple[object, ...]]:
        ends = {name: self.quantiles(name) for name in self.series}
        return [(name, q[1, 0], q[1, -1], q[0, -1], q[2, -1]) for name, q in ends.items()]

    def __repr__(self) -> str:
        seeds = [member.seed for member in self.members]
        return (
            f"Ensemble({len(self)} members, seeds {seeds[0]} to {seeds[-1]}, T={len(self.times)}, "
            f"t_end={self.times[-1]:.4g}, {len(self.series)} series, {len(self.failed)} failed)"
        )

    def _repr_html_(self) -> str:
        return views.html_table(repr(self), ("", "start: median", "end: median", "5 %", "95 %"), self._ends())


def ensemble(
    source: SimulateConfig | Sequence[Problem],
    seeds: Iterable[int] | None = None,
    executor: Executor | None = None,
    *,
    times: Sequence[float] | Times | None = None,
    rtol: float | None = None,
    engine: str | None = None,
    form: str | None = None,
    progress: Progress | None = None,
) -> Ensemble:
    """Integrate many members and evaluate their series on one grid of times.

    Small thin systems are integrated in lockstep, many at a time, where `engine` is 'auto': member k is what
    `solve(problem_k, save_at=times, rtol=rtol).series` gives within rtol, with the same digits whoever the other members
    are. With another engine it is exactly that of `solve`.

    Main arguments:
        source: a configuration whose seed is replaced by each of `seeds`, or the problems themselves.
        seeds: seeds of the members; for problems their names, by default 0, 1, 2 ...
        executor: any `concurrent.futures.Executor`, left running; None: spawned local processes, one a core, with
            one BLAS thread each. A script that uses None needs `if __name__ == "__main__":` around its work.

    Other Arguments:
        times: increasing times to save; None: 0 and 60 more, even in log time, up to the configuration's t_end or
            the longest default horizon.
        rtol: bound on the drift of E; None: the configuration's, or 1e-6, which is less than a line of a figure is wide.
        engine: engine of every member; None: the configuration's, or auto. "jax" integrates all of them in one vmapped
            call, on an accelerator where there is one: constant scalar blocks, mild problems, and the series of
            `ntkflow.derivatives.jax_metrics`; times then are without 0.
        form: form of every member; None: the configuration's, or auto.
        progress: called with ("members", finished, in all), as `nf.Bar()` is.

    Raises:
        InputError: no members, a seed given twice, or a configuration that can't be an ensemble.
        SolveError: a worker died.
    """
    given = source if isinstance(source, SimulateConfig) else SimulateConfig()
    names = _names(source, seeds)
    options = _Options(
        next(value for value in (rtol, given.rtol, LOOSE_RTOL) if value is not None),
        engine if engine is not None else given.engine,
        form if form is not None else given.form,
    )
    grid = common_grid(source) if times is None else checks.times("times", times)
    about = _about(source, options.rtol)
    if engine == "jax":
        return replace(_vmapped(source, names, grid[grid > 0], options.rtol), about=about)
    with nullcontext(executor) if executor is not None else local_processes() as workers:
        tasks = list(_tasks(source, names, grid, options, workers))
        outcomes = _gather(iter(tasks), len(names), workers, progress)
    common = [name for name in outcomes[0][1] if all(name in series for _, series in outcomes)]
    stacked = {name: np.stack([series[name] for _, series in outcomes]) for name in common}
    return Ensemble(grid, stacked, tuple(member for member, _ in outcomes), about)


def _about(source: SimulateConfig | Sequence[Problem], rtol: float) -> Json:
    """What the members share."""
    if isinstance(source, SimulateConfig):
        prepared = prepare(replace(source, ensemble=1, rtol=rtol))
        problem, config = prepared.problem, prepared.config
        shared = {"sizes": problem.sizes.as_dict(), "kernel": problem.kernel.as_dict()}
        return {**shared, "init": config.init, "config": config.tables(), "rtol": rtol}
    found: Json = {"rtol": rtol}
    for name in ("sizes", "kernel"):
        values = [getattr(problem, name).as_dict() for problem in source]
        found[name] = values[0] if all(value == values[0] for value in values) else None
    return found


def _vmapped(
    source: SimulateConfig | Sequence[Problem], names: Sequence[int], times: Times, rtol: float
) -> Ensemble:
    """All members in one call of jax, imported here alone: it takes a second."""
    from ntkflow.derivatives import vmapped
    from ntkflow.derivatives.jax_metrics import METRICS

    members = [_member_source(source, k, seed) for k, seed in enumerate(names)]
    problems = [prepare(m).problem if isinstance(m, SimulateConfig) else m for m in members]
    began = time.perf_counter()
    # Of the local error; the drift of E comes out some ten times larger.
    found = vmapped.ensemble(problems, times, names=tuple(METRICS), rtol=rtol / 10, atol=rtol / 1000)
    share = (time.perf_counter() - began) / len(names)
    reasons = [Reason.STEP_FAILED if failed else Reason.T_END for failed in found.failed]
    outcomes = (Member(seed, reason, "jax", 0, share) for seed, reason in zip(names, reasons, strict=True))
    return Ensemble(times, found.series, tuple(outcomes))


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
    """Some members, in a form that is small to send to a process."""

    sources: tuple[SimulateConfig | Problem, ...]
    seeds: tuple[int, ...]
    times: Times
    options: _Options

    def run(self) -> list[_Outcome]:
        """Integrate the members and evaluate their series; times that a failure left out are NaN."""
        return solve_many([self._asked(source) for source in self.sources], self._outcome)

    def alike(self) -> bool:
        """Whether its first member, and most likely the others, can go in lockstep."""
        return fits(self._asked(self.sources[0]))

    def _asked(self, source: SimulateConfig | Problem) -> Task:
        problem = prepare(source).problem if isinstance(source, SimulateConfig) else source
        return Task.of(problem, save_at=self.times, **vars(self.options))

    def _outcome(self, k: int, solution: Solution) -> _Outcome:
        stats, kept = solution.stats, int(np.isin(solution.times, self.times).sum())
        missing = np.full(len(self.times) - kept, np.nan)
        # A member that failed between two times of the grid has its last state at the end.
        series = {name: np.concatenate([v[:kept], missing]) for name, v in solution.series.items()}
        return Member(self.seeds[k], solution.reason, stats.engine, stats.steps, stats.seconds), series


def _tasks(
    source: SimulateConfig | Sequence[Problem],
    names: Sequence[int],
    grid: Times,
    options: _Options,
    executor: Executor,
) -> Iterator[_Task]:
    """The members, one by one or so many together that each worker has some in lockstep."""
    workers = getattr(executor, "_max_workers", UNKNOWN_WORKERS)
    together = min(TOGETHER, -(-len(names) // workers))
    every = [_member_source(source, k, seed) for k, seed in enumerate(names)]
    if not _Task((every[0],), (names[0],), grid, options).alike():
        together = 1
    for k in range(0, len(every), together):
        some = slice(k, k + together)
        yield _Task(tuple(every[some]), tuple(names[some]), grid, options)


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
    tasks: Iterator[_Task], total: int, executor: Executor, progress: Progress | None
) -> list[_Outcome]:
    """Outcomes in the order of the tasks; few wait in the executor at a time."""
    most = WAITING * getattr(executor, "_max_workers", UNKNOWN_WORKERS)
    waiting: dict[Future[list[_Outcome]], int] = {}
    found: dict[int, list[_Outcome]] = {}
    numbered = enumerate(tasks)
    finished = 0
    try:
        while finished < total:
            for k, task in islice(numbered, most - len(waiting)):
                waiting[executor.submit(task.run)] = k
            for future in wait(waiting, return_when=FIRST_COMPLETED)[0]:
                outcomes = found[waiting.pop(future)] = future.result()
                finished += len(outcomes)
                if progress is not None:
                    progress("members", finished, total)
    except BrokenExecutor:
        raise SolveError(
            f"a worker died (out of memory, or killed) after {finished} of {total} members; use fewer workers"
        ) from None
    finally:
        for future in waiting:
            future.cancel()
    return [outcome for k in sorted(found) for outcome in found[k]]
