"""E = 0: the flow in 2 C^2 + C variables, whatever n, m and N are (not in the paper).

A balanced state is H K^{-1/2} = W^T Z with Z Z^T = I. With Z1 = Z Y^T/sqrt(m), X = W W^T and
D = Kc^{1/2} = sqrt(mu_class) P + sqrt(mu_global) J the unknowns (X, Z1, b) obey a closed system (theory 4.4):
    R1 = X Z1 D/sqrt(m) + b 1^T - I,   Gam = sqrt(m) R1 D Z1^T + mu_single X (I - Z1 Z1^T),
    dX/dt = -Gam X - X Gam^T,   dZ1/dt = -sqrt(m) R1 D + Gam^T Z1,   db/dt = -m R1 1,   dW/dt = -Gam W,
with G = H1^T H1 = D Z1^T X Z1 D/m and tr S = (mu_single/m) tr(X (I - Z1 Z1^T)).
"""

from dataclasses import dataclass

import numpy as np

from ntkflow import views
from ntkflow._lazy import lister
from ntkflow._types import Biases, ClassMatrix, Floats, Vector
from ntkflow.errors import InputError
from ntkflow.metrics import invariant
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means
from ntkflow.theory.bounds import rounding
from ntkflow.theory.limits import eigenvalues

__all__ = ["Balanced"]
__dir__ = lister(__all__)

# W of less than full rank has no unique Z; singular values below this fraction of the largest count as zero.
FULL_RANK = 1e-10


@dataclass(frozen=True, eq=False)
class Balanced:
    """A state with E = 0 and W of rank C, reduced.

    Attributes:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        X: W W^T, C x C.
        Z1: Z Y^T/sqrt(m), C x C with singular values at most 1.
        b: biases, (C,).
    """

    sizes: Sizes
    kernel: BlockKernel
    X: ClassMatrix
    Z1: ClassMatrix
    b: Biases

    __repr__ = views.short

    @classmethod
    def of(cls, state: State, sizes: Sizes, kernel: BlockKernel, relative: float = 0.0) -> "Balanced":
        """Reduce a full state.

        Args:
            state: a state with E = 0 and W of rank C.
            sizes: its sizes.
            kernel: scalar blocks.
            relative: relative accuracy of the state; 0 means exact to rounding.

        Raises:
            InputError: E is not zero, or W has a smaller rank than C.
        """
        # E = 0 is what makes H K^{-1/2} = W^T Z with Z Z^T = I; without it the system is not closed.
        eigenvalues(sizes, kernel)
        terms = invariant.terms(state, sizes, kernel)
        size = float(np.linalg.norm(terms.E))
        if size > rounding(sizes.n, terms.scale, relative):
            raise InputError(
                "state",
                f"|E| = {size:.3g}",
                "must be balanced, E = 0, for this reduction",
                "integrate the thin form",
            )
        s = np.linalg.svd(state.W, compute_uv=False)
        if sizes.n < sizes.C or s[-1] <= FULL_RANK * s[0]:
            raise InputError(
                "W", f"rank below C = {sizes.C}", "must be C for this reduction", "drop a class direction"
            )
        # H1 = H Y^T/m = W^T Z1 D/sqrt(m), because Y K^{-1/2} = sqrt(m) Kc^{-1/2} Q1^T on class means.
        Z1 = np.linalg.pinv(state.W.T) @ class_means(state.H, sizes) @ _root(sizes, kernel, -1.0)
        return cls(sizes, kernel, state.W @ state.W.T, Z1 * np.sqrt(sizes.per_class), state.b)

    @property
    def R1(self) -> ClassMatrix:
        """Class-mean residual."""
        D, m = _root(self.sizes, self.kernel), self.sizes.per_class
        result: Floats = self.X @ self.Z1 @ D / np.sqrt(m) + self.b[:, None] - np.eye(self.sizes.C)
        return result

    @property
    def G(self) -> ClassMatrix:
        """H1^T H1."""
        half = self.Z1 @ _root(self.sizes, self.kernel)
        return half.T @ self.X @ half / self.sizes.per_class

    @property
    def trace_S(self) -> float:
        """Trace of S."""
        mu = eigenvalues(self.sizes, self.kernel)
        return mu.mu_single / self.sizes.per_class * float(np.trace(self.X @ self._rest))

    @property
    def loss(self) -> float:
        """(m/2)(|R1|^2 + |W H2|^2), with |W H2|^2 = tr(W S W^T) = (mu_single/m) tr(X (I - Z1 Z1^T) X)."""
        m, mu = self.sizes.per_class, eigenvalues(self.sizes, self.kernel)
        within = mu.mu_single / m * float(np.trace(self.X @ self._rest @ self.X))
        return m / 2 * (float(np.sum(self.R1**2)) + within)

    def field(self) -> tuple[ClassMatrix, ClassMatrix, Biases]:
        """Time derivatives of (X, Z1, b)."""
        m, D, mu = self.sizes.per_class, _root(self.sizes, self.kernel), eigenvalues(self.sizes, self.kernel)
        pull = np.sqrt(m) * self.R1 @ D
        gam = pull @ self.Z1.T + mu.mu_single * self.X @ self._rest
        return -gam @ self.X - self.X @ gam.T, -pull + gam.T @ self.Z1, -m * self.R1.sum(axis=1)

    def pack(self) -> Vector:
        """(X, Z1, b) as one vector of 2 C^2 + C numbers."""
        return np.concatenate([self.X.ravel(), self.Z1.ravel(), self.b])

    def unpack(self, y: Vector) -> "Balanced":
        """The same problem at other values."""
        C = self.sizes.C
        X, Z1, b = y[: C * C].reshape(C, C), y[C * C : 2 * C * C].reshape(C, C), y[2 * C * C :]
        return Balanced(self.sizes, self.kernel, X, Z1, b)

    @property
    def _rest(self) -> ClassMatrix:
        """I - Z1 Z1^T, the part of Z in deviations from the class means."""
        return np.eye(self.sizes.C) - self.Z1 @ self.Z1.T


def _root(sizes: Sizes, kernel: BlockKernel, sign: float = 1.0) -> ClassMatrix:
    """Kc^{1/2} or, with sign -1, its inverse."""
    mu, P = eigenvalues(sizes, kernel), centring(sizes.C)
    result: Floats = mu.mu_class ** (sign / 2) * P + mu.mu_global ** (sign / 2) * (np.eye(sizes.C) - P)
    return result
