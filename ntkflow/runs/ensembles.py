"""Ensembles: the same flow from many initial states, on one grid of times, in parallel processes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from ntkflow import checks, views
from ntkflow._types import Floats, Json, Times
from ntkflow.errors import InputError
from ntkflow.integrate.engines.choose import JAX
from ntkflow.integrate.layers import series as layers
from ntkflow.integrate.layers.many import LayersTask, solve_layers_many
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.layers.solve import solve_layers
from ntkflow.integrate.series import DESCRIPTIONS, TIME_UNIT
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import FEW, solve_many, worth
from ntkflow.integrate.trajectory import Trajectory
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.problem import Problem
from ntkflow.progress import Progress
from ntkflow.runs import carried
from ntkflow.runs.border.costs import MEMBER, refuse_many
from ntkflow.runs.config import LOOSE_RTOL, SimulateConfig
from ntkflow.runs.layered import clock_of, horizon_of, prepared_problem
from ntkflow.runs.processes.executors import local_processes, worker_died

if TYPE_CHECKING:
    from pandas import DataFrame
    from xarray import Dataset

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
Source = SimulateConfig | Sequence[Problem] | Sequence[LayeredProblem]


def description(name: str) -> str:
    """What a series of members is."""
    return DESCRIPTIONS[name] if name in DESCRIPTIONS else layers.describe(name)


@dataclass(frozen=True, eq=False)
class Ensemble(Trajectory):
    """Series of K members on a common grid of T times.

    Attributes:
        times: flow times of the sum loss (4), the first is 0, (T,).
        series: named series, (K, T) each; names as in `ntkflow.integrate.series.DESCRIPTIONS`, of linear layers as in
            `ntkflow.integrate.layers.series.describe`.
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

    def to_xarray(self) -> "Dataset":
        """An xarray.Dataset along (seed, t); needs the extra `ntkflow[xarray]`."""
        seeds = np.array([member.seed for member in self.members])
        coords = {"seed": ("seed", seeds, {}), "t": ("t", self.times, {"units": TIME_UNIT})}
        words = {name: description(name) for name in self.series}
        return views.dataset(["seed", "t"], coords, self.series, words, {})

    def to_pandas(self) -> "DataFrame":
        """A pandas.DataFrame with a row for every seed and time; needs the extra `ntkflow[pandas]`."""
        seeds = np.array([member.seed for member in self.members])
        columns = {name: np.asarray(values).ravel() for name, values in self.series.items()}
        rows = {"seed": np.repeat(seeds, len(self.times)), "t": np.tile(self.times, len(self)), **columns}
        return views.dataframe(rows)

    def __repr__(self) -> str:
        seeds = [member.seed for member in self.members]
        return (
            f"Ensemble({len(self)} members, seeds {seeds[0]} to {seeds[-1]}, T={len(self.times)}, "
            f"t_end={self.times[-1]:.4g}, {len(self.series)} series, {len(self.failed)} failed)"
        )

    def _repr_html_(self) -> str:
        ends = {name: self.quantiles(name) for name in self.series}
        rows = [(name, q[1, 0], q[1, -1], q[0, -1], q[2, -1]) for name, q in ends.items()]
        return views.html_table(repr(self), ("", "start: median", "end: median", "5 %", "95 %"), rows)


