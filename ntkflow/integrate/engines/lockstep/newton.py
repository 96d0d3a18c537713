"""The matrices sigma I - J of all slots, by the elimination of `structured.newton_system`.

Its preconditioner, exact where the residual is zero, is taken for the inverse: Newton's iteration then converges a
little more slowly, and where it does not a shorter step makes the preconditioner better.
"""

import numpy as np

from ntkflow._types import Floats, Integers, Truths
from ntkflow.integrate.engines.lockstep.slots import PerSlot, Systems, transposed

NAMES = ("V", "Wt", "Pt", "Pd", "reciprocal", "Q", "B", "inverses")


class NewtonSystems(PerSlot):
    """One factorised matrix in each slot.

    Args:
        systems: the constants.

    Attributes:
        sigma: shift with which the matrix was made.
    """

    V: Floats
    Wt: Floats
    Pt: Floats
    Pd: Floats
    reciprocal: Floats
    Q: Floats
    B: Floats
    inverses: Floats
    sigma: Floats
    sigma_G: Floats

    def __init__(self, systems: Systems) -> None:
        super().__init__(systems.slots)
        self.systems, self.shape = systems, systems.shape
        n, C, q = self.shape.n, self.shape.C, self.shape.q
        shapes = ((C, C), (C, n), (C, q), (C, q), (C, q), (C, q), (n + 1, q), (C, n + 1, n + 1))
        for name, shape in zip(NAMES, shapes, strict=True):
            self.hold(name, *shape)
        self.hold("sigma")
        self.hold("sigma_G")

    def build(self, i: Integers, t: Floats, z: Floats, sigma: Floats) -> Truths:
        """Take J at the states z of slots i; False for those whose matrix can't be factorised."""
        good: Truths = np.all(np.isfinite(z), axis=1)
        if not np.all(good):
            if np.any(good):
                good[good] = self.build(i[good], t[good], z[good], sigma[good])
            return good
        try:
            self._build(i, t, z, sigma)
        except np.linalg.LinAlgError:
            # Which of them it was: the others must not suffer from it.
            good[:] = False
            for k in range(len(i)) if len(i) > 1 else ():
                one = slice(k, k + 1)
                good[one] = self.build(i[one], t[one], z[one], sigma[one])
        return good

    def _build(self, i: Integers, t: Floats, z: Floats, sigma: Floats) -> None:
        n = self.shape.n
        B, A = self.shape.blocks(z)
        W, d = A[..., :n], self.systems.rates(i, t)[:, None]
        lw, lh, lb = self.systems.decay[i].T
        w, V = np.linalg.eigh(W @ transposed(W))
        w = np.maximum(w, 0.0)
        sigma_G = (sigma + lh)[:, None, None]
        reciprocal = 1 / (sigma_G + w[..., None] * d)
        rows = (B[:, None] * (sigma_G * reciprocal)[:, :, None, :]) @ transposed(B)[:, None]
        k = np.arange(n)
        rows[..., k, k] += (sigma + lw)[:, None, None]
        rows[..., n, n] += (sigma + lb)[:, None]
        inverses = _inverse(rows)
        self.V[i], self.B[i], self.inverses[i] = V, B, inverses
        self.Wt[i] = transposed(V) @ W
        self.Pt[i] = transposed(V) @ (A @ B - self.systems.T[i])
        self.Pd[i] = self.Pt[i] * d
        self.reciprocal[i], self.Q[i] = reciprocal, d * reciprocal
        self.sigma[i], self.sigma_G[i] = sigma, sigma + lh

    def solve(self, g: Floats) -> Floats:
        """(sigma I - J)^-1 g, nearly, of all slots."""
        n = self.shape.n
        gB, gA = self.shape.blocks(g)
        gG, sigma_G = gB[:, :n], self.sigma_G[:, None, None]
        Wg = self.Wt @ gG
        rhs = transposed(self.V) @ gA
        rhs -= (self.reciprocal * Wg) @ transposed(self.B)
        # What dG would be if A stood still.
        still = gG - transposed(self.Wt) @ (self.Q * Wg)
        still /= sigma_G
        rhs[..., :n] -= self.Pt @ transposed(still)
        X = (rhs[:, :, None, :] @ self.inverses)[:, :, 0]
        out = np.empty_like(g)
        dB, dA = self.shape.blocks(out)
        np.matmul(self.V, X, out=dA)
        XW = transposed(X[..., :n])
        Wg -= (self.Wt @ XW) @ self.Pd
        Wg += sigma_G * (X @ self.B)
        Wg *= self.Q
        dG = gG - XW @ self.Pd
        dG -= transposed(self.Wt) @ Wg
        dG /= sigma_G
        dB[:, :n] = dG
        dB[:, n] = 0.0
        return out


def _inverse(A: Floats) -> Floats:
    """Inverses of symmetric positive definite matrices, (..., N, N), by sweeps, which need no pivoting.

    The stack lies last, and numpy's loops run along it: of small matrices that takes two thirds of the time of one
    factorisation after the other. No sum runs along it, so that one matrix changes no digit of another.
    """
    N = A.shape[-1]
    # Their names as in Gauss and Jordan's elimination: what is swept stands where the matrix stood.
    S = np.ascontiguousarray(A.reshape(-1, N, N).transpose(1, 2, 0))
    product = np.empty_like(S)
    for k in range(N):
        reciprocal = 1 / S[k, k]
        row, column = S[k] * reciprocal, S[:, k].copy()
        np.multiply(column[:, None], row, out=product)
        S -= product
        S[k] = row
        np.multiply(column, -reciprocal, out=S[:, k])
        S[k, k] = reciprocal
    result: Floats = S.transpose(2, 0, 1).reshape(A.shape)
    return result
