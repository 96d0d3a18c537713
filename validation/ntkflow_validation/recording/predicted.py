"""`predict`: from a measured kernel and a state to the trajectory that the theory foretells, in steps and in flow time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkflow import checks
from ntkflow._types import Times
from ntkflow.errors import InputError, SolveError
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import solve
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import BlockKernel, SampleKernel
from ntkflow.problem.losses import loss_named
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.problem.training_clock import Clock
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.metrics.compare import Comparison
from ntkflow_validation.metrics.compare import compare as scored
from ntkflow_validation.metrics.probe import probe_kernel
from ntkflow_validation.recording.unseen import logits
from ntkflow_validation.runs.rundir import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Constants whose errors are drawn, mu_single itself and not kappa_c, from which it would come by a difference.
DRAWN = ("d", "mu_single", "n")


@dataclass(frozen=True, eq=False)
class Predicted:
    """A predicted trajectory on the clock of a training.

    Attributes:
        solution: of the measured problem; its times start at 0.
        clock: steps to flow time.
        start: the step at which the state was observed.
        share: N of the measurement over N of the training: the solution's time runs that much slower.
        order: samples of the solution in the order of the measurement: sorted = given[order].
        members: the same under constants drawn within their standard errors.
        without_band: why there are no such members.
        rtol: tolerance of the integration.
    """

    solution: Solution
    clock: Clock
    start: int
    share: float
    order: np.ndarray
    members: tuple[Problem, ...] = field(repr=False, default=())
    without_band: str = ""
    rtol: float = 1e-8

    @property
    def problem(self) -> Problem:
        """What was solved: state, kernel, decay."""
        return self.solution.problem

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
        return replace(self, solution=solve(self.problem, save_at=times, rtol=self.rtol))

    def against(self, training: Any) -> "Against":
        """Observed snapshots laid beside the prediction, and its skill on them.

        Args:
            training: a run directory or its path, recorded or trained here; a recorder; or pairs (step, state), states as
                they were observed on the measured samples, sorted by class. What was observed before `start` is left out;
                what was observed there is where the prediction begins.

        Raises:
            InputError: fewer than two of these are at `start` or later, none is at `start`, or they do not fit.
        """
        pairs = [(int(step), state) for step, state in _observed(training) if step >= self.start]
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
            found, [step for step, _ in pairs], scored(found.times, states, predicted, self.problem.sizes)
        )

    def unseen(self, cross: Any, H: Any) -> np.ndarray:
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

    def figure(self) -> "Figure":
        """The panes of the solution; `against(training).figure()` lays observed snapshots beside it."""
        return self.solution.figure()

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
    """

    predicted: Predicted
    steps: list[int]
    comparison: Comparison

    @property
    def skill(self) -> dict[str, float]:
        """For each quantity the skill pooled over all later snapshots, see `nf.skill`."""
        return self.comparison.pooled

    def figure(self) -> "Figure":
        """Observed as points, predicted as lines."""
        from ntkflow_validation.figures.figures import comparison_figure

        kernel = self.predicted.problem.kernel.rung
        title = f"predicted from step {self.steps[0]} with the measured {kernel} kernel"
        return comparison_figure(self.comparison, {self.steps[0]: self.comparison}, title)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in self.skill.items())
        return f"Against(steps {self.steps[0]} to {self.steps[-1]}; skill {scores})"


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
        state: H (n, N) with its samples in the order that was measured, W, b; None for those that were measured.
        clock: of the training: time, weight decay and loss.
        steps: the last step, or all steps to predict; None ends where the solution does not move any more.
        start: the step at which the state was observed.
        rung: block, class-block, sample (of which what single precision leaves below zero is cut off), kronecker,
            matrix-block or tensor.
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
    parts = _given(measurement, state)
    order = np.argsort(measurement.labels, kind="stable")
    problem = _problem(measurement, parts, rung, of, order)
    share = problem.sizes.N / clock.samples
    # A head that was measured without a bias has none to train.
    biased = measurement.head is None or measurement.head.b is not None
    problem = _of_clock(problem, clock, share, biased)
    times = None if steps is None else _times(clock, _steps(steps, start), start) / share
    solution = solve(problem, save_at=times, rtol=rtol)
    drawn, without = _members(measurement, problem, of, members, seed, share)
    return Predicted(solution, clock, start, share, order, drawn, without, rtol)


