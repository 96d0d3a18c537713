"""The matrices sigma I - J of all slots, by the elimination of `structured.newton_system`.

Its preconditioner, exact where the residual is zero, is taken for the inverse: Newton's iteration then converges a
little more slowly, and where it does not a shorter step makes the preconditioner better.
"""

import numpy as np

from ntkflow._types import Floats, Integers, Truths
from ntkflow.integrate.engines.lockstep.slots import PerSlot, Systems, transposed

# Rows of a matrix up to which sweeps are quicker than two halves.
SWEPT = 6


class NewtonSystems(PerSlot):
    """One factorised matrix in each slot.

    Args:
        systems: the constants.

    Sums of products are taken as one product of longer rows, in which what belongs to the matrix lies ready beside what comes
    with a right-hand side (in angle brackets); Wg is V^T W times its features:

    Attributes:
        sigma: shift with which the matrix was made.
        slower: 1 over that of the features, which decay adds to.
        first: [<reciprocal .* Wg>, Pt / sigma].
        second: [B, <what dG would be if A stood still, times sigma>].
        third: [-Pd; sigma B].
        fourth: [Pd; <Q .* (Wg - Wt X_W^T Pd + sigma X B)>].
        mixed: [<Wt X_W^T>, <X>].
        seen: [<X_W>; Wt].
    """

    V: Floats
    Q: Floats
    reciprocal: Floats
    inverses: Floats
    sigma: Floats
    slower: Floats
    first: Floats
    second: Floats
    third: Floats
    fourth: Floats
    mixed: Floats
    seen: Floats

    def __init__(self, systems: Systems) -> None:
        super().__init__(systems.slots)
        self.systems, self.shape = systems, systems.shape
        n, C, q = self.shape.n, self.shape.C, self.shape.q
        for name, shape in (
            ("V", (C, C)),
            ("reciprocal", (C, q)),
            ("Q", (C, q)),
            ("inverses", (C, n + 1, n + 1)),
            ("first", (C, 2 * q)),
            ("second", (n + 1, 2 * q)),
            ("third", (C + n + 1, q)),
            ("fourth", (2 * C, q)),
            ("mixed", (C, C + n + 1)),
            ("seen", (2 * C, n)),
        ):
            self.hold(name, *shape)
        self.hold("sigma")
        self.hold("slower")

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
        n, C, q = self.shape.n, self.shape.C, self.shape.q
        B, A = self.shape.blocks(z)
        W, d = A[..., :n], self.systems.rates(i, t)[:, None]
        lw, lh, lb = self.systems.decay[i].T
        w, V = np.linalg.eigh(W @ transposed(W))
        w = np.maximum(w, 0.0)
        sigma_G = (sigma + lh)[:, None, None]
        reciprocal = 1 / (sigma_G + w[..., None] * d)
        # B diag(phi_i) B^T for every row i, as one product with those of the columns of B with themselves.
        columns = np.ascontiguousarray(transposed(B))
        squares = (columns[..., :, None] * columns[..., None, :]).reshape(len(i), q, -1)
        rows = ((sigma_G * reciprocal) @ squares).reshape(len(i), C, n + 1, n + 1)
        k = np.arange(n)
        rows[..., k, k] += (sigma + lw)[:, None, None]
        rows[..., n, n] += (sigma + lb)[:, None]
        self.V[i], self.inverses[i] = V, inverse(rows)
        self.seen[i, C:] = transposed(V) @ W
        self.reciprocal[i], self.Q[i] = reciprocal, d * reciprocal
        Pt = transposed(V) @ (A @ B - self.systems.T[i])
        Pd = Pt * d
        self.first[i, :, q:] = Pt / sigma_G
        self.second[i, :, :q] = B
        self.third[i] = np.concatenate([-Pd, sigma_G * B], axis=1)
        self.fourth[i, :C] = Pd
        self.sigma[i], self.slower[i] = sigma, 1 / (sigma + lh)

    def solve(self, g: Floats) -> Floats:
        """(sigma I - J)^-1 g, nearly, of all slots."""
        n, C, q = self.shape.n, self.shape.C, self.shape.q
        gB, gA = self.shape.blocks(g)
        gG, Wt = gB[:, :n], self.seen[:, C:]
        Wg = Wt @ gG
        np.multiply(self.reciprocal, Wg, out=self.first[..., :q])
        Wg *= self.Q
        # What dG would be if A stood still, but for 1/sigma.
        np.subtract(gG, transposed(Wt) @ Wg, out=self.second[:, :n, q:])
        rhs = transposed(self.V) @ gA
        rhs -= self.first @ transposed(self.second)
        mixed, X = self.mixed, self.mixed[..., C:]
        np.matmul(rhs[:, :, None, :], self.inverses, out=X[:, :, None, :])
        out = np.empty_like(g)
        dB, dA = self.shape.blocks(out)
        np.matmul(self.V, X, out=dA)
        self.seen[:, :C] = X[..., :n]
        np.matmul(Wt, transposed(X[..., :n]), out=mixed[..., :C])
        weights = mixed @ self.third
        weights *= self.Q
        np.add(weights, Wg, out=self.fourth[:, C:])
        dG = gG - transposed(self.seen) @ self.fourth
        np.multiply(dG, self.slower[:, None, None], out=dB[:, :n])
        dB[:, n] = 0.0
        return out


def inverse(A: Floats) -> Floats:
    """Inverses of symmetric positive definite matrices, (..., N, N), which need no pivoting.

    Large ones are put together from those of a half and of its Schur complement: products of small matrices are the quickest
    there is.
    """
    N = A.shape[-1]
    if N <= SWEPT:
        return _swept(A)
    k = N // 2
    upper, beside, lower = A[..., :k, :k], A[..., :k, k:], A[..., k:, k:]
    first = inverse(upper)
    T = first @ beside
    rest = inverse(lower - transposed(beside) @ T)
    U = T @ rest
    result = np.empty_like(A)
    result[..., k:, k:] = rest
    np.negative(U, out=result[..., :k, k:])
    np.negative(transposed(U), out=result[..., k:, :k])
    np.add(first, U @ transposed(T), out=result[..., :k, :k])
    return result


def _swept(A: Floats) -> Floats:
    """The same by sweeps.

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
