"""The work that fills cells."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import numpy as np

from ntkflow._types import Floats, Json
from ntkflow.dynamics.packed import ThinFlow
from ntkflow.integrate.layers.many import LayersTask, solve_layers_many
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.layers.solve import settle_layers
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import settle
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import fits, solve_many
from ntkflow.metrics import neural_collapse
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.state import State
from ntkflow.problem.thin import Frame, remembering
from ntkflow.runs.border.records import document
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.laws import look_at_spread
from ntkflow.runs.layered import layers_task, prepare_layers, run_layers, summarise_layers
from ntkflow.runs.simulate import Prepared, prepare, run, task_of
from ntkflow.runs.summary import summarise
from ntkflow.sweep.columns.rows import row_of, row_of_record
from ntkflow.sweep.stored.cache import failure_of
from ntkflow.sweep.stored.shards import Sink, Stored
from ntkflow.theory.crowd.facts import look_at_facts

# Cells summarised at once, and the seconds that the first of them waits at most for the others.
LOT, PATIENCE = 32, 2.0


def run_cell(config: SimulateConfig, keys: Sequence[str] = (), sink: Sink | None = None) -> Json | Stored:
    """Run one configuration: {row}, or {error} with kind and message; never raises.

    It is called in workers, so that it takes and gives plain values only. Its digits are those it has among others.

    Args:
        config: of the cell.
        keys: its address alone, where there is a sink.
        sink: where it is written, if that is seen from here; then all that is given back is whether it succeeded.
    """
    return run_cells([config], keys, sink)[0]


def run_single(config: SimulateConfig, keys: Sequence[str] = (), sink: Sink | None = None) -> Json | Stored:
    """`run_cell` of a sweep of so few cells that they are solved one after another."""
    return _run_cells([config], keys, sink, lockstep=False)[0]


def gains(config: SimulateConfig) -> bool:
    """Whether cells like this one are faster together: those that can go in lockstep."""
    try:
        if config.step_size is not None:
            return False
        if config.layered:
            return layers_task(*prepare_layers(config)).joins
        return fits(task_of(prepare(config)))
    except Exception:  # it is run by itself, and says what is wrong
        return False


def run_cells(
    configs: Sequence[SimulateConfig], keys: Sequence[str] = (), sink: Sink | None = None
) -> list[Json | Stored]:
    """`run_cell` of each of some configurations, those that can in lockstep; each is written when it ends."""
    # The integrator and the theory look at the same initial states.
    with remembering():
        return _run_cells(configs, keys, sink)


def _run_cells(
    configs: Sequence[SimulateConfig], keys: Sequence[str], sink: Sink | None, lockstep: bool = True
) -> list[Json | Stored]:
    tasks, layers = _tasks(configs) if lockstep else ({}, {})
    found: dict[int, Json | Stored] = {}
    writer = None if sink is None else sink.writer()

    def end(k: int, content: Json) -> None:
        found[k] = content
        if writer is not None:
            # A disk that is full is told by whoever is given the content instead.
            with suppress(OSError):
                writer.write(keys[k], content)
                found[k] = Stored("error" not in content)

    lot = _Lot(end)
    numbers, numbers_of_layers = list(tasks), list(layers)

    def keep(i: int, solution: Solution) -> None:
        prepared, _ = tasks.pop(numbers[i])
        lot.add(numbers[i], prepared, solution)

    def keep_layers(i: int, solution: LayeredSolution) -> None:
        complete, task = layers.pop(numbers_of_layers[i])
        content = _recorded(lambda: _row_of_layers(settle_layers(solution, task.t_end), complete))
        end(numbers_of_layers[i], content)

    # Whichever task an exception is of, alone they don't cost each other anything.
    with suppress(Exception):
        solve_many([task for _, task in tasks.values()], keep)
    lot.end()
    with suppress(Exception):
        solve_layers_many([task for _, task in layers.values()], keep_layers)

    for k, config in enumerate(configs):
        if k not in found:
            end(k, _recorded(partial(_alone, config)))
    if writer is not None:
        with suppress(OSError):
            writer.sync()
    return [found[k] for k in range(len(configs))]


class _Lot:
    """Solutions that wait to be summarised together: what is evaluated at their ends costs several of them little more than one.

    Args:
        ended: takes the number of a cell and its content.
    """

    def __init__(self, ended: Callable[[int, Json], None]) -> None:
        self._ended = ended
        self._cells: list[tuple[int, Prepared, Solution]] = []
        self._began = 0.0

    def add(self, number: int, prepared: Prepared, solution: Solution) -> None:
        """One more."""
        if not self._cells:
            self._began = time.monotonic()
        self._cells.append((number, prepared, solution))
        # A kill costs what waits here: few cells, or those of a moment.
        if len(self._cells) >= LOT or time.monotonic() - self._began > PATIENCE:
            self.end()

    def end(self) -> None:
        """Summarise those that wait; an error costs no other one anything."""
        cells, self._cells = self._cells, []
        fine = [solution for _, _, solution in cells if not solution.reason.failed]
        problems = [prepared.problem for _, prepared, _ in cells]
        looks = (
            partial(Solution.look_at_ends, fine),
            partial(look_at_spread, fine),
            partial(look_at_facts, problems),
        )
        for look in looks:
            # What can't be found of all of them is found of each.
            with suppress(Exception):
                look()
        for number, prepared, solution in cells:
            self._ended(number, _recorded(partial(_settled, prepared, solution)))


def _settled(prepared: Prepared, solution: Solution) -> Json:
    return _row(prepared, settle(solution))


def _tasks(
    configs: Sequence[SimulateConfig],
) -> tuple[dict[int, tuple[Prepared, Task]], dict[int, tuple[SimulateConfig, LayersTask]]]:
    """Those that can be solved together, by number: flows with a given kernel, and of linear layers."""
    tasks: dict[int, tuple[Prepared, Task]] = {}
    layers: dict[int, tuple[SimulateConfig, LayersTask]] = {}
    for k, config in enumerate(configs):
        if config.step_size is not None:
            continue
        # By itself later it says what is wrong.
        with suppress(Exception):
            if config.layered:
                problem, complete = prepare_layers(config)
                layers[k] = complete, layers_task(problem, complete)
                continue
            prepared = prepare(config)
            if fits(task := task_of(prepared)):
                tasks[k] = prepared, task
    return tasks, layers


def _alone(config: SimulateConfig) -> Json:
    if config.layered:
        problem, complete = prepare_layers(config)
        return _row_of_layers(run_layers(problem, complete), complete)
    prepared = prepare(config)
    return _row(prepared, run(prepared))


def _recorded(work: Callable[[], Json]) -> Json:
    try:
        return work()
    except Exception as error:  # one bad cell must not cost the others; it is recorded and counted
        return failure_of(error)


def _row(prepared: Prepared, solution: Solution) -> Json:
    # Along the way a cell is asked for what its laws are checked by.
    with remembering():
        summary = summarise(solution.narrowed(), prepared)
        return {"row": row_of_record(summary, ends(solution))}


def _row_of_layers(solution: LayeredSolution, complete: SimulateConfig) -> Json:
    """Of a cell of linear layers; its series are found under the names that those of other cells have."""
    summary = document(summarise_layers(solution, complete.tables()))
    series = {
        name: {"initial": values["start"], "final": values["end"]}
        for name, values in summary.pop("series").items()
    }
    # The configuration has columns of its own.
    del summary["config"]
    summary["nc"] = {name: series[name] for name in neural_collapse.NAMES if name in series}
    summary["loss"] = series["loss"]
    return {"row": row_of(summary, {"series": series, "final": _facts_of(solution.final)})}


def ends(solution: Solution) -> Json:
    """First and last value of the series the summary lacks, and plain facts of the final state.

    bias_mean and bias_spread (largest minus smallest) of b, global_mean = |g|, weight_sum = |W^T 1|.
    """
    series = {
        name: {"initial": float(values[0]), "final": float(values[-1])}
        for name, values in solution.ends.items()
        if name not in (*neural_collapse.NAMES, "loss")  # the summary has these
    }
    flow, sizes = solution.flow, solution.problem.sizes
    if isinstance(flow, ThinFlow) and isinstance(flow.frame, Frame):
        # In the coordinates of the subspace, in which norms are the same, and from the class means alone.
        thin = flow.unpack(solution.packed[-1])
        return {"series": series, "final": _facts(thin.b, thin.H1 @ (sizes.masses / sizes.N), thin.W)}
    return {"series": series, "final": _facts_of(solution.final)}


def _facts_of(state: State | LayeredState) -> Json:
    H = state.H if isinstance(state, State) else state.layers[-1]
    return _facts(state.b, H.mean(axis=1), state.W)


def _facts(b: Floats, mean: Floats, W: Floats) -> Json:
    """From biases, the mean of all features, and weights."""
    return {
        "bias_mean": float(b.mean()),
        "bias_spread": float(np.ptp(b)),
        "global_mean": float(np.linalg.norm(mean)),
        "weight_sum": float(np.linalg.norm(W.sum(axis=0))),
    }
