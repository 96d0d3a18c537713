"""Gradient descent on the problem's loss: finite steps, momentum, minibatches, coupled decay."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from ntkflow import checks
from ntkflow._types import Floats, Integers, Times, Vector
from ntkflow.errors import LARGEST, LawWarning, SolveError
from ntkflow.integrate.descent.batches import batch_weights, check_batch
from ntkflow.integrate.descent.drift import Force, StepLaw, force
from ntkflow.integrate.descent.ends import Ends
from ntkflow.integrate.descent.momentum import Momentum
from ntkflow.integrate.descent.momentum_law import MomentumLaw
from ntkflow.integrate.law_check import LawCheck
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.metrics.quantities import conserved_by
from ntkflow.metrics.symmetries import Commutant
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State
from ntkflow.progress import Progress

Table = Float64[Floats, "T k"]


@dataclass(frozen=True, eq=False)
class Descent:
    """A trajectory of gradient descent, and what its law says about E.

    Attributes:
        problem: what was descended.
        momentum: step size and momentum.
        batch_per_class: samples per class and step; None for all.
        steps: saved step numbers, the first is 0, (T,).
        times: flow time at each, step * eta / (1 - momentum), (T,).
        states: full states.
        losses: the loss on all samples at each, (T,).
        values: what the flow would conserve, (T, k); see `ntkflow.metrics.quantities`.
        predicted: the same from the initial values and the exact law of each step, (T, k).
        leading: the same from the law of momentum to leading order in eta (theory 11.4), (T, k); `predicted` itself for
            plain steps.
        scale: size of E's terms at each, (T,).
        symmetries: what `values` are numbers of; its `norm` is the Frobenius norm of what they describe.
        reason: why it ended.
        seed: of the draws of minibatches.
    """

    problem: Problem
    momentum: Momentum
    batch_per_class: int | None
    steps: Int64[Integers, " T"]
    times: Times
    states: tuple[State, ...]
    losses: Times
    values: Table
    predicted: Table
    leading: Table
    scale: Times
    symmetries: Commutant
    reason: Reason = Reason.T_END
    seed: int = 0

    def __repr__(self) -> str:
        s, batch = self.problem.sizes, self.batch_per_class
        return (
            f"Descent(C={s.C}, m={s.m}, n={s.n}, kernel={self.problem.kernel.rung}, T={len(self)}, "
            f"steps={self.steps[-1]}, eta={self.momentum.eta:.4g}, "
            + (f"beta={self.momentum.beta:.4g}, " if self.momentum.beta else "")
            + (f"batch_per_class={batch}, " if batch else "")
            + f"loss {self.losses[0]:.3g} to {self.losses[-1]:.3g}, stopped: {self.reason.value})"
        )

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def final(self) -> State:
        """State after the last step."""
        return self.states[-1]

    @property
    def drift(self) -> float:
        """Largest |E(t) - E(0)|_F of E's conserved part over the size of its terms at t, as the series `E_drift`."""
        moved = self.symmetries.norm(self.values - self.values[0])
        return float(np.divide(moved, self.scale, out=np.zeros_like(moved), where=self.scale > 0).max())

    @property
    def error(self) -> float:
        """Largest Frobenius norm of that part's gap to the prediction over the largest size of E's terms."""
        return self._largest(self.values - self.predicted)

    @property
    def neglected(self) -> float | None:
        """Largest |values - leading| over the size of E's terms: what the leading order leaves out; None if nothing."""
        return self._largest(self.values - self.leading) if self.momentum.beta else None

    @property
    def rounding(self) -> float:
        """The `error` that rounding alone may leave: that of E's value, once for every step."""
        quantities = conserved_by(self.problem)
        ends = zip(self.states[:: max(1, len(self) - 1)], self.times[:: max(1, len(self) - 1)], strict=True)
        # Every step rounds E anew, and a velocity carries what it has rounded for 1/(1 - beta) steps.
        once = max(quantities.rounding(state, float(t)) for state, t in ends)
        return 1e-13 + (10 + int(self.steps[-1])) * once / (1 - self.momentum.beta)

    @property
    def law(self) -> LawCheck:
        """How E kept the exact law of the steps."""
        return LawCheck(self.error, self.drift, self.rounding, self.neglected)

    def _largest(self, gap: Table) -> float:
        scale = float(self.scale.max())
        return float(self.symmetries.norm(gap).max()) / scale if scale else 0.0


class _Now(NamedTuple):
    step: int
    state: State
    predicted: Vector
    leading: Vector


