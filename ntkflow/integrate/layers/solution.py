"""A solved problem of linear layers: saved times, states, invariants, and how the integration went."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import views
from ntkflow._types import Floats, Json, Times
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.integrate.layers.series import describe, evaluate
from ntkflow.integrate.series import TIME_UNIT
from ntkflow.integrate.solution import Stats
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.trajectory import Trajectory
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.layers.state import LayeredState

# Of the law of discrete steps.
ROUNDING = 1e-9
if TYPE_CHECKING:
    from xarray import Dataset


@dataclass(frozen=True, eq=False)
class LayeredSolution(Trajectory):
    """A trajectory: `times[i]` and `state(i)`; time is that of the sum loss (4).

    Attributes:
        problem: what was solved.
        times: saved times, (T,).
        packed: packed states, (T, unknowns); use `state`, `series`.
        reason: why it ended.
        stats: cost and settings.
        flow: the packed system.
        gaps: |Q_l - its law|_F over the largest |V_{l+1}^T V_{l+1}|_F + |V_l V_l^T|_F so far, (T, L): the law is Q_l(0) without
            decay, its exact motion with (theory 18.3).
    """

    problem: LayeredProblem
    times: Times
    packed: Floats
    reason: Reason
    stats: Stats
    flow: LayeredFlow
    gaps: Floats

    @property
    def discrete(self) -> bool:
        """Whether these are steps of gradient descent and not the flow."""
        return math.isnan(self.stats.rtol)

    @property
    def bound(self) -> float:
        """Bound on `gaps`: the tolerance asked for, of steps, whose law is exact, what rounding may make of many."""
        return ROUNDING if self.discrete else self.stats.rtol

    def state(self, i: int) -> LayeredState:
        """State of all samples at saved time i; negative i counts from the end."""
        return self.flow.state(self.packed[i])

    @property
    def final(self) -> LayeredState:
        """State at the last saved time."""
        return self.state(-1)

    def invariants(self, i: int) -> list[Floats]:
        """Q_1 .. Q_L at saved time i, n_l x n_l."""
        return self.flow.invariants(self.packed[i])

    @cached_property
    def series(self) -> dict[str, Floats]:
        """Named metrics along the trajectory, each (T,); `ntkflow.integrate.layers.series.describe` says what each is."""
        return evaluate(self.flow, self.packed, self.gaps)

    @cached_property
    def ends(self) -> dict[str, Floats]:
        """First and last value of every series, (2,) each, without those between."""
        if "series" in self.__dict__:
            return {name: values[[0, -1]] for name, values in self.series.items()}
        both = [0, len(self) - 1]
        return evaluate(self.flow, self.packed[both], self.gaps[both])

    def at(self, name: str, t: float) -> float:
        """A series at a time of the run, in a straight line between the two saved ones beside it."""
        after = min(max(int(np.searchsorted(self.times, t)), 1), len(self) - 1)
        beside = [after - 1, after]
        values = (
            self.series[name][beside]
            if "series" in self.__dict__
            else evaluate(self.flow, self.packed[beside], self.gaps[beside])[name]
        )
        return float(np.interp(t, self.times[beside], values))

    def to_xarray(self) -> "Dataset":
        """An xarray.Dataset of the series along t, with their meanings; needs the extra `ntkflow[xarray]`."""
        problem = self.problem
        facts = {"kernel": problem.kernel.rung, "stopped": self.reason.value, "engine": self.stats.engine}
        attrs = {**{name: str(value) for name, value in problem.sizes.as_dict().items()}, **facts}
        coords = {"t": ("t", self.times, {"units": TIME_UNIT})}
        meanings = {name: describe(name) for name in self.series}
        return views.dataset(["t"], coords, self.series, meanings, attrs | {"widths": list(problem.widths)})

    def summary(self) -> Json:
        """The numbers of summary.json: what happened beside what was predicted."""
        # The door leads to what stands above.
        import ntkflow

        return ntkflow.summarise(self)

    def as_dict(self) -> Json:
        """How it went, as plain values."""
        return {"reason": self.reason.value, "t_end": float(self.times[-1]), **self.stats.as_dict()}

    def __repr__(self) -> str:
        s = self.problem.sizes
        return (
            f"LayeredSolution(C={s.C}, m={s.m}, widths={self.problem.widths}, T={len(self)}, t_end={self.times[-1]:.4g}, "
            f"engine={self.stats.engine}, steps={self.stats.steps}, Q off its law by {np.max(self.gaps):.2g}, "
            f"stopped: {self.reason.value})"
        )
