"""Whether a finished integration deserves belief: E must stay put and the loss must not rise."""

import math
from dataclasses import replace

import numpy as np

from ntkflow._types import Floats, Times
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.dynamics.packed import Flow
from ntkflow.metrics import invariant
from ntkflow.metrics.quantities import conserved
from ntkflow.problem.problem import Problem

# Saved states looked at, and fewer where the inverse kernel is dear: an audit may not cost more than some steps.
LOOKS, DEAR_LOOKS = 16, 4
# Drift of this size is rounding.
ROUNDING = 1e-13
# Final states are good to so many rtol, hence outputs too.
ERROR_IN_RTOL = 30.0


def lost_accuracy(problem: Problem, flow: Flow, times: Times, packed: np.ndarray, rtol: float) -> bool:
    """Whether E drifted by more than rtol, or the loss rose by more than the error of the outputs explains.

    With decay E moves in truth and nothing is looked at; `balance` compares it with its law. While a kernel moves E
    moves too, but the loss still never rises, and between knots with one and the same kernel, before the first and
    after the last, E stays put.

    Args:
        problem: what was solved.
        flow: its packed system.
        times: saved times, (T,).
        packed: saved states, (T, unknowns).
        rtol: bound of the drift, relative to the norms of E's terms.
    """
    if problem.decay.any:
        return False
    if problem.kernel.moves:
        drifted = _drifted_at_rest(problem, flow, times, packed, rtol)
    else:
        drifted = drift(problem, flow, _some(flow, packed)) > max(rtol, ROUNDING)
    return drifted or _loss_rose(problem, flow, _some(flow, packed), rtol)


def _some(flow: Flow, packed: np.ndarray) -> np.ndarray:
    return np.vstack([flow.start(), _spread_out(packed, LOOKS)])


def _drifted_at_rest(problem: Problem, flow: Flow, times: Times, packed: np.ndarray, rtol: float) -> bool:
    """Whether E drifted in a stretch of a schedule on which the kernel does not move."""
    if times[0] > 0:
        times, packed = np.append(0.0, times), np.vstack([flow.start(), packed])
    for begin, end, kernel in problem.kernel.rests:
        inside = packed[(times >= begin) & (times <= end)]
        still = replace(problem, kernel=kernel) if len(inside) > 1 else problem
        if len(inside) > 1 and drift(still, flow, _spread_out(inside, LOOKS)) > max(rtol, ROUNDING):
            return True
    return False


def drift(problem: Problem, flow: Flow, packed: np.ndarray) -> float:
    """Largest drift of E from the first state on, at a few of the others; defined as in `series`."""
    coefficients = problem.kernel.thin(problem.sizes)
    if coefficients is None:
        quantity = conserved(problem.kernel, problem.sizes)
        first = flow.state(packed[0])
        return max(quantity.drift(first, flow.state(y)) for y in _spread_out(packed[1:], DEAR_LOOKS))
    terms = []
    for y in packed:
        thin, frame = flow.thin(y)
        system = ThinSystem.build(coefficients, problem.sizes, frame.column_class, problem.sizes.n)
        terms.append(invariant.thin_terms(thin, system))
    return max(invariant.drift(terms[0], now) for now in terms[1:])


def _spread_out(rows: np.ndarray, most: int) -> np.ndarray:
    result: Floats = rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]
    return result


def _loss_rose(problem: Problem, flow: Flow, packed: np.ndarray, rtol: float) -> bool:
    # Of a loss given by the user nobody knows whether its residual is its derivative.
    if not (problem.squared_error or problem.cross_entropy):
        return False
    losses = np.array([flow.loss(y) for y in packed])
    # |R|_F^2 <= 2 L for both losses; outputs are off by a share of targets and residual together.
    residual = np.sqrt(2 * losses[:-1])
    off = ERROR_IN_RTOL * rtol * (math.sqrt(problem.sizes.N) + residual)
    return bool(np.any(np.diff(losses) > off * (residual + off)))