def descend(
    problem: Problem,
    steps: int,
    eta: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    batch_per_class: int | None = None,
    seed: int = 0,
    every: int = 1,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> Descent:
    """Descend with gradient steps of the sum loss, coupled decay, and the features' kernel as metric.

    One step is x <- x - eta v, v <- momentum v + g (or x <- x - eta (g + momentum v) after it, Nesterov), with
    g = (Op[W^T R] + lh H, R H^T + lw W, R 1 + lb b). Flow time advances by eta / (1 - momentum) per step.

    Args:
        problem: sizes, kernel, initial state, loss, decay. A moving kernel is taken at the start of each step: what
            it does between two starts no step sees.
        steps: number of steps.
        eta: step size of the sum loss (4).
        momentum: 0 for plain gradient descent.
        nesterov: Nesterov's momentum instead of the heavy ball.
        batch_per_class: samples drawn from each class, anew at each step; None for all.
        seed: of the draws.
        every: save every so many steps; the first and the last are always saved.
        stop: conditions that end the descent earlier, asked at the saved steps; None means none.
        progress: called with ("stepping", steps done, steps) at the saved steps, as `nf.Bar()` is.

    Returns:
        The saved trajectory with the predicted change of E.

    Raises:
        InputError: an argument is out of its range.
        SolveError: the iteration left the finite numbers, as for eta above 2 / (largest rate).

    Warns:
        LawWarning: E left the exact law of the steps.
    """
    for name, count in (("steps", steps), ("every", every)):
        checks.whole(name, count, 1)
    if batch_per_class is not None:
        check_batch(problem.sizes, batch_per_class)
    law = StepLaw(problem, conserved_by(problem), Momentum(eta, momentum, nesterov))
    rng = np.random.default_rng(seed)
    # Asked at saved steps only, so that the state that ends a descent is one that is returned.
    ends = Ends(problem, stop or Stop(None, None, None), law.momentum.time_step)
    saved: list[_Now] = []
    before, reason = problem.state, None
    for now in _march(law, steps, batch_per_class, rng):
        if now.step % every == 0 or now.step == steps:
            saved.append(now)
            if progress is not None:
                progress("stepping", now.step, steps)
            reason = ends.reason(before, now.state, now.step * law.momentum.time_step) if now.step else None
            if reason is not None:
                break
        before = now.state
    descent = _collect(law, batch_per_class, saved, reason or Reason.T_END, seed)
    if descent.law.failed:
        warnings.warn(descent.law.sentence, LawWarning, stacklevel=2)
    return descent


def _march(law: StepLaw, steps: int, batch: int | None, rng: np.random.Generator) -> Iterator[_Now]:
    problem, dt = law.problem, law.momentum.time_step
    state, exact = problem.state, MomentumLaw(law)
    predicted = leading = law.quantities.values(state)
    yield _Now(0, state, predicted, leading)
    for k in range(steps):
        t = k * dt
        # A diverging iteration overflows before its state does.
        with np.errstate(over="ignore", invalid="ignore"):
            # E's exact law needs the force that is followed, the leading order with momentum that of all samples too.
            step, full = _forces(law, state, t, batch, rng)
            displacement, change = exact.step(state, k, step)
            approximate = law.change(state, k, step, full) if law.momentum.beta else change
            moved = _moved(state, law.momentum.eta, displacement)
        if moved is None:
            raise SolveError(
                f"descent left the finite numbers at step {k + 1}: eta = {law.momentum.eta} is too large "
                f"for the rates at hand; largest weight before {np.abs(state.W).max():.3g}"
            )
        state, predicted, leading = moved, predicted + change, leading + approximate
        if problem.kernel.at(t) is not problem.kernel.at(t + dt):
            # The kernel's own motion between two steps changes E without any step.
            motion = law.quantities.values(state, t + dt) - law.quantities.values(state, t)
            predicted, leading = predicted + motion, leading + motion
        yield _Now(k + 1, state, predicted, leading)


def _forces(
    law: StepLaw, state: State, t: float, batch: int | None, rng: np.random.Generator
) -> tuple[Force, Force | None]:
    """The force of this step, and that of all samples where the law needs both."""
    problem = law.problem
    kernel = problem.kernel.at(t)
    R = problem.loss.residual(state.logits, problem.sizes.Y)
    if batch is None:
        return force(problem, kernel, state, R), None
    step = force(problem, kernel, state, R * batch_weights(problem.sizes, batch, rng))
    return step, force(problem, kernel, state, R) if law.momentum.beta else None


def _moved(state: State, eta: float, by: Force) -> State | None:
    """The next state; None when it is out of all bounds."""
    H, W, b = state.H + eta * by.H, state.W + eta * by.W, state.b + eta * by.b
    if not all(np.abs(x).max(initial=0.0) <= LARGEST for x in (H, W, b)):
        return None
    return State(H, W, b)


def _collect(law: StepLaw, batch: int | None, saved: list[_Now], reason: Reason, seed: int) -> Descent:
    problem, quantities = law.problem, law.quantities
    steps = np.array([now.step for now in saved], dtype=np.int64)
    times = steps * law.momentum.time_step
    Y = problem.sizes.Y
    states = tuple(now.state for now in saved)
    return Descent(
        problem=problem,
        momentum=law.momentum,
        batch_per_class=batch,
        steps=steps,
        times=times,
        states=states,
        losses=np.array([float(problem.loss.value(s.logits, Y)) for s in states]),
        values=np.array([quantities.values(s, float(t)) for s, t in zip(states, times, strict=True)]),
        predicted=np.array([now.predicted for now in saved]),
        leading=np.array([now.leading for now in saved]),
        scale=np.array([quantities.scale(s, float(t)) for s, t in zip(states, times, strict=True)]),
        symmetries=quantities.symmetries,
        reason=reason,
        seed=seed,
    )
