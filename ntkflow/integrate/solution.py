"""A solved problem: saved times, states, and how the integration went."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ntkflow import views
from ntkflow._types import Document, Floats, Json, Times
from ntkflow.dynamics.packed import Flow
from ntkflow.integrate.law_check import LawCheck
from ntkflow.integrate.series import DESCRIPTIONS, TIME_UNIT, Narrow, checked_of_crowd, evaluate, of_crowd
from ntkflow.integrate.stack import alike
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.trajectory import Trajectory
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import Frame

if TYPE_CHECKING:
    from xarray import Dataset

# Bytes of states that are looked at together.
CACHED = 2**19


@dataclass(frozen=True, eq=False)
class Stats:
    """What the integration cost and how it was set.

    Attributes:
        engine: name of the engine; several, as 'DOP853+structured', where the intervals between the knots of a moving
            kernel asked for different ones.
        because: why this engine.
        form: 'thin' or 'raw', the coordinates that were integrated.
        unknowns: length of the packed state.
        stiffness: rho T, the largest rate at the start times the horizon; the sum over the intervals between knots.
        steps: accepted steps.
        evaluations: evaluations of the vector field.
        rtol: the tolerance asked for, also the bound on the drift of E.
        rtol_internal: the tolerance given to the engine.
        seconds: wall time of the integration.
    """

    engine: str
    because: str
    form: str
    unknowns: int
    stiffness: float
    steps: int
    evaluations: int
    rtol: float
    rtol_internal: float
    seconds: float

    def as_dict(self) -> Json:
        """Plain values for files."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Solution(Trajectory):
    """A trajectory: `times[i]` and `state(i)`; time is that of the sum loss (4).

    Attributes:
        problem: what was solved.
        times: saved times, (T,), the first is 0.
        packed: packed states, (T, unknowns); use `state`, `thin`, `series`.
        reason: why it ended.
        stats: cost and settings.
        flow: the packed system.
        law: how E kept the exact law of its motion; None where E stays put.
        discrete: whether these are discrete steps and not the flow.
        settings: how it was asked for, as fields of `SimulateConfig`.
    """

    problem: Problem
    times: Times
    packed: Floats
    reason: Reason
    stats: Stats
    flow: Flow
    law: LawCheck | None = None
    discrete: bool = False
    settings: Document = field(default_factory=dict)

    def state(self, i: int) -> State:
        """Full state (H, W, b) at saved time i; negative i counts from the end."""
        return self.flow.state(self.packed[i])

    def thin(self, i: int) -> tuple[ThinState, Frame]:
        """Thin state in all n coordinates and its frame at saved time i."""
        return self.flow.thin(self.packed[i])

    @property
    def final(self) -> State:
        """Full state at the last saved time."""
        return self.state(-1)

    @cached_property
    def series(self) -> dict[str, Floats]:
        """Named metrics along the trajectory, each of shape (T,); see `ntkflow.integrate.series.DESCRIPTIONS`."""
        return evaluate(self)

    @cached_property
    def ends(self) -> dict[str, Floats]:
        """The same at the first and the last saved time alone, (2,) each, or (1,) where they are one."""
        ends = [0, len(self) - 1][: len(self)]
        whole = self.__dict__.get("series")
        if whole is None or isinstance(whole, Narrow):
            return evaluate(self, only=ends)
        return {name: values[ends] for name, values in whole.items()}

    @staticmethod
    def look_at_ends(solutions: Sequence["Solution"]) -> None:
        """Evaluate `ends` of many, and `narrowed`: of those that are alike all at once, which is several times faster."""
        groups: dict[object, list[Solution]] = defaultdict(list)
        for solution in solutions:
            if (kind := alike(solution)) is not None:
                groups[kind].append(solution)
        for group in groups.values():
            for solution, ends in zip(group, of_crowd(group), strict=True):
                solution.__dict__["ends"] = ends
            # So many at a time as the caches hold: large ones gain nothing by others.
            most = max(1, CACHED // max(solution.packed.nbytes for solution in group))
            for k in range(0, len(group), most):
                some = group[k : k + most]
                for solution, series in zip(some, checked_of_crowd(some), strict=True):
                    solution.__dict__.setdefault("series", series)

    def narrowed(self) -> "Solution":
        """The same solution, whose measures of collapse wait until they are asked for: for those of whom two ends are."""
        if "series" not in self.__dict__:
            self.__dict__["series"] = Narrow(self)
        return self

    @property
    def is_flow(self) -> bool:
        """Whether this is a gradient flow, and not discrete steps."""
        return not self.discrete

    @property
    def E_moves(self) -> bool:
        """Whether E moves in truth, so that its drift is no error: decay, a moving kernel, or discrete steps."""
        return self.law is not None

    @property
    def has_momentum(self) -> bool:
        """Whether these are steps with momentum, whose law of E has a leading order beside the exact one."""
        return self.law is not None and self.law.neglected is not None

    @property
    def gap_to_law(self) -> float | None:
        """Where E moves: the largest gap to the exact law of its motion, relative to E's terms (theory 11.1-11.5)."""
        return None if self.law is None else self.law.error

    def summary(self) -> Json:
        """The numbers of summary.json: what happened, what the theory predicted, how far they agree."""
        # The door leads to what stands above.
        import ntkflow

        return ntkflow.summarise(self)

    def to_xarray(self) -> "Dataset":
        """An xarray.Dataset of the series along t, with their meanings; needs the extra `ntkflow[xarray]`."""
        attrs = {
            "kernel": self.problem.kernel.rung,
            "stopped": self.reason.value,
            "engine": self.stats.engine,
        }
        sizes = {name: str(value) for name, value in self.problem.sizes.as_dict().items()}
        coords = {"t": ("t", self.times, {"units": TIME_UNIT})}
        return views.dataset(["t"], coords, self.series, DESCRIPTIONS, {**sizes, **attrs})

    def __repr__(self) -> str:
        s = self.problem.sizes
        return (
            f"Solution(C={s.C}, m={s.m}, n={s.n}, kernel={self.problem.kernel.rung}, T={len(self)}, "
            f"t_end={self.times[-1]:.4g}, engine={self.stats.engine}, steps={self.stats.steps}, "
            f"drift={self.series['E_drift'].max():.2g}, stopped: {self.reason.value})"
        )
