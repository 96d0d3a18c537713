"""Solves (sigma I - J) x = g for the thin system by eliminating the features.

In the notation of `coordinates`, with W W^T = V diag(w) V^T, Wt = V^T W, Pt = V^T P and X = V^T dA (X_W without
its last column), everything is divided by sigma: D = d/sigma, P' = P/sigma, B' = B/sigma. The columns of dG are
eliminated one by one with the Woodbury identity

    (I + D_j W^T W)^-1 = I - Wt^T diag(Q_j) Wt,   Q_ij = D_j phi_ij,   phi_ij = 1 / (1 + w_i D_j).

With Z = X B and Y = (Wt X_W^T) Pt, products of entries written as .*, what is left is symmetric with C (n+1) unknowns:

    X + (phi .* Z - Q .* Y) B'^T + [Pt' (Q .* (Y diag(D) - Z))^T Wt - Pt' diag(D) Pt^T X_W, 0] = rhs.

At zero residual (P = 0) its rows decouple, row i being I + B diag(phi_i) B'^T; inverses of these precondition conjugate
gradients: its own for each row of small systems, for others those at a few knots, between which they are taken for linear in
w_i, as they are where the identity or the other term is all of a row. Decay adds to sigma, block by block.
"""

import math

import numpy as np
from jaxtyping import Float, Float64

from ntkflow._types import Floats
from ntkflow.integrate.engines.structured.coordinates import Coordinates, Flat
from ntkflow.integrate.engines.structured.products import concurrently, definite_inverse

