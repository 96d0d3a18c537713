"""The exact balance of E where it is not conserved: decay and kernels that move, checked along a run.

With the operator Op(t) and F = [W^T W - sym(Op^{-1}[H] H^T)] / m of `ntkflow.metrics.quantities`,
    dF/dt = -2 lw W^T W / m + 2 lh sym(Op^{-1}[H] H^T) / m + sym(Op^{-1} Op' Op^{-1}[H] H^T) / m
in every direction x that commutes with Op at all times. For a sample kernel this is
    dE/dt = -2 lw E + (2/m)(lh - lw) H K^{-1} H^T + (1/m) H K^{-1} K' K^{-1} H^T,
by differentiating H K^{-1} H^T; the residual drops out as it does without modifications. Not in the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from ntkflow import checks, views
from ntkflow._types import Floats, Times, Vector
from ntkflow.errors import InputError
from ntkflow.metrics.quantities import Conserved, conserved_by
from ntkflow.metrics.symmetries import Commutant
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State

Table = Float64[Floats, "T k"]
# Degree of the interpolating splines, fewer saved times allowing.
DEGREE = 5


@dataclass(frozen=True, eq=False)
class Balance:
    """Both sides of the balance at the saved times.

    Attributes:
        names: names of the k numbers, see `Conserved.names`.
        times: saved times, (T,).
        values: the numbers along the run, (T, k).
        integral: integral of the stated right-hand side from the first saved time, (T, k).
        scale: size of E's terms at each time, (T,).
        symmetries: what the numbers are numbers of; its `norm` is the Frobenius norm of what they describe.
    """

    names: tuple[str, ...]
    times: Times
    values: Table
    integral: Table
    scale: Times
    symmetries: Commutant

    __repr__ = views.short

    @property
    def gap(self) -> Table:
        """values(t) - values(0) - integral(t); zero up to integration and quadrature errors."""
        result: Floats = self.values - self.values[0] - self.integral
        return result

    @property
    def error(self) -> float:
        """Largest Frobenius norm of the gap over the largest size of E's terms."""
        scale = float(self.scale.max())
        return float(self.symmetries.norm(self.gap).max()) / scale if scale else 0.0


def rate(problem: Problem, state: State, t: float = 0.0, before: bool = False) -> Vector:
    """The right-hand side of the balance for each number of `conserved(problem.kernel, ...)`.

    Args:
        problem: gives kernel and decay; loss and initial state do not matter.
        state: the state at time t.
        t: flow time.
        before: at a knot of the schedule, take the kernel's slope from the left.
    """
    return _rate(problem, conserved_by(problem), state, t, before)


def _rate(problem: Problem, quantities: Conserved, state: State, t: float, before: bool) -> Vector:
    lw, lh, _ = problem.decay.rates
    weights, features = quantities.terms(state, t)
    total = -2 * lw * weights + 2 * lh * features
    if problem.kernel.moves:
        sizes, now = problem.sizes, problem.kernel.at(t)
        moved = problem.kernel.slope(t, now.solve(state.H, sizes), sizes, before)
        motion = now.solve(moved, sizes) @ state.H.T
        total = total + (motion + motion.T) / (2 * sizes.N / sizes.C)
    return quantities.symmetries.project(total)


def balance(problem: Problem, times: Sequence[float] | Times, states: Sequence[State]) -> Balance:
    """Compare the change of E along a run with the integral of its stated rate of change.

    Args:
        problem: what was solved.
        times: saved times, increasing, (T,). Put the knots of a schedule among them: the rate jumps
            there, and an interval with a knot inside is integrated by the trapezoidal rule only.
        states: full states at these times.

    Returns:
        Both sides; `error` is small when the trajectory, the formula and the quadrature are right.

    Raises:
        InputError: there are fewer than two times, or not one state per time.
    """
    t = checks.numbers("times", times, remedy="give finite times")
    if t.ndim != 1 or len(t) < 2 or len(t) != len(states):
        raise InputError(
            "times",
            f"{t.size} times for {len(states)} states",
            "must be two or more, one per state",
            "save more",
        )
    quantities = conserved_by(problem)
    values = np.array([quantities.values(s, time) for time, s in zip(t, states, strict=True)])
    scale = np.array([quantities.scale(s, time) for time, s in zip(t, states, strict=True)])
    rates = np.array([_rate(problem, quantities, s, time, False) for time, s in zip(t, states, strict=True)])
    integral = np.zeros_like(rates)
    for first, last in _runs(t, problem.kernel.knots):
        # The rate jumps at a knot: at the end of a stretch it is the one from the left.
        smooth = rates[first : last + 1].copy()
        smooth[-1] = _rate(problem, quantities, states[last], t[last], True)
        integral[first : last + 1] = integral[first] + _antiderivative(t[first : last + 1], smooth)
    return Balance(quantities.names, t, values, integral, scale, quantities.symmetries)


def _runs(t: Times, knots: Sequence[float]) -> list[tuple[int, int]]:
    """Index pairs of the stretches of saved times on which the rate is smooth, in order."""
    # A knot that is no saved time lies in an interval of its own, cut off on both sides: no spline runs across the kink.
    cuts = {0, len(t) - 1}
    for knot in knots:
        if t[0] < knot < t[-1]:
            cuts |= {int(np.searchsorted(t, knot, "right")) - 1, int(np.searchsorted(t, knot, "left"))}
    ordered = sorted(cuts)
    return list(pairwise(ordered))


def _antiderivative(t: Times, rates: Table) -> Table:
    """Integral from t[0] to each t of the interpolating spline."""
    # Importing scipy.interpolate takes longer than most runs.
    from scipy.interpolate import make_interp_spline

    # Odd, so that the spline's own knots are the saved times.
    degree = min(DEGREE, len(t) - 1)
    degree -= 1 - degree % 2
    primitive = make_interp_spline(t, rates, k=degree).antiderivative()
    result: Floats = primitive(t) - primitive(t[0])
    return result
