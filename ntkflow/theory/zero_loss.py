"""Equations that every point of zero loss obeys, collapsed or not and whatever E is.

At zero loss W H = A Y with A = I - b 1^T. For a kernel K that acts on samples, m E = W^T W - H K^{-1} H^T and
Mc = Y K^{-1} Y^T (m Kc^{-1} for scalar blocks), so
    X^2 = A Mc A^T + m W E W^T,                        X = W W^T,
    H1^T (H K^{-1} H^T) H1 = A^T A - m H1^T E H1       (= G Mc G + (m/mu_single) H1^T S H1 for scalar blocks),
    b = 1/C - W g,      <M, W^T> = C - 1,      NC3^2 = 2 - 2 (C - 1)/(|M| |W|).
With E from the initial state they say how much of a limit the invariant fixes when the limit itself has no closed
form. Only their E = 0 case is in the paper, eqs. (60) and (63) (theory 5.1, 5.6).
"""

from dataclasses import asdict, dataclass

import numpy as np

from ntkflow._lazy import lister
from ntkflow._types import FeatureMatrix, Floats, Json
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels import Kernel
from ntkflow.problem.sizes import Sizes, one_hot
from ntkflow.problem.state import State, class_means
from ntkflow.theory.limits import class_gram

__all__ = ["Gaps", "excess", "gaps"]
__dir__ = lister(__all__)


@dataclass(frozen=True)
class Gaps:
    """Relative errors of the equations at one state; all zero at a zero of the loss with that E.

    Attributes:
        weights: of X^2.
        means: of H1^T H K^{-1} H^T H1.
        biases: of b = 1/C - W g, over the norms of the three.
        duality: of <M, W^T> = C - 1.
    """

    weights: float
    means: float
    biases: float
    duality: float

    def as_dict(self) -> Json:
        """Plain values for files."""
        return asdict(self)


def excess(state: State, sizes: Sizes, kernel: Kernel) -> float:
    """tr R K^{-1} R^T over tr A Mc A^T: what is left of the loss where the kernel is slow, which `gaps` sees.

    Args:
        state: the state.
        sizes: its sizes.
        kernel: a constant kernel that acts on samples.
    """
    # Relative to the same terms of the targets, so that it is a number without unit.
    Y = one_hot(sizes.labels, sizes.C)
    R = state.logits - Y
    A = np.eye(sizes.C) - state.b[:, None]
    left = float(np.vdot(kernel.solve(R, sizes), R))
    return left / max(float(np.trace(A @ class_gram(sizes, kernel) @ A.T)), np.finfo(float).tiny)


def gaps(state: State, E: FeatureMatrix, sizes: Sizes, kernel: Kernel) -> Gaps:
    """How far a state is from the equations of zero loss.

    Args:
        state: the state, for example at the end of a run.
        E: the invariant, n x n, for example of the run's initial state: `invariant.terms(...).E`.
        sizes: sizes of the state.
        kernel: a constant kernel that acts on samples.

    Source: not in the paper for E != 0 (theory 5.1).
    """
    state.check(sizes)
    Mc, C, m = class_gram(sizes, kernel), sizes.C, sizes.N / sizes.C
    W, b, H1 = state.W, state.b, class_means(state.H, sizes)
    A, X, g = np.eye(C) - b[:, None], W @ W.T, H1.mean(axis=1)
    # H1^T H first: C x N, and the kernel is solved for C rows instead of n.
    half = H1.T @ state.H
    return Gaps(
        weights=_relative(X @ X, A @ Mc @ A.T, m * W @ E @ W.T),
        means=_relative(half @ kernel.solve(half, sizes).T, A.T @ A, -m * H1.T @ E @ H1),
        biases=_relative(b, np.full(C, 1 / C), -(W @ g)),
        duality=abs(float(np.trace(W @ H1 @ centring(C))) / (C - 1) - 1),
    )


def _relative(left: Floats, *right: Floats) -> float:
    """|left - sum of the right| over the largest of the norms."""
    size = max(float(np.linalg.norm(part)) for part in (left, *right))
    return float(np.linalg.norm(left - sum(right))) / size if size else 0.0
