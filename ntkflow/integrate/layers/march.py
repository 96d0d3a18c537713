"""One integration of linear layers under way: steps, what is kept, Q_1 .. Q_L against their law."""

import time
from dataclasses import dataclass

import numpy as np

from ntkflow._types import Times, Vector
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.dynamics.layers_subspace import Reduced
from ntkflow.integrate.engines.base import interpolant
from ntkflow.integrate.layers.ends import Ends
from ntkflow.integrate.layers.law import LawOfLayers
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.run import March
from ntkflow.integrate.save_times import log_grid
from ntkflow.integrate.solution import Stats
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.integrate.watch import STALL_STEPS, Now, gets_nowhere
from ntkflow.progress import Progress
from ntkflow.theory.layers.rates import largest_rate

# The engine's tolerance is this share of the one asked for.
SHARE = 1 / 30


@dataclass(frozen=True)
class Choice:
    """Which engine, why, and the largest rate at the start or at collapse times the horizon."""

    engine: str
    because: str
    stiffness: float


class LayersMarch(March):
    """One integration under way: steps, saves, and asks after every step whether to stop."""

    def __init__(
        self,
        flow: LayeredFlow,
        reduced: Reduced | None,
        choice: Choice,
        t_end: float,
        rtol: float,
        stop: Stop,
        save_at: Times | None,
        max_steps: int,
        progress: Progress | None,
    ) -> None:
        import scipy.integrate

        self.flow, self.t_end, self.ends = flow, t_end, Ends(flow, stop, reduced)
        self.reduced, self.choice, self.asked = reduced, choice, rtol
        self.began = time.perf_counter()
        self.whole = whole = flow if reduced is None else reduced.whole
        self.max_steps, self.progress = max_steps, progress
        self.rtol = max(SHARE * rtol, 3e-14)
        y0 = flow.start
        # Of the state's own size: the layers of a small start are to grow out of it with all their digits.
        atol = 1e-4 * self.rtol * max(float(np.abs(y0).max()), 1e-12)
        make = getattr(scipy.integrate, choice.engine)
        self.stepper = make(flow.field, 0.0, y0, t_end, rtol=self.rtol, atol=atol)
        self.law = LawOfLayers(flow)
        self.steps, self.rose = 0, 0.0
        self._mark = Now(0.0, y0, 0, self.rtol, t_end)
        self.gaps: list[list[float]] = []
        self.lowest = self.scale = self._height(y0)
        # The times are those of all features, whatever of them is integrated.
        first = 1e-2 / max(largest_rate(whole.problem), 1 / t_end)
        super().__init__(save_at, lambda: log_grid(first, t_end, whole.start.nbytes), y0)

    def until_something_ends_it(self) -> Reason:
        """Step to the end."""
        reason: Reason | None = None
        while reason is None:
            begin = self.stepper.t
            with np.errstate(over="ignore", invalid="ignore"):
                self.stepper.step()
            reason = Reason.STEP_FAILED if self.stepper.status == "failed" else self.stepped(begin)
        self.end(reason)
        return reason

    def stepped(self, begin: float, resting: bool = True) -> Reason | None:
        """After an accepted step: follow the law, keep what is due; the reason to end here, if there is one.

        Args:
            begin: where the step began.
            resting: whether targets may have been met.
        """
        self.steps += 1
        y = self.stepper.y
        if not np.all(np.isfinite(y)):
            return Reason.NOT_FINITE
        if self.law.one is None:
            self.law.advance(begin, self.stepper.t, interpolant(self.stepper))
        reason = self._stop_reason(y, resting)
        self._save_due(reason is not None)
        if self.progress is not None:
            self.progress("integrating", self.stepper.t, self.t_end)
        return reason

    def end(self, reason: Reason) -> None:
        """Keep the last state of a run that ended before its time, unless it is not one."""
        if reason not in (Reason.T_END, Reason.NOT_FINITE) and self.stepper.t > self.times[-1]:
            self._save(self.stepper.t, self.stepper.y.copy())

    def solution(self, reason: Reason) -> LayeredSolution:
        """What came of it."""
        gaps, flow = np.array(self.gaps), self.whole
        if not reason.failed and (gaps.max() > self.asked or self.rose > self.asked):
            reason = Reason.INACCURATE
        stats = Stats(
            self.choice.engine, self.choice.because, flow.form, len(self.flow.start), self.choice.stiffness, self.steps,
            self.stepper.nfev, self.asked, self.rtol, time.perf_counter() - self.began,
        )  # fmt: skip
        return LayeredSolution(
            flow.problem, np.array(self.times), np.array(self.packed), reason, stats, flow, gaps
        )

    def _stop_reason(self, y: Vector, resting: bool) -> Reason | None:
        if self.stepper.status == "finished":
            return Reason.T_END
        if self.steps % STALL_STEPS == 0:
            now = Now(self.stepper.t, y.copy(), self.steps, self.rtol, self.t_end)
            before, self._mark = self._mark, now
            if gets_nowhere(now, before, self.max_steps):
                return Reason.STALLED
        if self.steps >= self.max_steps:
            return Reason.MAX_STEPS
        return self.ends.reached(y, self.stepper.t) if resting else None

    def _height(self, y: Vector) -> float:
        return self.flow.loss(y) + self.flow.penalty(y)

    def _save(self, t: float, y: Vector) -> None:
        super()._save(t, y if self.reduced is None else self.reduced.lift(t, y))
        if self.law.one is not None:
            self.law.at(t)
        # At the end of a step the law has come as far as the state; a time inside one has its nearest known value.
        inside = self.exact and self.law.one is None and t != self.stepper.t
        nearest = self.gaps[-1] if self.gaps else [0.0] * self.flow.problem.L
        self.gaps.append(nearest if inside else self.law.gaps(y))
        height = self._height(y)
        self.rose = max(self.rose, (height - self.lowest) / max(self.scale, 1e-300))
        self.lowest = min(self.lowest, height)
