"""The matrices sigma I - J of all slots on their leaves, by the elimination of `structured.newton_system`.

At zero residual (P = 0, W S = 0), with W W^T = V diag(w) V^T, Wt = V^T W, X = V^T dA, a_i = sigma + delta w_i and
psi_ij = 1 / (sigma + w_i kd_j), the columns of dG1 and the change of S,

    sigma dS + delta (W^T W dS + dS W^T W) + delta (W^T dW S + S dW^T W) = gS,
    gS = delta (gW^T W + W^T gW - gG1 kd^-1 G1^T - G1 kd^-1 gG1^T),

are eliminated, and the rows of X decouple: with B = [G1; e1^T], Y = V^T gA and y = Wt gS,

    X_i (sigma I + sigma B diag(psi_i) B^T + (sigma / a_i) [S, 0; 0, 0]) = Y_i - ((psi .* Wt gG1) B^T)_i - [Z_i, 0],
    Z_i = (y_i - sum_j (y_i . Wt_j) delta / (a_i + delta w_j) Wt_j) / a_i.

Divided by sigma, and with the biases eliminated (kappa_i = 1 / (1 + e1 . psi_i e1), r_i = G1 psi_i e1), the matrix of row i is

    diag(1 - mE delta / a_i) + Wt^T (delta / a_i) Wt + G1 diag(psi_i - delta / (a_i kd)) G1^T - kappa_i r_i r_i^T:

a positive diagonal D_i^-1, terms of rank C and C (kd >= delta), and one of rank one. At most C eigenvalues of m E are positive;
they are left out of the diagonal, and what that makes the matrix too large by is at most what W gives it there. Two terms of P
come back to first order: P dG1^T with the dG1 there would be if A stood still, and dW^T P kd. What is left alone is taken for
the inverse, as in `lockstep.newton`: Newton's iteration then converges a little more slowly.
"""

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.lockstep.newton import NewtonSystems, inverse
from ntkflow.integrate.engines.lockstep.slots import PerSlot, Systems, transposed
from ntkflow.integrate.engines.on_leaf.systems import LeafSystems


