"""Solves (sigma I - J) x = g for the thin system by eliminating the features.

In the notation of `coordinates`, with W W^T = V diag(w) V^T, Wt = V^T W, Pt = V^T P and X = V^T dA (X_W without
its last column), the columns of dG are eliminated one by one with the Woodbury identity

    (sigma I + d_j W^T W)^-1 = (I - Wt^T diag(Q_j) Wt) / sigma,   Q_ij = d_j / (sigma + w_i d_j).

With phi_ij = sigma / (sigma + w_i d_j), Z = X B and Y = (Wt X_W^T) Pt, products of entries written as .*,
what is left is symmetric with C (n+1) unknowns:

    sigma X + (phi .* Z - Q .* Y) B^T + [Pt (Q .* (Y diag(d)/sigma - Z))^T Wt - Pt diag(d) Pt^T X_W/sigma, 0] = rhs.

At zero residual (P = 0) its rows decouple, row i being sigma I + B diag(phi_i) B^T; inverses of these,
one for each group of similar w_i, precondition conjugate gradients. Decay adds to sigma, block by block.
"""

import numpy as np
from jaxtyping import Float, Float64

from ntkflow._types import Floats
from ntkflow.integrate.engines.structured.coordinates import Coordinates, Flat
from ntkflow.integrate.engines.structured.products import concurrently, definite_inverse

# Up to this n + 1 every row has its own inverse; beyond it w_i within the given ratio share one.
OWN_INVERSES = 20
GROUP_RATIO = 3.0
MOST_ITERATIONS = 60
# A preconditioner that alone is this much better than asked for is taken for the inverse.
TRUSTED = 0.5
# Where products dominate, float32 halves them; it is precise enough up to this ratio of the largest rate to sigma.
SINGLE_PRECISION_FROM = 80
SINGLE_PRECISION_STIFFNESS = 3e4
FLOATS = (
    "B", "V", "Wt", "Pt", "Pd", "reciprocal", "Q", "phi", "Qd", "mixing", "inverses", "sigma_A",
)  # fmt: skip
# From this n + 1 on inverses are taken one by one, on all cores.
ONE_BY_ONE_FROM = 200

# In float64, or in float32 where products dominate.
Rows = Float[Floats, "C n1"]