# Up to this n + 1 every row has its own inverse; beyond it w_i within the given ratio share two, at their ends, or one, where
# they lie within the closer ratio or inverses are dear.
OWN_INVERSES = 20
GROUP_RATIO, CLOSE_RATIO = 3.0, 1.2
MOST_ITERATIONS = 60
# A preconditioner that alone is this much better than asked for is taken for the inverse.
TRUSTED = 0.5
# Where products dominate, float32 halves them; it is precise enough up to this ratio of the largest rate to sigma.
SINGLE_PRECISION_FROM = 80
SINGLE_PRECISION_STIFFNESS = 3e4
FLOATS = (
    "B", "V", "Wt", "Pt", "Pr", "phi", "Q", "QD", "mixing", "inverses", "shares", "shift", "ahead", "back", "left",
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

    Attributes:
        sigma: the shift.
        unit: what `solve_scaled` divides by: the shift and the decay of features.
    """

    def __init__(
        self,
        coordinates: Coordinates,
        t: float,
        z: Flat,
        sigma: float,
        tolerance: float = 1e-2,
    ) -> None:
        self.coordinates, self.sigma, self.tolerance = coordinates, sigma, tolerance
        n, C, q = coordinates.n, coordinates.C, coordinates.q
        multiply = self.multiply = coordinates.multiply
        lw, lh, lb = coordinates.decay
        unit = self.unit = sigma + lh
        d = coordinates.rates_at(t)
        D = d / unit
        B, A = coordinates.blocks(z)
        w, self.V = np.linalg.eigh(multiply(A[:, :n], A[:, :n].T))
        # W W^T has no negative eigenvalues; 1/(1 + w D) must not be taken of a rounding error.
        w = np.maximum(w, 0.0)
        self.B = B.copy()
        self.Wt = multiply(self.V.T, A[:, :n])
        self.Pt = multiply(self.V.T, multiply(A, B) - coordinates.T)
        self.Pr = self.Pt / unit
        self.phi = 1 / (1 + w[:, None] * D)
        self.Q = D * self.phi
        self.QD = self.Q * D
        PD = self.Pt * D
        self.mixing = multiply(PD, self.Pr.T)
        # Products with B'^T and with -Wt are one, and so are those with Wt^T and X_W^T: calls cost as much as what they do.
        self.ahead = np.zeros((q + C, n + 1))
        np.multiply(B.T, 1 / unit, out=self.ahead[:q])
        self.ahead[q:, :n] -= self.Wt
        self.left = np.empty((C, q + C))
        self.back = np.empty((2 * C, n + q))
        self.back[C:, :n], self.back[:C, n:] = self.Wt, PD
        self.shift = np.full(n + 1, (sigma + lw) / unit)
        self.shift[n] = (sigma + lb) / unit
        self.knots, self.shares = _knots(w, n + 1)
        self.inverses = self._inverses(D)
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
            # Where rows have their own inverses there are no shares.
            if (value := getattr(self, name)) is not None:
                setattr(self, name, value.astype(np.float32))

    def _inverses(self, D: Float64[Floats, " q"]) -> Float[Floats, "knots n1 n1"]:
        """The inverses of rows as they would be at the knots."""
        own = self.shares is None
        phi = self.phi if own else 1 / (1 + self.knots[:, None] * D)
        k, right = np.arange(len(self.B)), self.ahead[: self.B.shape[1]]
        if len(k) < ONE_BY_ONE_FROM:
            rows = np.matmul(self.B * phi[:, None, :], right)
            rows[:, k, k] += self.shift
            return definite_inverse(rows)

        def inverse(share: Float[Floats, " q"]) -> Float[Floats, "n1 n1"]:
            row = (self.B * share) @ right
            row[k, k] += self.shift
            return definite_inverse(row)

        return np.stack(concurrently(inverse, phi))

    def _precondition(self, X: Rows) -> Rows:
        if self.shares is None:
            result: Floats = np.matmul(X[:, None, :], self.inverses)[:, 0]
            return result
        knots, size = self.inverses.shape[:2]
        scaled = (self.shares[:, :, None] * X[:, None, :]).reshape(len(X), knots * size)
        return self.multiply(scaled, self.inverses.reshape(knots * size, size))

    def _apply(self, X: Rows) -> Rows:
        """The left-hand side of the module's last equation."""
        multiply, n, q = self.multiply, self.coordinates.n, self.coordinates.q
        XW, left = X[:, :n], self.left
        Z = multiply(X, self.B)
        Y = multiply(multiply(self.Wt, XW.T), self.Pt)
        first = left[:, :q]
        np.multiply(self.Q, Y, out=first)
        Y *= self.QD
        np.subtract(self.Q * Z, Y, out=Y)
        Z *= self.phi
        np.subtract(Z, first, out=first)
        multiply(self.Pr, Y.T, out=left[:, q:])
        out = multiply(left, self.ahead)
        out[:, :n] -= multiply(self.mixing, XW)
        out += self.shift * X
        return out

    def solve(self, g: Flat) -> Flat | None:
        """(sigma I - J)^-1 g; None when the matrix is not positive definite or the iteration stalls."""
        return self.solve_scaled(g * (1 / self.unit))

    def solve_scaled(self, g: Flat) -> Flat | None:
        """(sigma I - J)^-1 unit g, which saves a division by the unit where it can be had for nothing."""
        if self.dtype == np.float64:
            return self._eliminate(g)
        # Scaled, because corrections may be smaller than the smallest float32.
        size = float(np.abs(g).max()) or 1.0
        x = self._eliminate((g / size).astype(self.dtype))
        return None if x is None else x.astype(np.float64) * size

    def _eliminate(self, g: Floats) -> Floats | None:
        multiply, n, q = self.multiply, self.coordinates.n, self.coordinates.q
        gB, gA = self.coordinates.blocks(g)
        gG, left, C = gB[:n], self.left, len(gA)
        Wg = multiply(self.Wt, gG)
        np.multiply(self.phi, Wg, out=left[:, :q])
        multiply(self.Pr, (self.Q * Wg).T, out=left[:, q:])
        rhs = multiply(self.V.T, gA)
        rhs -= multiply(left, self.ahead)
        rhs[:, :n] -= multiply(self.Pr, gG.T)
        X = self._conjugate_gradients(rhs)
        if X is None:
            return None
        out = np.empty_like(g)
        dB, dA = self.coordinates.blocks(out)
        multiply(self.V, X, out=dA)
        XW, dG, back = X[:, :n], dB[:n], self.back
        Wg += multiply(X, self.B)
        Wg -= multiply(multiply(self.Wt, XW.T), back[:C, n:])
        np.multiply(self.Q, Wg, out=back[C:, n:])
        back[:C, :n] = XW
        multiply(back[:, :n].T, back[:, n:], out=dG)
        np.subtract(gG, dG, out=dG)
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


def _knots(
    w: Float64[Floats, " C"], size: int
) -> tuple[Float64[Floats, " knots"], Float64[Floats, "C knots"] | None]:
    """Values of w at which inverses are made, and the share of each in the one of a row; None: each row has its own."""
    if size <= OWN_INVERSES:
        return w, None
    values = w.tolist()
    least, cuts = 1e-12 * values[-1], [0]
    for i, value in enumerate(values):
        if i and value > GROUP_RATIO * max(values[cuts[-1]], least):
            cuts.append(i)
    knots: list[float] = []
    shares = np.zeros((len(w), 2 * len(cuts)))
    for begin, end in zip(cuts, [*cuts[1:], len(w)], strict=True):
        low, high, at = values[begin], values[end - 1], len(knots)
        if size < ONE_BY_ONE_FROM and high > CLOSE_RATIO * max(low, least):
            knots += [low, high]
            part = (w[begin:end] - low) / (high - low)
            shares[begin:end, at], shares[begin:end, at + 1] = 1 - part, part
        else:
            # The rows that share it err by a factor either way.
            knots.append(math.sqrt(low * high))
            shares[begin:end, at] = 1.0
    return np.array(knots), shares[:, : len(knots)]