def _given(measurement: Measurement, state: State | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if state is not None:
        return state.H, state.W, state.b
    head = measurement.head
    if head is None:
        raise InputError(
            "state", None, "is needed, no head was measured", "give it, or measure with head=(W, b)"
        )
    return measurement.H, head.W, np.zeros(len(head.W)) if head.b is None else head.b


def _problem(
    measurement: Measurement,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    rung: str,
    of: str,
    order: np.ndarray,
) -> Problem:
    family = measurement.features if of == "features" else measurement.row_space
    if rung != "sample" or family is None or family.mean is None:
        return measurement.problem(*parts, rung=rung, of=of)
    # Measured in single precision, it has eigenvalues of rounding where it has none.
    kernel = SampleKernel.regularised(family.mean[np.ix_(order, order)])
    state, sizes, _ = State.from_samples(parts[0], parts[1], parts[2], measurement.labels)
    return Problem(sizes, kernel, state)


def _of_clock(problem: Problem, clock: Clock, share: float, biased: bool) -> Problem:
    """With the loss and decay of the training; of s of m samples a class in their own time, (m/s) t."""
    loss = loss_named("mse" if clock.loss in ("half-squared", "squared") else clock.loss)
    d = clock.decay
    kernel = problem.kernel
    if share > 1:
        raise InputError(
            "clock", clock.samples, f"has fewer samples than were measured, {problem.sizes.N}", "correct it"
        )
    if share < 1:
        if not isinstance(kernel, BlockKernel) or not problem.sizes.balanced:
            raise InputError(
                "measurement",
                f"{problem.sizes.N} of {clock.samples} samples",
                "are a part of the training's, which only three constants of balanced classes can stand for",
                "take rung='block', or measure all",
            )
        kernel = _probe(kernel, problem.sizes, share)
    decay = Decay(d.W * share, d.H * share, d.b * share if biased else 0.0)
    return replace(problem, kernel=kernel, loss=loss, decay=decay, train_bias=biased)


def _probe(kernel: BlockKernel, sizes: Sizes, share: float) -> BlockKernel:
    s = sizes.per_class
    return probe_kernel(kernel, s, round(s / share))


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


def _members(
    measurement: Measurement, problem: Problem, of: str, members: int, seed: int, share: float
) -> tuple[tuple[Problem, ...], str]:
    """The problem under drawn constants; or why there are none."""
    if not isinstance(problem.kernel, BlockKernel):
        return (), f"none, a {problem.kernel.rung} kernel has no standard errors"
    family = measurement.features if of == "features" else measurement.row_space
    assert family is not None
    constants = [family.constants[name] for name in DRAWN]
    errors = [c.standard_error for c in constants]
    known = [e for e in errors if e is not None and np.isfinite(e)]
    if len(known) < len(errors):
        return (), "none, a standard error of the constants is not known"
    if not any(known):
        return (), "none, all samples and neurons were measured exactly"
    rng = np.random.default_rng(seed)
    found: list[Problem] = []
    for _ in range(50 * members):
        d, mu, n = rng.normal([c.value for c in constants], known)
        if mu > 0:
            drawn = BlockKernel(d, d - mu, n)
            kernel = drawn if share == 1 else _probe(drawn, problem.sizes, share)
            if kernel.kappa_d > 0 and kernel.broken(problem.sizes) is None:
                found.append(replace(problem, kernel=kernel))
        if len(found) == members:
            return tuple(found), ""
    raise SolveError(
        "constants within their standard errors are those of no positive block kernel: measure more"
    )


def _observed(training: Any) -> list[tuple[int, State]]:
    if isinstance(training, str) or hasattr(training, "__fspath__"):
        training = RunDirectory.open(training)
    training = getattr(training, "run", training)
    if isinstance(training, RunDirectory):
        return [(step, training.read_snapshot(step).state) for step in training.steps()]
    return [(step, state) for step, state in training]