class LeafNewton(NewtonSystems):
    """One factorised matrix in each slot.

    Args:
        systems: the constants.

    Attributes:
        sigma: shift with which the matrix was made.
        V, w, psi, kappa: as above.
        B: [G1; e1^T].
        images: Wt G1.
        diagonal: inverse of the diagonal of each row.
        basis: [Wt; G1^T; <gG1^T>], what comes with a right-hand side in angle brackets.
        inner: the inverse of row i is D_i - D_i basis^T inner_i basis D_i with the first two parts of the basis.
        biased: psi_i e1, of which r_i is made.
        within: delta / (a_i + delta w_j).
        slow: 1 / (sigma a).
    """

    w: Floats
    psi: Floats
    B: Floats
    images: Floats
    diagonal: Floats
    basis: Floats
    inner: Floats
    kappa: Floats
    biased: Floats
    within: Floats
    slow: Floats
    Pt: Floats

    def __init__(self, systems: Systems) -> None:
        PerSlot.__init__(self, systems.slots)
        assert isinstance(systems, LeafSystems)
        self.leaves = systems
        self.systems, self.shape = systems, systems.shape
        n, C, k = self.shape.n, self.shape.C, self.shape.q
        for name, shape in (
            ("V", (C, C)),
            ("w", (C,)),
            ("psi", (C, k)),
            ("B", (n + 1, k)),
            ("images", (C, k)),
            ("diagonal", (C, n)),
            ("basis", (C + 2 * k, n)),
            ("inner", (C, C + k, C + k)),
            ("kappa", (C,)),
            ("biased", (C, k)),
            ("within", (C, C)),
            ("slow", (C, 1)),
            ("Pt", (C, k)),
        ):
            self.hold(name, *shape)
        self.hold("sigma")

    def _build(self, i: Integers, t: Floats, z: Floats, sigma: Floats) -> None:
        del t
        n, C, k = self.shape.n, self.shape.C, self.shape.q
        B, A = self.shape.blocks(z)
        W, G, e = A[..., :n], B[:, :n], B[:, n][:, None]
        d, delta = self.leaves.d[i][:, None], self.leaves.delta[i][:, None]
        w, V = np.linalg.eigh(W @ transposed(W))
        w = np.maximum(w, 0.0)
        a = sigma[:, None] + delta * w
        psi = 1 / (sigma[:, None, None] + w[..., None] * d)
        share = (delta / a)[..., None]
        basis = np.concatenate([transposed(V) @ W, transposed(G)], axis=1)
        diagonal = 1 / (1 - share * np.minimum(self.leaves.mE[i], 0.0)[:, None])
        root = np.empty((len(i), C, C + k))
        root[..., :C] = share
        # What rounding leaves of equal rates is not negative.
        np.maximum(psi - share * (1 / d), 0.0, out=root[..., C:])
        np.sqrt(root, out=root)
        # (I + root F root)^-1 with F = basis diagonal basis^T, from the Woodbury identity.
        inner = (basis[:, None] * diagonal[:, :, None]) @ transposed(basis)[:, None]
        biased = psi * e
        kappa = 1 / (1 + (biased * e).sum(axis=2))
        seen = inner[..., C:] @ biased[..., None]
        inner *= root[..., :, None]
        inner *= root[..., None, :]
        j = np.arange(C + k)
        inner[..., j, j] += 1
        inner = inverse(inner)
        inner *= root[..., :, None]
        inner *= root[..., None, :]
        # The term of rank one, which lies within G1^T: -u u^T with u = (D^-1 + ...)^-1 r, scaled.
        u = -(inner @ seen)
        u[..., C:, 0] += biased
        u /= np.sqrt(1 / kappa - (u * seen).sum(axis=(2, 3)))[..., None, None]
        if not np.all(np.isfinite(u)):
            raise np.linalg.LinAlgError
        inner -= u @ transposed(u)
        self.V[i], self.w[i], self.psi[i], self.B[i], self.kappa[i] = V, w, psi, B, kappa
        self.Pt[i] = transposed(V) @ (A @ B - self.leaves.T[i])
        self.images[i] = basis[:, :C] @ G
        self.basis[i, : C + k] = basis
        self.diagonal[i], self.inner[i], self.biased[i] = diagonal, inner, biased
        self.within[i] = delta[..., None] / (a[..., None] + (delta * w)[:, None])
        self.slow[i] = 1 / (sigma[:, None] * a)[..., None]
        self.sigma[i] = sigma

    def solve(self, g: Floats) -> Floats:
        """(sigma I - J)^-1 g, nearly, of all slots."""
        n, C, k = self.shape.n, self.shape.C, self.shape.q
        gB, gA = self.shape.blocks(g)
        gG, basis, psi, w = gB[:, :n], self.basis, self.psi, self.w[..., None]
        Wt, sigma = basis[:, :C], self.sigma[:, None, None]
        delta, share = self.leaves.delta[:, None, None], self.leaves.share[:, None]
        Wg, Y = Wt @ gG, transposed(self.V) @ gA
        YW = Y[..., :n]
        seen = Wt @ transposed(YW)
        # y Wt^T, from the three terms of gS.
        weighted = share * self.images
        change = (w * transposed(seen) + seen * transposed(w)) * delta
        mixed = weighted @ transposed(Wg)
        change -= mixed
        change -= transposed(mixed)
        change *= self.within
        change -= delta * seen
        change *= self.slow
        weighted *= self.slow
        quotient = 1 / (sigma * sigma)
        change += (quotient * self.Pt) @ transposed(psi * self.leaves.d[:, None] * Wg)
        weighted -= quotient * self.Pt
        direct = psi * Wg
        rhs_b = Y[..., n] - (direct * self.B[:, n][:, None]).sum(axis=2)
        direct *= -1 / sigma
        direct += share * self.slow * Wg
        alone = (rhs_b / self.sigma[:, None]) * self.kappa
        direct -= self.biased * alone[..., None]
        basis[:, C + k :] = transposed(gG)
        rows = np.concatenate([change, direct, weighted], axis=2) @ basis
        YW *= self.slow * sigma
        rows += YW
        # Every row by Woodbury's identity, in place; what X has along G1 gives its biases too.
        rank = self.inner.shape[-1]
        spanned = np.matmul(((rows * self.diagonal) @ transposed(basis[:, :rank]))[:, :, None], self.inner)[
            :, :, 0
        ]
        rows -= spanned @ basis[:, :rank]
        X = np.empty_like(Y)
        np.multiply(rows, self.diagonal, out=X[..., :n])
        moved = X[..., :n] @ self.B[:, :n]
        np.subtract(alone, self.kappa * (self.biased * moved).sum(axis=2), out=X[..., n])
        moved += X[..., n:] * self.B[:, n][:, None]
        out = np.empty_like(g)
        dB, dA = self.shape.blocks(out)
        np.matmul(self.V, X, out=dA)
        moved *= sigma
        moved += Wg
        Pd = self.Pt * self.leaves.d[:, None]
        moved -= (Wt @ transposed(X[..., :n])) @ Pd
        moved *= psi
        moved *= self.leaves.d[:, None]
        dG = gG - transposed(Wt) @ moved
        dG -= transposed(X[..., :n]) @ Pd
        np.multiply(dG, 1 / sigma, out=dB[:, :n])
        dB[:, n] = 0.0
        return out