class NewtonSystem:
    """One factorised matrix sigma I - J.

    Args:
        coordinates: the system's constants.
        t: time at which J is taken.
        z: flat vector at which J is taken.
        sigma: shift, of the size of an inverse step.
        tolerance: factor by which conjugate gradients reduce the energy norm of the error.
    """

    def __init__(
        self, coordinates: Coordinates, t: float, z: Flat, sigma: float, tolerance: float = 1e-2
    ) -> None:
        self.coordinates, self.sigma, self.tolerance = coordinates, sigma, tolerance
        n, d = coordinates.n, coordinates.rates_at(t)
        multiply = self.multiply = coordinates.multiply
        lw, lh, lb = coordinates.decay
        B, A = coordinates.blocks(z)
        w, self.V = np.linalg.eigh(multiply(A[:, :n], A[:, :n].T))
        # W W^T has no negative eigenvalues; 1/(sigma + w d) must not be taken of a rounding error.
        w = np.maximum(w, 0.0)
        self.B = B.copy()
        self.Wt = multiply(self.V.T, A[:, :n])
        self.Pt = multiply(self.V.T, multiply(A, B) - coordinates.T)
        self.Pd = self.Pt * d
        self.sigma_G = sigma + lh
        self.sigma_A = np.append(np.full(n, sigma + lw), sigma + lb)
        self.reciprocal = 1 / (self.sigma_G + w[:, None] * d)
        self.Q = d * self.reciprocal
        self.phi = self.sigma_G * self.reciprocal
        self.Qd = self.Q * (d / self.sigma_G)
        self.mixing = multiply(self.Pd, self.Pt.T) / self.sigma_G
        self.groups = _groups(w, 1.0 if n < OWN_INVERSES else GROUP_RATIO)
        self.inverses = self._inverses()
        self.trusted = False
        self.dtype: type[np.floating] = np.float64
        if n >= SINGLE_PRECISION_FROM:
            largest = float(w[-1] * d.max() + np.linalg.norm(B) ** 2)
            if largest <= SINGLE_PRECISION_STIFFNESS * sigma:
                self._to_single_precision()

    def _to_single_precision(self) -> None:
        """Hold everything in float32; Newton's iteration takes its residuals in float64 and corrects the rest."""
        self.dtype = np.float32
        for name in FLOATS:
            setattr(self, name, getattr(self, name).astype(np.float32))

    def _inverses(self) -> Float[Floats, "groups n1 n1"]:
        if len(self.groups) == len(self.phi):
            phi = self.phi
        else:
            # Their geometric mean: phi spans decades, and the preconditioner errs by a factor either way.
            phi = np.stack([np.exp(np.log(self.phi[group]).mean(axis=0)) for group in self.groups])
        k = np.arange(len(self.B))
        if len(k) < ONE_BY_ONE_FROM:
            rows = np.matmul(self.B * phi[:, None, :], self.B.T)
            rows[:, k, k] += self.sigma_A
            return definite_inverse(rows)

        def inverse(share: Float[Floats, " q"]) -> Float[Floats, "n1 n1"]:
            row = (self.B * share) @ self.B.T
            row[k, k] += self.sigma_A
            return definite_inverse(row)

        return np.stack(concurrently(inverse, phi))

    def _precondition(self, X: Rows) -> Rows:
        if len(self.groups) == len(X):
            result: Floats = np.matmul(X[:, None, :], self.inverses)[:, 0]
            return result
        out = np.empty_like(X)
        for group, inverse in zip(self.groups, self.inverses, strict=True):
            self.multiply(X[group], inverse, out=out[group])
        return out

    def _apply(self, X: Rows) -> Rows:
        """The left-hand side of the module's last equation."""
        multiply = self.multiply
        n = self.coordinates.n
        XW = X[:, :n]
        Z = multiply(X, self.B)
        Y = multiply(multiply(self.Wt, XW.T), self.Pt)
        left = self.phi * Z
        left -= self.Q * Y
        Y *= self.Qd
        Z *= self.Q
        Y -= Z
        out = multiply(left, self.B.T)
        out[:, :n] += multiply(multiply(self.Pt, Y.T), self.Wt)
        out[:, :n] -= multiply(self.mixing, XW)
        out += self.sigma_A * X
        return out

    def solve(self, g: Flat) -> Flat | None:
        """(sigma I - J)^-1 g; None when the matrix is not positive definite or the iteration stalls."""
        if self.dtype == np.float64:
            return self._eliminate(g)
        # Scaled, because corrections may be smaller than the smallest float32.
        size = float(np.abs(g).max()) or 1.0
        x = self._eliminate((g / size).astype(self.dtype))
        return None if x is None else x.astype(np.float64) * size

    def _eliminate(self, g: Floats) -> Floats | None:
        multiply = self.multiply
        n = self.coordinates.n
        gB, gA = self.coordinates.blocks(g)
        gG = gB[:n]
        Wg = multiply(self.Wt, gG)
        rhs = multiply(self.V.T, gA)
        rhs -= multiply(self.reciprocal * Wg, self.B.T)
        rhs[:, :n] -= (
            multiply(self.Pt, gG.T) - multiply(multiply(self.Pt, (self.Q * Wg).T), self.Wt)
        ) / self.sigma_G
        X = self._conjugate_gradients(rhs)
        if X is None:
            return None
        out = np.empty_like(g)
        dB, dA = self.coordinates.blocks(out)
        multiply(self.V, X, out=dA)
        XW, dG = X[:, :n].T, dB[:n]
        Wg -= multiply(multiply(self.Wt, XW), self.Pd)
        Wg += self.sigma_G * multiply(X, self.B)
        Wg *= self.Q
        np.subtract(gG, multiply(XW, self.Pd, out=dG), out=dG)
        dG -= multiply(self.Wt.T, Wg)
        dG *= 1 / self.sigma_G
        dB[n] = 0.0
        return out

    def _conjugate_gradients(self, rhs: Rows) -> Rows | None:
        X = self._precondition(rhs)
        if self.trusted:
            return X
        goal = self.tolerance**2 * np.vdot(rhs, X)
        rest = rhs - self._apply(X)
        direction = self._precondition(rest)
        size = np.vdot(rest, direction)
        # Checked once for each matrix; if it should fail another right-hand side, Newton's iteration notices.
        self.trusted = bool(0 <= size <= TRUSTED**2 * goal)
        for _ in range(MOST_ITERATIONS):
            if size <= goal:
                return X
            image = self._apply(direction)
            curvature = np.vdot(direction, image)
            # Far from a minimum J may have growing directions: a shorter step makes sigma - J definite again.
            if not curvature > 0:
                return None
            length = size / curvature
            X += length * direction
            rest -= length * image
            step = self._precondition(rest)
            before, size = size, np.vdot(rest, step)
            direction = step + (size / before) * direction
        return None


def _groups(w: Float64[Floats, " C"], ratio: float) -> list[slice]:
    """Runs of ascending w whose members lie within `ratio` of the first; single ones for ratio 1."""
    cuts = [0]
    for i in range(1, len(w)):
        if ratio == 1 or w[i] > ratio * max(w[cuts[-1]], 1e-12 * w[-1]):
            cuts.append(i)
    return [slice(a, b) for a, b in zip(cuts, [*cuts[1:], len(w)], strict=True)]
