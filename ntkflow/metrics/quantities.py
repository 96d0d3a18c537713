"""What every rung of the kernel ladder conserves, from the matrix E down to one number.

For any kernel operator Op (dH/dt = -Op[W^T R]) and any loss put
    F(state) = [W^T W - sym(Op^{-1}[H] H^T)] / m,   m = N/C.
Then d tr(x F)/dt = 0 for every symmetric n x n matrix x that commutes with the operator's action on features:
both terms give -2 tr(x W^T R H^T) / m. So
    block, class-block, sample: every x qualifies, F = E itself is conserved (eq. 26; E_K in general),
    K (x) A: Pi_i F Pi_i for each eigenspace Pi_i of A,
    matrix blocks: tr(x F) for every x that commutes with A_d, A_c and A_n,
    full tensor: tr F, and whatever symmetry the tensor has beyond that.
Only eq. (26) is in the paper.
"""

from dataclasses import dataclass

import numpy as np

from ntkflow import views
from ntkflow._types import FeatureMatrix, Vector
from ntkflow.metrics.symmetries import Commutant, commutant
from ntkflow.problem.kernels.base import Kernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State


@dataclass(frozen=True, eq=False)
class Conserved:
    """The conserved numbers of a kernel on given sizes.

    Attributes:
        kernel: the rung; a scheduled one conserves nothing, its numbers move as `ntkflow.metrics.balance` says.
        sizes: C, m, n.
        symmetries: the matrices x, in blocks.
    """

    kernel: Kernel
    sizes: Sizes
    symmetries: Commutant

    __repr__ = views.short

    @property
    def names(self) -> tuple[str, ...]:
        """One name per number, such as E[0,1], E_2[0,0] (second eigenspace) or tr E."""
        return self.symmetries.names

    def terms(self, state: State, t: float = 0.0) -> tuple[FeatureMatrix, FeatureMatrix]:
        """W^T W / m and sym(Op^{-1}[H] H^T) / m, each n x n; their difference is F."""
        m = self.sizes.N / self.sizes.C
        # Symmetrised: only against symmetric x is tr(x F) conserved, and F of a kernel on features need not be symmetric.
        features = self.kernel.at(t).solve(state.H, self.sizes) @ state.H.T
        return state.W.T @ state.W / m, (features + features.T) / (2 * m)

    def values(self, state: State, t: float = 0.0) -> Vector:
        """All conserved numbers as one flat vector, (k,).

        Args:
            state: the full state, samples ordered by class.
            t: flow time, which matters only to a kernel that changes in time.
        """
        weights, features = self.terms(state, t)
        return self.symmetries.project(weights - features)

    def norm(self, values: Vector) -> float:
        """Frobenius norm of the part of F that such numbers describe; |E|_F where all of E is conserved.

        Args:
            values: the numbers of one matrix, as `values` gives them, or a difference of two such, (k,).
        """
        return float(self.symmetries.norm(values))

    def scale(self, state: State, t: float = 0.0) -> float:
        """Frobenius norms of the two terms' conserved parts, added: the size against which drift is measured."""
        return sum(self.norm(self.symmetries.project(term)) for term in self.terms(state, t))

    def rounding(self, state: State, t: float = 0.0) -> float:
        """Change of `values`, over `scale`, when every entry of the state and of K changes by a rounding error.

        An ill conditioned kernel makes it much larger than the rounding error itself.
        """
        # Steps of 1e-7: far above rounding, so that differences keep digits, and small enough to be linear.
        rng, size = np.random.default_rng(0), 1e-7
        H, W = (x * (1 + size * rng.uniform(-1, 1, x.shape)) for x in (state.H, state.W))
        change = self.norm(self.values(State(H, W, state.b), t) - self.values(state, t))
        scale = self.scale(state, t)
        eps = float(np.finfo(float).eps)
        return eps * max(1.0, (change / size + self._of_inverse(state, t, rng)) / scale) if scale else eps

    def _of_inverse(self, state: State, t: float, rng: np.random.Generator) -> float:
        """What `values` change by, over the relative change of K's entries: X dK X^T / m with X = K^-1 H.

        Of constants in blocks each eigenvalue is known to its own last digit, so that nothing is lost in the inverse.
        """
        now = self.kernel.at(t)
        if (K := now.sample_matrix) is None:
            return 0.0
        solved = now.solve(state.H, self.sizes)
        changed = np.triu(K * rng.uniform(-1, 1, K.shape))
        moved = solved @ (changed + np.triu(changed, 1).T) @ solved.T
        return self.norm(self.symmetries.project(moved * self.sizes.C / self.sizes.N))

    def drift(self, initial: State, now: State, t: float = 0.0) -> float:
        """`norm` of the change of `values` over `scale(now)`; 0 for an exact trajectory of a constant kernel."""
        # Over the size at t and not at the start: terms that grow carry their rounding along.
        change = self.norm(self.values(now, t) - self.values(initial))
        scale = self.scale(now, t)
        return change / scale if scale else 0.0


def conserved(kernel: Kernel, sizes: Sizes) -> Conserved:
    """The conserved quantities of a rung.

    Args:
        kernel: any rung; positive definite.
        sizes: C, m, n.

    Returns:
        The conserved quantities, whose `values` are constant along every exact trajectory without decay.

    Raises:
        InputError: the kernel does not fit the sizes, or is singular or indefinite.

    >>> from ntkflow.problem.kernels import BlockKernel
    >>> conserved(BlockKernel(1, 0.5, 0.1), Sizes(2, 3, 2)).names
    ('E[0,0]', 'E[0,1]', 'E[1,1]')
    """
    kernel.check(sizes)
    return Conserved(kernel, sizes, commutant(kernel.feature_matrices(sizes), sizes.n))


def conserved_by(problem: Problem) -> Conserved:
    """The same for the kernel of a problem, made once for run, series, laws and agreement."""
    return problem.once(_of_problem)


def _of_problem(problem: Problem) -> Conserved:
    return conserved(problem.kernel, problem.sizes)
