"""A solved problem: saved times, states, and how the integration went."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ntkflow._types import Json, Times
from ntkflow.law_check import LawCheck
from ntkflow.problem import Problem
from ntkflow.reduction import Frame
from ntkflow.state import State, ThinState
from ntkflow.stopping import Reason
from ntkflow.systems import Flow


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
class Solution:
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
    """

    problem: Problem
    times: Times
    packed: np.ndarray
    reason: Reason
    stats: Stats
    flow: Flow
    law: LawCheck | None = None
    discrete: bool = False

    def __len__(self) -> int:
        return len(self.times)

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
    def series(self) -> dict[str, np.ndarray]:
        """Named metrics along the trajectory, each of shape (T,); see `ntkflow.series.DESCRIPTIONS`."""
        from ntkflow.series import evaluate

        return evaluate(self)

    @property
    def gap_to_law(self) -> float | None:
        """Where E moves: the largest gap to the exact law of its motion, relative to E's terms (theory 11.1-11.5)."""
        return None if self.law is None else self.law.error

    def __repr__(self) -> str:
        s = self.problem.sizes
        return (
            f"Solution(C={s.C}, m={s.m}, n={s.n}, kernel={self.problem.kernel.rung}, T={len(self)}, "
            f"t_end={self.times[-1]:.4g}, engine={self.stats.engine}, steps={self.stats.steps}, "
            f"drift={self.series['E_drift'].max():.2g}, stopped: {self.reason.value})"
        )
