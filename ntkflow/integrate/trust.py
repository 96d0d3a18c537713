"""Whether a finished integration deserves belief: E must be conserved where it is, and what only falls must not rise."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ntkflow._types import Floats, Integers, Times
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.dynamics.packed import Flow, ThinFlow
from ntkflow.metrics import invariant
from ntkflow.metrics.quantities import conserved_by
from ntkflow.problem.losses import MSE, CrossEntropy, Smoothed
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State
from ntkflow.problem.thin import Frame

# Saved states looked at, and fewer where the inverse kernel is dear: an audit may not cost more than some steps.
LOOKS, DEAR_LOOKS = 16, 4
# Drift of this size is rounding.
ROUNDING = 1e-13
# Final states are good to so many rtol, hence outputs too.
ERROR_IN_RTOL = 30.0


def lost_accuracy(
    problem: Problem, flow: Flow, times: Times, packed: np.ndarray, rtol: float, law_tolerance: float = 0.0
) -> bool:
    """Whether E drifted by more than the tolerance, or what only falls rose by more than its error explains.

    Where E is conserved, without decay of W and H and on every stretch on which the kernel stands still, it may drift by
    rtol. Where it moves, `Motion` follows the law of its motion with the run, and a failure there is a warning. What only
    falls is the loss and, with decay, the loss and the penalty

        lw/2 |W|^2 + lh/2 <H, K^{-1} H> + lb/2 |b|^2,

    whose descent in the metric of K the flow is; where lh > 0 that holds while the kernel stands still.

    Args:
        problem: what was solved.
        flow: its packed system.
        times: saved times, (T,).
        packed: saved states, (T, unknowns).
        rtol: bound of the drift, relative to the norms of E's terms.
        law_tolerance: error of E's terms that integration may leave where E moves; zero where it is conserved.
    """
    # Of E's terms, as of outputs, so much is known.
    known = max(ERROR_IN_RTOL * rtol, law_tolerance)
    still = list(_at_rest(problem, flow, times, packed))
    bound = max(rtol, ROUNDING)
    if not problem.decay.moves_E and any(drift(here, flow, rows) > bound for here, rows in still):
        return True
    stretches = (
        still
        if problem.decay.H or not problem.kernel.moves
        else [(problem, np.vstack([flow.start(), _spread_out(packed, LOOKS)]))]
    )
    return any(_rose(here, flow, rows, rtol, known) for here, rows in stretches)


def _at_rest(
    problem: Problem, flow: Flow, times: Times, packed: np.ndarray
) -> Iterator[tuple[Problem, np.ndarray]]:
    """Some states, the initial one among them, of every stretch on which the kernel stands still, with that kernel."""
    if not problem.kernel.moves:
        yield problem, _with_start(flow, packed, _looks(len(packed) + 1))
        return
    times = np.append(0.0, times)
    for begin, end, kernel in problem.kernel.rests:
        inside = np.flatnonzero((times >= begin) & (times <= end))
        if len(inside) > 1:
            yield replace(problem, kernel=kernel), _with_start(flow, packed, inside[_looks(len(inside))])


@lru_cache(maxsize=256)
def _looks(count: int, most: int = LOOKS) -> Integers:
    """Which of so many states are looked at."""
    found: Integers = np.unique(np.linspace(0, count - 1, most).round().astype(int))
    found.flags.writeable = False
    return found


def _with_start(flow: Flow, packed: Floats, at: Integers) -> Floats:
    """Those of the initial state and the saved ones, which are not copied where they are not looked at."""
    return np.vstack([flow.start() if at[0] == 0 else packed[at[0] - 1], packed[at[1:] - 1]])


def drift(problem: Problem, flow: Flow, packed: np.ndarray) -> float:
    """Largest drift of E from the first state on, at a few of the others; defined as in `series`."""
    coefficients = problem.thin
    if coefficients is None:
        quantity = conserved_by(problem)
        first = flow.state(packed[0])
        return max(quantity.drift(first, flow.state(y)) for y in _spread_out(packed[1:], DEAR_LOOKS))
    sizes = problem.sizes
    if isinstance(flow, ThinFlow) and isinstance(flow.frame, Frame):
        # In the coordinates of the subspace that the flow lives in: norms don't see which.
        H1, L, W, _ = flow.unpack_many(packed)
        # The flow's own system, whose inverse kernel is known already, unless this is a stretch of a kernel that moves.
        system = flow.system
        if system.schedule:
            system = ThinSystem.build(coefficients, sizes, flow.frame.column_class, flow.frame.n_eff)
        found = invariant.main_terms_of(np, H1, L, W, system.inverse, system.rates, system.masses.mean())
        return float(invariant.drifts(found)[1:].max())
    terms = []
    for y in packed:
        thin, frame = flow.thin(y)
        system = ThinSystem.build(coefficients, sizes, frame.column_class, sizes.n)
        terms.append(invariant.thin_terms(thin, system))
    return max(invariant.drift(terms[0], now) for now in terms[1:])


def _spread_out(rows: np.ndarray, most: int) -> np.ndarray:
    result: Floats = rows[_looks(len(rows), most)]
    return result


def _rose(problem: Problem, flow: Flow, packed: np.ndarray, rtol: float, known: float) -> bool:
    """Whether the loss and the penalty of decay rose; `known` is the relative error of the penalty."""
    # Of a loss given by the user nobody knows whether its residual is its derivative.
    loss = problem.loss.loss if isinstance(problem.loss, Smoothed) else problem.loss
    if not isinstance(loss, MSE | CrossEntropy):
        return False
    # From each look to the next, not from the start: an error that adds up slowly is no rise.
    losses = flow.losses(packed) if isinstance(flow, ThinFlow) else np.array([flow.loss(y) for y in packed])
    penalties = (
        np.array([penalty(problem, flow.state(y)) for y in packed]) if problem.decay.any else 0 * losses
    )
    # |R|_F^2 <= 2 L for both losses, smoothed or not (Pinsker); outputs are off by a share of targets and residual together.
    residual = np.sqrt(2 * losses[:-1])
    off = ERROR_IN_RTOL * rtol * (math.sqrt(problem.sizes.N) + residual)
    allowed = off * (residual + off) + 2 * known * penalties[:-1]
    return bool(np.any(np.diff(losses + penalties) > allowed))


def penalty(problem: Problem, state: State) -> float:
    """What decay adds to the loss: the flow descends their sum in the metric of a kernel that stands still."""
    lw, lh, lb = problem.decay.rates
    total = lw * np.vdot(state.W, state.W) + lb * np.vdot(state.b, state.b)
    if lh:
        total += lh * np.vdot(state.H, problem.kernel.solve(state.H, problem.sizes))
    return float(total) / 2
