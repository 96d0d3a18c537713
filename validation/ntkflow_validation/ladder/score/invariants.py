"""What a rung conserves, for every rung whose operator has an inverse; and how far a trajectory keeps it.

F = [W^T W - sym(Op^{-1}[H] H^T)]/m is conserved as a whole where Op is the same for all neurons, its diagonal where
neurons do not see each other, its trace under every other operator (`ntkflow.metrics.quantities`). Not in the paper but for
the first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow._types import FeatureMatrix, Features
from ntkflow.errors import InputError
from ntkflow.metrics.quantities import conserved
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means, spread
from ntkflow_validation.ladder.operators.base import ClassOperator, KernelOperator, Operator
from ntkflow_validation.ladder.operators.linearised import FrozenOperator
from ntkflow_validation.ladder.operators.subspace import CorrectedOperator
from ntkflow_validation.runs.compared import Ratios

# Smallest eigenvalue over the largest below which an operator measured in float32 has no inverse.
SINGULAR = 1e-7
# |Op[Op^{-1}[H]] - H| over |H| that an inverse may leave.
ACCURACY = 1e-6
WHOLE, EIGENBLOCKS, DIAGONAL, TRACE = "E", "eigenblocks of E", "diagonal of E", "tr E"
STILL = "has none: its operator holds some directions still and has no inverse"

Inverse = Callable[[Features], Features]
Projection = Callable[[FeatureMatrix], np.ndarray]


@dataclass(frozen=True, eq=False)
class Invariant:
    """What one rung conserves, or why nothing can be said.

    Attributes:
        of: which part of E is conserved; None if there is none.
        inverse: Op^{-1}.
        project: the conserved numbers of a symmetric n x n matrix, whose root of the sum of squares is the Frobenius norm
            of its conserved part up to one factor.
        sizes: of the samples.
        reason: why there is none.
    """

    of: str | None
    inverse: Inverse | None
    project: Projection
    sizes: Sizes
    reason: str | None = None

    def terms(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """The conserved numbers of W^T W / m and of sym(Op^{-1}[H] H^T) / m."""
        assert self.inverse is not None
        m = self.sizes.N / self.sizes.C
        features = self.inverse(state.H) @ state.H.T
        return self.project(state.W.T @ state.W / m), self.project((features + features.T) / (2 * m))

    def ratios(self, first: State, last: State) -> Ratios:
        """|E(t) - E(0)| over |E(0)|, which flatters, and over the sum of the norms of its two terms' changes."""
        if self.inverse is None:
            return Ratios()
        (W0, H0), (W1, H1) = self.terms(first), self.terms(last)
        change = float(np.linalg.norm((W1 - H1) - (W0 - H0)))
        size, parts = float(np.linalg.norm(W0 - H0)), float(np.linalg.norm(W1 - W0) + np.linalg.norm(H1 - H0))
        return Ratios(_over(change, size), _over(change, parts))


def _over(a: float, b: float) -> float | None:
    return a / b if b and np.isfinite(a) and np.isfinite(b) else None


def invariant_of(operator: Operator, state: State, sizes: Sizes) -> Invariant:
    """The invariant of an operator.

    Args:
        operator: on the samples.
        state: where its inverse is tried.
        sizes: of the samples.
    """
    try:
        of, inverse, project = _found(operator, sizes)
    except InputError as error:
        return Invariant(None, None, _trace, sizes, f"has none: {error.argument} {error.rule}")
    except _NoInverseError as error:
        return Invariant(None, None, _trace, sizes, str(error))
    left = operator.act(inverse(state.H)) - state.H
    if not np.linalg.norm(left) <= ACCURACY * np.linalg.norm(state.H):
        return Invariant(
            None, None, _trace, sizes, "not evaluated: its operator is too ill conditioned to invert"
        )
    return Invariant(of, inverse, project, sizes)


class _NoInverseError(Exception):
    pass


def _found(operator: Operator, sizes: Sizes) -> tuple[str, Inverse, Projection]:
    if isinstance(operator, KernelOperator):
        return _of_kernel(operator, sizes)
    if isinstance(operator, ClassOperator):
        of, project = _symmetry(operator)
        return of, class_inverse(operator), project
    if isinstance(operator, CorrectedOperator):
        return TRACE, corrected_inverse(operator), _trace
    if isinstance(operator, FrozenOperator):
        raise _NoInverseError(
            "not evaluated: its operator is applied by passes through the network, never inverted"
        )
    raise _NoInverseError(STILL)