def ensemble(
    source: Source,
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

    Small thin systems are integrated in lockstep, many at a time, where `engine` is 'auto', and so are 16 or more generic
    states with up to 256 feature coordinates under a constant kernel with one mu_single, without decay: member k is what
    `solve(problem_k, save_at=times, rtol=rtol).series` gives within rtol, with the same digits whoever the other members
    are. So it is where `engine` is 'jax', but that the last digits belong to the number of slots, which goes up in powers of
    two with that of the members. With another engine, and where there are one or two members, it is exactly that of `solve`.

    Main arguments:
        source: a configuration whose seed is replaced by each of `seeds`, or the problems themselves, all of the kernel
            given or all of linear layers.
        seeds: seeds of the members; for problems their names, by default 0, 1, 2 ...
        executor: any `concurrent.futures.Executor`, left running; None: spawned local processes, one a core, with
            one BLAS thread each. A script that uses None needs `if __name__ == "__main__":` around its work.

    Other Arguments:
        times: increasing times to save; None: 0 and 60 more, even in log time, up to the configuration's t_end or
            the longest default horizon.
        rtol: bound on the drift of E; None: the configuration's, or 1e-6, which is less than a line of a figure is wide.
        engine: engine of every member; None: the configuration's, or auto. "jax" takes them in lockstep through compiled
            programs of this process, on an accelerator where there is one: small thin systems only. The executor, or from
            512 members on processes, prepare them and evaluate their series, unless decay or the kernel moves E.
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
    if options.engine == JAX:
        outcomes = _compiled(source, names, grid, options, executor, progress)
    else:
        with nullcontext(executor) if executor is not None else local_processes() as workers:
            tasks = list(_tasks(source, names, grid, options, workers))
            outcomes = _gather(iter(tasks), len(names), workers, progress)
    common = [name for name in outcomes[0][1] if all(name in series for _, series in outcomes)]
    stacked = {name: np.stack([series[name] for _, series in outcomes]) for name in common}
    return Ensemble(grid, stacked, tuple(member for member, _ in outcomes), about)


def _about(source: Source, rtol: float) -> Json:
    """What the members share."""
    if isinstance(source, SimulateConfig):
        problem, config = prepared_problem(replace(source, ensemble=1, rtol=rtol))
        shared: Json = {"sizes": problem.sizes.as_dict(), "kernel": problem.kernel.as_dict()}
        if isinstance(problem, LayeredProblem):
            shared["widths"] = list(problem.widths)
        return {**shared, "init": config.init, "config": config.tables(), "rtol": rtol}
    found: Json = {"rtol": rtol}
    for name in ("sizes", "kernel"):
        values = [getattr(problem, name).as_dict() for problem in source]
        found[name] = values[0] if all(value == values[0] for value in values) else None
    widths = {problem.widths if isinstance(problem, LayeredProblem) else None for problem in source}
    if len(widths) == 1 and None not in widths:
        found["widths"] = list(widths.pop() or ())
    return found


def _compiled(
    source: Source,
    names: Sequence[int],
    grid: Times,
    options: "_Options",
    executor: Executor | None,
    progress: Progress | None,
) -> list[_Outcome]:
    """The members in the order of their names, many at a time by compiled programs of this process."""
    every = tuple(_member_source(source, k, seed) for k, seed in enumerate(names))

    def part(some: slice) -> _Task:
        return _Task(every[some], tuple(names[some]), grid, options)

    return carried.outcomes(part, len(names), executor, progress)


def common_grid(source: Source) -> Times:
    """The times an ensemble is saved at by default: 0, then 60 more, even in log time."""
    if isinstance(source, SimulateConfig):
        problem, config = prepared_problem(source)
        problems, t_end = [problem], float(config.t_end or 0.0)
    else:
        problems, t_end = list(source), max(horizon_of(problem) for problem in source)
    first = FIRST_TIME / max(clock_of(problem) for problem in problems)
    return np.concatenate([[0.0], np.geomspace(min(first, t_end / 10), t_end, POINTS)])


@dataclass(frozen=True)
class _Options:
    rtol: float
    engine: str
    form: str


def _problem(source: SimulateConfig | Problem | LayeredProblem) -> Problem | LayeredProblem:
    return prepared_problem(source)[0] if isinstance(source, SimulateConfig) else source


@dataclass(frozen=True, eq=False)
class _Task:
    """Some members, in a form that is small to send to a process."""

    sources: tuple[SimulateConfig | Problem | LayeredProblem, ...]
    seeds: tuple[int, ...]
    times: Times
    options: _Options
    lockstep: bool = True

    def run(self) -> list[_Outcome]:
        """Integrate the members and evaluate their series; times that a failure left out are NaN."""
        problems = [_problem(source) for source in self.sources]
        if layered := [problem for problem in problems if isinstance(problem, LayeredProblem)]:
            return self._layered(layered)
        tasks = [self._asked(problem) for problem in problems if isinstance(problem, Problem)]
        if not self.lockstep:
            return [self.outcome(k, run_alone(task)) for k, task in enumerate(tasks)]
        return solve_many(tasks, self.outcome)

    def asked(self) -> list[Task]:
        """What there is to be done, where the members have one flow each."""
        flat = [p for p in map(_problem, self.sources) if isinstance(p, Problem)]
        if len(flat) < len(self.sources):
            raise InputError("engine", repr(JAX), "has no form for linear layers", "use engine='auto'")
        return [self._asked(problem) for problem in flat]

    def worth(self) -> tuple[int, int] | None:
        """How many like its first member lockstep is worth for, and at a time; None where that can't go in lockstep."""
        problem = _problem(self.sources[0])
        if isinstance(problem, LayeredProblem):
            return self._asked_of_layers(problem).worth
        return worth(self._asked(problem))

    def _asked(self, problem: Problem) -> Task:
        return Task.of(problem, save_at=self.times, **vars(self.options))

    def _asked_of_layers(self, problem: LayeredProblem) -> LayersTask:
        return LayersTask.of(problem, save_at=self.times, **vars(self.options))

    def _layered(self, problems: Sequence[LayeredProblem]) -> list[_Outcome]:
        if not self.lockstep:
            how = {"save_at": self.times, "throw": False, **vars(self.options)}
            return [self.outcome(k, solve_layers(p, **how)) for k, p in enumerate(problems)]
        found: dict[int, _Outcome] = {}

        def keep(k: int, solution: LayeredSolution) -> None:
            found[k] = self.outcome(k, solution)

        solve_layers_many([self._asked_of_layers(problem) for problem in problems], keep)
        return [found[k] for k in range(len(problems))]

    def outcome(self, k: int, solution: Solution | LayeredSolution) -> _Outcome:
        """How the k-th went, and its series."""
        stats, kept = solution.stats, int(np.isin(solution.times, self.times).sum())
        missing = np.full(len(self.times) - kept, np.nan)
        # A member that failed between two times of the grid has its last state at the end.
        series = {name: np.concatenate([v[:kept], missing]) for name, v in solution.series.items()}
        return Member(self.seeds[k], solution.reason, stats.engine, stats.steps, stats.seconds), series


def _tasks(
    source: Source,
    names: Sequence[int],
    grid: Times,
    options: _Options,
    executor: Executor,
) -> Iterator[_Task]:
    """The members, one by one or so many together that each worker has some in lockstep."""
    workers = getattr(executor, "_max_workers", UNKNOWN_WORKERS)
    every = [_member_source(source, k, seed) for k, seed in enumerate(names)]
    few = _Task((every[0],), (names[0],), grid, options).worth() if len(every) >= FEW else None
    # How many there are decides, and not how many workers.
    lockstep = len(every) >= (FEW if few is None else few[0])
    together = 1 if few is None or not lockstep else min(TOGETHER, max(few[1], -(-len(names) // workers)))
    for k in range(0, len(every), together):
        some = slice(k, k + together)
        yield _Task(tuple(every[some]), tuple(names[some]), grid, options, lockstep)


def _names(source: Source, seeds: Iterable[int] | None) -> tuple[int, ...]:
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
    if not isinstance(source, SimulateConfig) and len({type(problem) for problem in source}) > 1:
        raise InputError("source", "problems of both kinds", "must be of one", "make two ensembles")
    if not isinstance(source, SimulateConfig) and len(source) != len(names):
        raise InputError(
            "seeds", f"{len(names)} seeds", f"must be one for each of {len(source)} problems", "drop seeds"
        )
    return names


def _member_source(source: Source, k: int, seed: int) -> SimulateConfig | Problem | LayeredProblem:
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
        raise worker_died(finished, total, "members", "use fewer workers") from None
    finally:
        for future in waiting:
            future.cancel()
    return [outcome for k in sorted(found) for outcome in found[k]]
