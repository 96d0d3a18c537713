"""How long a run is when nobody says, and where decay takes it."""

from functools import cached_property

import numpy as np

from ntkflow.dynamics.packed import collapse_rate
from ntkflow.problem.kernels import ThinCoefficients
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State, class_means
from ntkflow.theory.enforced import Enforced, enforced
from ntkflow.theory.initial_facts import reach

# Time constants of the slowest rate that decay brings: a start of size one ends below 1e-10 after 23 of them, and a
# class that begins at 1e-6 of its end needs 14 more to get away from zero.
LASTING = 40.0
# A slow rate lengthens a run to so many times what it would be without decay, and no further.
LONGEST = 1000.0
# So much longer a run lasts at most for the sum over outputs that held biases leave to W.
MOST_ALONG_ONES = 100.0
# Gram matrices of a generic run at its end differ less from those predicted, relative to their size.
ARRIVED = 1e-4


def default_horizon(problem: Problem) -> float:
    """End time when none is given: 200 within-class time constants 1/(mu_single x*), x* = sqrt(m/mu_class).

    Long enough for exponential collapse and to see an algebraic tail as one (theory 7.2, 7.3). Kernels without
    scalar blocks, and one sample per class, get 1000 units of tau = sqrt(m mu_class) t. With decay it lasts for at
    least 40 time constants of the slowest rate at which the start is forgotten and the end approached (theory 11.1),
    but no longer than 1000 times what it would be without. Biases that are held leave the sum over outputs to W, whose
    eigenvalue there is smaller than x*, so that NC1 falls more slowly (theory 11.8).
    """
    rate = collapse_rate(problem)
    coefficients = problem.thin
    if coefficients is None or problem.sizes.N == problem.sizes.C:
        plain = 1e3 / rate
    else:
        m = problem.sizes.N / problem.sizes.C
        plain = 200 * rate / (m * float(coefficients.within[problem.sizes.masses > 1].min()))
        plain *= _along_ones(problem, coefficients, rate)
    decay = problem.decay
    rates = [rate for rate in (decay.W, decay.H, decay.b) if rate > 0]
    if decay.W and decay.H and (end := enforced(problem, reach(problem))) is not None and end.slowest:
        rates.append(end.slowest)
    return min(max(plain, LASTING / min(rates)), LONGEST * plain) if rates else plain


def _along_ones(problem: Problem, coefficients: ThinCoefficients, rate: float) -> float:
    """x* over the eigenvalue of W W^T along 1, at least 1 and at most `MOST_ALONG_ONES`; 1 where biases are trained.

    The eigenvalue is |1 - 1^T b| sqrt(m/mu_global) for E = 0 and equal biases; nothing is left to W where it is zero.
    """
    sizes, left = problem.sizes, abs(1 - float(problem.state.b.sum()))
    if problem.train_bias or left == 0:
        return 1.0
    mu_global = float(sizes.masses @ coefficients.class_kernel.sum(axis=0)) / sizes.N
    contrast = rate / np.sqrt(sizes.N / sizes.C)
    return float(np.clip(np.sqrt(mu_global) / contrast / left, 1.0, MOST_ALONG_ONES))


class DecayedEnd:
    """Where decay takes a generic start, for a run to be told from one that is only slow.

    A class that began near zero, or one near its threshold, may move less than any target long before it has grown.

    Args:
        problem: what is solved.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    @cached_property
    def _end(self) -> Enforced | None:
        problem = self._problem
        # With the cross-entropy the end holds for large times only; without W and H decaying it is the start's.
        known = problem.squared_error and problem.decay.W > 0 and problem.decay.H > 0
        return enforced(problem, reach(problem)) if known else None

    def reached(self, state: State) -> bool:
        """Whether the Gram matrices are those of the end; true where it is not known."""
        if self._end is None or self._end.limit is None:
            return True
        limit, H1 = self._end.limit, class_means(state.H, self._problem.sizes)
        pairs = ((state.W @ state.W.T, limit.X), (H1.T @ H1, limit.G))
        return all(
            bool(np.linalg.norm(found - there) <= ARRIVED * np.linalg.norm(there)) for found, there in pairs
        )