def _of_kernel(operator: KernelOperator, sizes: Sizes) -> tuple[str, Inverse, Projection]:
    kernel = operator.kernel
    if kernel.moves:
        raise _NoInverseError("has none: its kernel moves in time")
    kernel.check(sizes)

    def inverse(H: Features) -> Features:
        return kernel.solve(H, sizes)

    if kernel.on_samples:
        return WHOLE, inverse, np.ravel
    if len(kernel.feature_matrices(sizes)) == 1:
        return EIGENBLOCKS, inverse, conserved(kernel, sizes).symmetries.coordinates
    # Several measured matrices have no symmetry in common but the identity.
    return TRACE, inverse, _trace


def _trace(F: FeatureMatrix) -> np.ndarray:
    return np.array([np.trace(F)])


def _symmetry(operator: ClassOperator) -> tuple[str, Projection]:
    """Which symmetric matrices commute with all of T and D, by their structure."""
    T, D = operator.T, operator.D
    eye = np.eye(len(T))
    size = float(np.abs(T).max(initial=0.0))
    if np.abs(T * (1 - eye)[:, None, :, None]).max() > 1e-12 * size:
        return TRACE, _trace
    if D.ndim == 3 and np.abs(D * (1 - eye)).max() > 1e-12 * np.abs(D).max():
        return TRACE, _trace
    alike = np.abs(np.einsum("pcpd->pcd", T) - T[0, :, 0][None]).max() <= 1e-12 * size
    if alike and (D.ndim == 1 or np.abs(D - D[:, :1, :1] * eye).max() <= 1e-12 * np.abs(D).max()):
        return WHOLE, np.ravel
    return DIAGONAL, np.diag


def class_inverse(operator: ClassOperator) -> Inverse:
    """The inverse of class sums and of deviations from class means, apart."""
    n, C, sizes = operator.sizes.n, operator.sizes.C, operator.sizes
    between = _inverted(operator.T.reshape(n * C, n * C))
    # One number for a class is a 1 x 1 matrix, which scales all features.
    D = operator.D[:, None, None] if operator.D.ndim == 1 else operator.D
    within = [_inverted(d) for d in D]

    def apply(H: Features) -> Features:
        means = class_means(H, sizes)
        deviations = H - spread(means, sizes)
        shared = (between @ means.reshape(-1)).reshape(n, C) / sizes.masses
        moved = np.empty_like(H)
        for c, (start, count) in enumerate(zip(sizes.starts, sizes.counts, strict=True)):
            columns = slice(start, start + count)
            own = within[c]
            moved[:, columns] = (
                own @ deviations[:, columns] if len(own) > 1 else own[0, 0] * deviations[:, columns]
            )
        found: np.ndarray = spread(shared, sizes) + moved
        return found

    return apply


def _inverted(A: Float64[np.ndarray, "k k"]) -> Float64[np.ndarray, "k k"]:
    values, vectors = np.linalg.eigh((A + A.T) / 2)
    if values[0] <= SINGULAR * abs(values[-1]):
        raise _NoInverseError(STILL)
    found: np.ndarray = (vectors / values) @ vectors.T
    return found


def corrected_inverse(operator: CorrectedOperator) -> Inverse:
    """By the matrix inversion lemma from the inverse of the operator that holds elsewhere.

    Op = Op0 + V S V^T with V = [Z, Op0 Z, Y] and S = [[Z^T Op0 Z, -1, 0], [-1, 0, 0], [0, 0, (Z^T Y)^{-1}]], so
    Op^{-1} = Op0^{-1} - Op0^{-1} V (1 + S V^T Op0^{-1} V)^{-1} S V^T Op0^{-1}.
    """
    rest = operator.rest
    if not isinstance(rest, ClassOperator):
        raise _NoInverseError(STILL)
    base, shape = class_inverse(rest), (operator.sizes.n, operator.sizes.N)
    Z, k = operator.Z, len(operator.Z)
    A = np.stack([rest.act(z.reshape(shape)).reshape(-1) for z in Z])
    V = np.vstack([Z, A, operator.Y])
    S = np.zeros((3 * k, 3 * k))
    S[:k, :k], S[:k, k : 2 * k], S[k : 2 * k, :k] = Z @ A.T, -np.eye(k), -np.eye(k)
    S[2 * k :, 2 * k :] = operator.inverse
    solved = np.stack([base(v.reshape(shape)).reshape(-1) for v in V])
    try:
        middle = np.linalg.solve(np.eye(3 * k) + S @ (V @ solved.T), S)
    except np.linalg.LinAlgError:
        raise _NoInverseError(STILL) from None

    def apply(H: Features) -> Features:
        start = base(H).reshape(-1)
        found: np.ndarray = (start - solved.T @ (middle @ (V @ start))).reshape(shape)
        return found

    return apply
