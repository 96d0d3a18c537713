"""A solved problem of linear layers: saved times, states, invariants, and how the integration went."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ntkflow import views
from ntkflow._types import Floats, Json, Times
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.integrate.layers.series import evaluate
from ntkflow.integrate.solution import Stats
from ntkflow.integrate.stopping import Reason
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.layers.state import LayeredState


@dataclass(frozen=True, eq=False)
class LayeredSolution:
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

    def __len__(self) -> int:
        return len(self.times)

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

    def to_pandas(self) -> Any:
        """A pandas.DataFrame of the series with index t; needs the extra `ntkflow[pandas]`."""
        return views.dataframe({"t": self.times, **self.series}, "t")

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
