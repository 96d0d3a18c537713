"""Many runs of linear layers at once: those of equal shape in lockstep, single layers as features under a constant kernel."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from ntkflow._types import Times
from ntkflow.integrate.layers.flat import as_layers, flat_task, is_flat
from ntkflow.integrate.layers.lockstep import together
from ntkflow.integrate.layers.march import LayersMarch
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.layers.solve import MAX_STEPS, begin, default_horizon, run_alone
from ntkflow.integrate.stopping import Stop
from ntkflow.integrate.task import asked
from ntkflow.integrate.together import FEW, solve_many, worth
from ntkflow.problem.layers.problem import LayeredProblem

# Of more unknowns the products of one member are large enough for it to be as fast alone.
MOST_UNKNOWNS = 3000


@dataclass(frozen=True, eq=False)
class LayersTask:
    """What `solve_layers` is asked for, see there; `of` checks it and fills in what is left out."""

    problem: LayeredProblem
    t_end: float
    stop: Stop
    times: Times | None
    rtol: float
    engine: str = "auto"
    form: str = "auto"

    @classmethod
    def of(
        cls,
        problem: LayeredProblem,
        *,
        t_end: float | None = None,
        stop: Stop | None = None,
        save_at: Sequence[float] | Times | None = None,
        rtol: float = 1e-8,
        engine: str = "auto",
        form: str = "auto",
    ) -> "LayersTask":
        """A task.

        Raises:
            InputError: an argument is out of its range.
        """
        found = asked(t_end, stop, save_at, rtol, form, lambda: default_horizon(problem))
        return cls(problem, *found, engine, form)

    @property
    def flat(self) -> bool:
        """Whether it is the flow of features under a constant kernel, whose engines are faster."""
        return self.engine == "auto" and self.form != "raw" and is_flat(self.problem)

    @property
    def joins(self) -> bool:
        """Whether it is faster with others of its shape than alone."""
        return self.worth is not None

    @property
    def worth(self) -> tuple[int, int] | None:
        """How many like it there must be for that, and at a time, as `together.worth`."""
        if self.engine != "auto" or self.form == "raw":
            return None
        if self.flat:
            return worth(flat_task(self.problem, self.t_end, self.stop, self.times, self.rtol, MAX_STEPS))
        return (FEW, 1) if _in_step(self.begin()) else None

    def begin(self) -> LayersMarch:
        """The integration before its first step."""
        return begin(self.problem, self.t_end, self.stop, self.times, self.rtol, self.engine, self.form)


def solve_layers_many(tasks: Sequence[LayersTask], keep: Callable[[int, LayeredSolution], Any]) -> None:
    """The solutions of tasks, each that of `solve_layers` within rtol, failures with their reason; none depends on another task.

    Args:
        tasks: what is to be done.
        keep: called with the number of a task and its solution, as they end.
    """
    flat = [number for number, task in enumerate(tasks) if task.flat]

    def unfold(k: int, found: Any) -> None:
        task = tasks[flat[k]]
        keep(flat[k], as_layers(found, task.problem, task.form))

    solve_many(
        [flat_task(t.problem, t.t_end, t.stop, t.times, t.rtol, MAX_STEPS) for t in (tasks[k] for k in flat)],
        unfold,
    )
    groups: dict[Any, dict[LayersMarch, int]] = defaultdict(dict)
    for number in sorted(set(range(len(tasks))) - set(flat)):
        march = tasks[number].begin()
        if not _in_step(march):
            keep(number, run_alone(march))
            continue
        flow = march.flow
        groups[flow.shapes][march] = number
    with threadpool_limits(1, user_api="blas"):
        for group in groups.values():
            for march, reason in together(list(group)):
                keep(group[march], march.solution(reason))


def _in_step(march: LayersMarch) -> bool:
    flow = march.flow
    return (
        march.choice.engine == "DOP853" and flow.class_kernel is not None and len(flow.start) <= MOST_UNKNOWNS
    )
