"""The paper's "end of training" (44), solved for all times: class means fitted, R1 = 0 imposed.

dH2/dt = -mu_single W^T W H2, dW/dt = -m W S, with S = H2 H2^T. It only approximates the full flow: R1 = 0 is not
preserved there, because dR1/dt contains -m W S H1, which is of the size of what (44) keeps (theory 8 and 14).
Exponents agree, prefactors differ.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ntkflow._types import FeatureMatrix, Floats, Vector, Weights, WithinFactor
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.theory.exact.times import elapsed
from ntkflow.theory.limits import eigenvalues

# exp(2ct) is held within this range; what lies beyond is zero against the rest.
EXPONENT = 600.0


@dataclass(frozen=True, eq=False)
class FrozenClass:
    """The frozen-class flow from a start (W, L).

    Et = mu_single W^T W - m S is constant, and S obeys the Riccati equation
    dS/dt = -(Et S + S Et) - 2m S^2 (eqs. (47)-(49), corrected by the factor m).

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        W: weights at t = 0, C x n.
        L: within-class factor at t = 0, n x r, with L L^T = m S.
    """

    sizes: Sizes
    kernel: BlockKernel
    W: Weights
    L: WithinFactor

    @cached_property
    def mu_single(self) -> float:
        """kappa_d - kappa_c."""
        return eigenvalues(self.sizes, self.kernel).mu_single

    @cached_property
    def Et(self) -> FeatureMatrix:
        """mu_single W^T W - m S, constant; mu_single times (27) up to what class means contribute there."""
        return self.mu_single * self.W.T @ self.W - self.L @ self.L.T

    @cached_property
    def _modes(self) -> tuple[Vector, FeatureMatrix]:
        values, vectors = np.linalg.eigh((self.Et + self.Et.T) / 2)
        return values, vectors

    def S(self, t: float) -> FeatureMatrix:
        """S at time t, by a form without cancellation.

        S = V D U diag(s^2/(1+s^2)) U^T D V^T / 2m with Et = V diag(c) V^T, phi(c) = (1 - e^{-2ct})/2c,
        sqrt(2m) phi(c)^{1/2} V^T S0^{1/2} = U diag(s) Z^T and D = phi(-c)^{-1/2}.

        Raises:
            InputError: t is negative or not finite.
        """
        m, t = self.sizes.per_class, elapsed(t)
        if t == 0 or self.L.shape[1] == 0:
            return self.L @ self.L.T / m
        c, V = self._modes
        B = np.sqrt(2 * _phi(c, t))[:, None] * (V.T @ self.L)
        U, s, _ = np.linalg.svd(B, full_matrices=False)
        # s/sqrt(1+s^2) without overflow of s^2.
        root = V @ ((U * (s / np.hypot(1, s))) / np.sqrt(_phi(-c, t))[:, None])
        result: Floats = root @ root.T / (2 * m)
        return result

    def WtW(self, t: float) -> FeatureMatrix:
        """W^T W at time t, from the constancy of Et."""
        return (self.Et + self.sizes.per_class * self.S(t)) / self.mu_single

    @property
    def rates(self) -> Vector:
        """Eigenvalues c of Et, ascending: S decays like e^{-2ct} for c > 0, like 1/(2mt) for c = 0, to |c|/m else."""
        return self._modes[0]


def _phi(c: Vector, t: float) -> Vector:
    """(1 - e^{-2ct})/(2c), t where c = 0."""
    z = 2 * c * t
    small = np.abs(z) < 1e-12
    power = np.expm1(-np.clip(z, -EXPONENT, EXPONENT))
    return np.where(small, t * (1 - z / 2), -t * power / np.where(small, 1.0, z))
