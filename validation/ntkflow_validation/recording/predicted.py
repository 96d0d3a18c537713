"""`predict`: from a measured kernel and a state to the trajectory that the theory foretells, in steps and in flow time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ntkflow import checks
from ntkflow._types import Times
from ntkflow.errors import InputError
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import solve
from ntkflow.integrate.trajectory import Figured
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State
from ntkflow.problem.training_clock import Clock
from ntkflow.runs.pictures.curves import Curves
from ntkflow.runs.saved.overlay import curves
from ntkflow.words import spelled
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.metrics.clock_hint import clock_hint
from ntkflow_validation.metrics.compare import Comparison
from ntkflow_validation.metrics.compare import compare as scored
from ntkflow_validation.metrics.objective import Objective
from ntkflow_validation.recording.problems import Observed, given, members_of, observed, of_clock, problem_of
from ntkflow_validation.recording.unseen import logits

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Predicted(Figured):
    """A predicted trajectory on the clock of a training; the figure of `against(training)` has what was observed too.

    Attributes:
        solution: of the measured problem; its times start at 0.
        clock: steps to flow time.
        start: the step at which the state was observed.
        share: N of the measurement over N of the training: the solution's time runs that much slower.
        order: samples of the solution in the order of the measurement: sorted = given[order].
        members: the same under constants drawn within their standard errors.
        without_band: why there are no such members.
        rtol: tolerance of the integration.
        asked: the steps that were given, their last one, or None for none; `against` keeps to them.
    """

    solution: Solution
    clock: Clock
    start: int
    share: float
    order: np.ndarray
    members: tuple[Problem, ...] = field(repr=False, default=())
    without_band: str = ""
    rtol: float = 1e-8
    asked: int | tuple[float, ...] | None = None

    @property
    def problem(self) -> Problem:
        """What was solved: state, kernel, decay."""
        return self.solution.problem

    @property
    def objective(self) -> Objective:
        """What the training minimises, by whose residuals the prediction is scored."""
        return Objective(self.problem.loss, self.problem.train_bias)

    @property
    def times(self) -> Times:
        """Flow times of the training, (T,), counted from its step 0."""
        return np.asarray(self.clock.time(self.start) + self.solution.times * self.share)

    @property
    def steps(self) -> Times:
        """Steps of the training at these times, (T,), not rounded."""
        return np.asarray(self.clock.step(self.times))

    @property
    def series(self) -> dict[str, np.ndarray]:
        """Named metrics along the trajectory, each (T,); see `nf.Solution.series`."""
        return self.solution.series

    def state(self, i: int) -> State:
        """The predicted state at `steps[i]`, samples sorted by class."""
        return self.solution.state(i)

    @cached_property
    def band(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """For each series its value minus and plus a standard deviation, (T,) each: an ensemble over the constants.

        Every member draws the three constants of the block kernel independently from normal distributions with their
        standard errors, those that would break its order drawn again, and is solved. Empty where `without_band` says why.
        """
        found: dict[str, list[np.ndarray]] = {}
        for problem in self.members:
            member = solve(problem, save_at=self.solution.times, rtol=self.rtol)
            for name, values in member.series.items():
                found.setdefault(name, []).append(values)
        own = self.solution.series
        spread = {
            name: np.std(np.stack(values), axis=0, ddof=1) for name, values in found.items() if name in own
        }
        return {name: (own[name] - s, own[name] + s) for name, s in spread.items()}

    def at(self, steps: Sequence[int] | np.ndarray) -> "Predicted":
        """The same prediction at other steps, the first of which is `start`."""
        times = _times(self.clock, np.asarray(steps), self.start) / self.share
        solution = solve(self.problem, save_at=times, rtol=self.rtol)
        return replace(self, solution=solution, asked=tuple(float(step) for step in steps))

    def against(self, training: Observed) -> "Against":
        """Observed snapshots laid beside the prediction, and its skill on them.

        Args:
            training: a run directory or its path, recorded or trained here; a recorder; or pairs (step, state), states as
                they were observed on the measured samples, sorted by class. What was observed before `start` is left out;
                what was observed there is where the prediction begins. So are steps that `predict` was not asked for:
                others than those of its list, or beyond its last one. Asked for none, it is laid beside all.

        Raises:
            InputError: fewer than two of these are at `start` or later, none is at `start`, or they do not fit.
        """
        seen = [(int(step), state) for step, state in observed(training) if step >= self.start]
        pairs = [pair for pair in seen if self._asked_for(pair[0])]
        if len(pairs) < 2 <= len(seen):
            raise InputError(
                "steps",
                self.asked if isinstance(self.asked, int) else [f"{step:g}" for step in self.asked or ()],
                f"holds {len(pairs)} of the observed steps {[step for step, _ in seen][:6]}",
                "predict at two or more of these, or with steps=None",
            )
        if len(pairs) < 2 or pairs[0][0] != self.start:
            raise InputError(
                "training",
                f"states at steps {[step for step, _ in pairs][:4]}",
                f"must have one at step {self.start}, where the prediction starts, and a later one",
                "predict from an observed step (start=)",
            )
        for _, state in pairs:
            state.check(self.problem.sizes)
        found = self.at([step for step, _ in pairs])
        states = [state for _, state in pairs]
        predicted = [found.state(i) for i in range(len(pairs))]
        return Against(
            found,
            [step for step, _ in pairs],
            scored(found.times, states, predicted, self.problem.sizes, self.objective),
            found._clock_hint(states, predicted),
        )

    def _clock_hint(self, states: Sequence[State], predicted: Sequence[State]) -> str | None:
        def again(times: Times) -> list[State]:
            other = solve(self.problem, save_at=times, rtol=self.rtol)
            return [other.state(i) for i in range(len(times))]

        of, decay = self.problem, self.problem.decay
        return clock_hint(
            self.solution.times, states, predicted, again, of.sizes, self.objective, (decay.W, decay.b)
        )

    def _asked_for(self, step: int) -> bool:
        if self.asked is None or step == self.start:
            return True
        return step in self.asked if isinstance(self.asked, tuple) else step <= self.asked

    def unseen(self, cross: ArrayLike, H: ArrayLike) -> np.ndarray:
        """Logits of inputs that were not trained on, along the prediction, (T, N', C).

        dh(x)/dt = -sum_i Theta(x, x_i) W^T r_i with the kernel of the prediction between the training samples, see
        `ntkflow_validation.recording.unseen`.

        Args:
            cross: the kernel between the inputs and the measured samples, mean over neurons, (N', N), samples in the order
                in which they were measured.
            H: features of the inputs at `start`, (N', n).

        Raises:
            InputError: sizes do not fit, or the kernel of the prediction is none between samples.
        """
        return logits(
            self.solution, np.asarray(cross, dtype=np.float64)[:, self.order], np.asarray(H, np.float64)
        )

    def curves(self) -> Curves:
        """What a figure needs of it: the solution's series on the clock of the training, beside which it may be laid."""
        found = curves(self.solution)
        settings = {"rung": self.problem.kernel.rung, "start": self.start}
        return replace(found, t=self.times, settings=settings, kind="prediction")

    def __repr__(self) -> str:
        band = self.without_band or f"{len(self.members)} draws of the constants within their standard errors"
        return (
            f"Predicted(steps {self.steps[0]:.6g} to {self.steps[-1]:.6g}, flow time {self.times[0]:.4g} to "
            f"{self.times[-1]:.4g}, {self.problem.kernel.rung} kernel; band: {band})"
        )


@dataclass(frozen=True, eq=False)
class Against:
    """A prediction beside what was observed.

    Attributes:
        predicted: at the observed steps.
        steps: these.
        comparison: series of both, and skill at every time.
        clock: a sentence where one factor on all times explains what is missed, None elsewhere.
    """

    predicted: Predicted
    steps: list[int]
    comparison: Comparison
    clock: str | None = None

    @property
    def skill(self) -> dict[str, float]:
        """For each quantity the skill pooled over all later snapshots, see `nf.skill`."""
        return self.comparison.pooled

    def figure(self, **options: Any) -> "Figure":
        """Observed as points, predicted as lines; `panes=` and `size=` as of `LadderComparison.figure`."""
        from ntkflow_validation.figures.comparison import comparison_figure

        kernel = self.predicted.problem.kernel.rung
        title = f"predicted from step {self.steps[0]} with the measured {kernel} kernel"
        return comparison_figure(self.comparison, {self.steps[0]: self.comparison}, title, **options)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in self.skill.items())
        said = f"; {self.clock}" if self.clock else ""
        return f"Against(steps {self.steps[0]} to {self.steps[-1]}; skill {scores}{said})"


@spelled
def predict(
    measurement: Measurement,
    state: State | None = None,
    clock: Clock | None = None,
    *,
    steps: int | Sequence[int] | None = None,
    start: int = 0,
    rung: str = "block",
    of: str = "features",
    members: int = 16,
    seed: int = 0,
    rtol: float = 1e-8,
) -> Predicted:
    """Run the theory from a state under a measured kernel, on the clock of a training.

    Args:
        measurement: of `nf.measure`.
        state: H (n, N) of the samples in the order in which they were given to `measure`, all of them or the measured ones, W,
            b; None for those that were measured.
        clock: of the training: time, weight decay and loss.
        steps: the last step, or all steps to predict; None ends where the solution does not move any more. What is laid
            beside the prediction (`against`) is observed at these.
        start: the step at which the state was observed.
        rung: block, class-block, sample, kronecker, matrix-block or tensor; of sample and tensor what single precision
            leaves below zero is cut off.
        of: "features", or "row_space" for constants averaged over the row space of W.
        members: draws for the band.
        seed: of the draws.
        rtol: tolerance of the integration.

    Raises:
        InputError: the rung was not measured, sizes do not fit, or steps do not increase from `start`.
        SolveError: the integration failed.
    """
    if clock is None:
        raise InputError(
            "clock", None, "turns steps into the theory's time", "give nf.Clock(...) of the training"
        )
    if clock.frozen == "body":
        raise InputError(
            "clock", "frozen='body'", "has features that stay where they are", "there is nothing to predict"
        )
    start = checks.whole("start", start, 0)
    members = checks.whole("members", members, 2)
    parts = given(measurement, state)
    order = np.argsort(measurement.labels, kind="stable")
    problem = problem_of(measurement, parts, rung, of, order)
    share = problem.sizes.N / clock.samples
    # A head that was measured without a bias has none to train.
    biased = measurement.head is None or measurement.head.b is not None
    problem = of_clock(problem, clock, share, biased)
    grid = None if steps is None else _steps(steps, start)
    times = None if grid is None else _times(clock, grid, start) / share
    solution = solve(problem, save_at=times, rtol=rtol)
    drawn, without = members_of(measurement, problem, of, members, seed, share)
    asked: int | tuple[float, ...] | None = None
    if grid is not None:
        asked = (
            int(grid[-1])
            if not isinstance(steps, Sequence | np.ndarray)
            else tuple(float(step) for step in grid)
        )
    return Predicted(solution, clock, start, share, order, drawn, without, rtol, asked)


def _steps(steps: int | Sequence[int], start: int) -> np.ndarray:
    if np.ndim(steps) == 0:
        last = checks.whole("steps", steps, start + 1)
        grid = start + np.unique(np.round(np.geomspace(1, last - start, 64)).astype(int))
        return np.array([start, *grid])
    return np.asarray(checks.numbers("steps", steps, 1))


def _times(clock: Clock, steps: np.ndarray, start: int) -> Times:
    """Flow times of some steps from that of the first."""
    if len(steps) < 2 or steps[0] != start or np.any(np.diff(steps) <= 0):
        raise InputError(
            "steps",
            np.asarray(steps)[:4].tolist(),
            f"must be two or more, increasing from {start}",
            "give start= too",
        )
    times: Times = np.asarray(clock.time(steps), dtype=np.float64)
    begun: Times = times - float(times[0])
    return begun
