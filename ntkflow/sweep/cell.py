"""One cell: its address, which is a hash of all that decides its numbers, and the work that fills it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import settle
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import fits, solve_many
from ntkflow.metrics import neural_collapse
from ntkflow.runs.border.records import document
from ntkflow.runs.border.typed import Value
from ntkflow.runs.config import LOOSE_RTOL, SimulateConfig
from ntkflow.runs.simulate import Prepared, prepare, run, task_of
from ntkflow.runs.summary import summarise
from ntkflow.sweep.spec import SweepSpec, absolute, digest, plain_config


@dataclass(frozen=True, eq=False)
class Cell:
    """One point of the grid.

    Attributes:
        point: swept fields and their values.
        key: sha256 of the completed configuration and the version of ntkflow.
        config: the configuration; None when it contradicts itself.
        problem: why it cannot be run, known before running it; None when it can.
    """

    point: dict[str, Value]
    key: str
    config: SimulateConfig | None
    problem: InputError | None = None


def cells(spec: SweepSpec) -> list[Cell]:
    """All cells of a sweep in grid order."""
    found = []
    for point in spec.points():
        # Of a cell nobody asks for the eighth digit: its run may be as loose as a member of an ensemble.
        values: Json = {"rtol": spec.base.rtol if spec.base.rtol is not None else LOOSE_RTOL, **point}
        # An axis over one kind of end replaces the other in the base.
        for one, other in (("steps", "t_end"), ("t_end", "steps")):
            if one in point and other not in point:
                values[other] = None
        try:
            config = absolute(replace(spec.base, **values))
            found.append(Cell(point, key_of(config), config))
        except InputError as error:
            # What cannot be run has an address too: its row stays in the table, and says why.
            given = {**plain_config(spec.base), **{name: str(value) for name, value in point.items()}}
            key = digest({"version": __version__, "refused": given})
            found.append(Cell(point, key, None, error))
    return found


def key_of(config: SimulateConfig) -> str:
    """The address of a configuration: sha256 of its completed form and the version of ntkflow.

    A default given and a default left out have one address, and a file counts by its content. An end time
    left open stays open in the hash: it follows from the rest, but its last digit depends on the BLAS.

    Raises:
        InputError: a configuration that cannot be completed.
    """
    completed = replace(load(config).config, t_end=config.t_end)
    return digest({"version": __version__, "config": plain_config(completed)})


def load(config: SimulateConfig) -> Prepared:
    """Read the files a configuration names and prepare its problem."""
    return prepare(config)


def run_cell(config: SimulateConfig) -> Json:
    """Run one configuration: {config, summary, ends}, or {error} with kind and message; never raises.

    It is called in workers, so that it takes and gives plain values only. Its digits are those it has among others.
    """
    return run_cells([config])[0]


def gains(config: SimulateConfig) -> bool:
    """Whether cells like this one are faster together: those that can go in lockstep."""
    try:
        prepared = load(config)
        return config.step_size is None and fits(task_of(prepared))
    except Exception:  # it is run by itself, and says what is wrong
        return False


def run_cells(configs: Sequence[SimulateConfig]) -> list[Json]:
    """`run_cell` of each of some configurations, those that can in lockstep."""
    tasks: dict[int, tuple[Prepared, Task]] = {}
    for k, config in enumerate(configs):
        # By itself below it says what is wrong.
        with suppress(Exception):
            prepared = load(config)
            if config.step_size is None and fits(task := task_of(prepared)):
                tasks[k] = prepared, task
    found: dict[int, Json] = {}
    numbers = list(tasks)

    def keep(i: int, solution: Solution) -> None:
        prepared = tasks[numbers[i]][0]
        found[numbers[i]] = _recorded(lambda: (prepared, settle(solution)))

    # Whichever task an exception is of, alone they don't cost each other anything.
    with suppress(Exception):
        solve_many([task for _, task in tasks.values()], keep)

    def alone(config: SimulateConfig) -> tuple[Prepared, Solution]:
        prepared = load(config)
        return prepared, run(prepared)

    return [found[k] if k in found else _recorded(partial(alone, c)) for k, c in enumerate(configs)]


def _recorded(work: Callable[[], tuple[Prepared, Solution]]) -> Json:
    try:
        prepared, solution = work()
        # Along the way a cell is asked for what its laws are checked by.
        summary = summarise(solution.narrowed(), prepared)
        return {"config": prepared.config.tables(), "summary": document(summary), "ends": ends(solution)}
    except Exception as error:  # one bad cell must not cost the others; it is recorded and counted
        return {"error": {"kind": type(error).__name__, "message": str(error) or repr(error)}}


def ends(solution: Solution) -> Json:
    """First and last value of the series the summary lacks, and plain facts of the final state.

    bias_mean and bias_spread (largest minus smallest) of b, global_mean = |g|, weight_sum = |W^T 1|.
    """
    state = solution.final
    series = {
        name: {"initial": float(values[0]), "final": float(values[-1])}
        for name, values in solution.ends.items()
        if name not in (*neural_collapse.NAMES, "loss")  # the summary has these
    }
    facts = {
        "bias_mean": float(state.b.mean()),
        "bias_spread": float(np.ptp(state.b)),
        "global_mean": float(np.linalg.norm(state.H.mean(axis=1))),
        "weight_sum": float(np.linalg.norm(state.W.sum(axis=0))),
    }
    return {"series": series, "final": facts}
