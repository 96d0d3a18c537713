"""The thin system on one leaf of constant E, where the deviations enter through S = L L^T alone (theory 3.1, 4.2).

In the notation of `structured.coordinates`, with G = [G1, L], d = [kd, delta, ..., delta], e = [e1, 0] and T = [T1, 0]: what
is conserved, m E = W^T W - G diag(d)^-1 G^T, gives

    S = L L^T = delta (W^T W - m E - G1 diag(kd)^-1 G1^T),

and with P = W G1 + b e1^T - T1 the system closes without L:

    dG1/dt = -W^T P diag(kd),   dW/dt = -P G1^T - W S,   db/dt = -P e1,   dL/dt = -delta W^T W L.

Feature space is turned into the eigenvectors of m E, so that W S is thin products alone. The flat vector that is integrated is
[G1; e1^T], then A = [W, b]; that of states at saved times has L after it.
"""

import math
import sys
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats, Vector
from ntkflow.errors import InputError
from ntkflow.integrate.engines.lockstep.slots import Shape
from ntkflow.integrate.engines.structured.coordinates import Coordinates, Flat

# S is a difference of terms that E may dwarf: what rounding makes of it in the whole time is to stay below this share of rtol.
ROUNDING_SHARE = 0.1
# Errors of W and G1, of size rtol |W|^2, make S negative that solve's L L^T never is. A row v of V^T W then grows at their rate,
# until delta |v|^2 has taken S away: of |W| it is off by up to rtol (delta |W|^2 t)^(1/2). Of 1500 random problems those with
# more than this of delta |W|^2 t, or whose weights outweigh the features so that m E is positive by a larger share of its most
# negative eigenvalue, were off by up to 91 rtol, and the others by no more than 3.3 (solve's by up to 56).
LONGEST = 1000.0
POSITIVE = 0.1


@dataclass(frozen=True)
class LeafShape(Shape):
    """What systems must have in common; q counts the columns of G1 alone.

    Attributes:
        r: columns of L.
    """

    r: int = 0

    @property
    def beside(self) -> int:
        """Entries of L: a tolerance means what it means where they are integrated too."""
        return self.n * self.r

    @classmethod
    def of(cls, coordinates: Coordinates) -> "LeafShape":
        """Of one system."""
        c = coordinates
        assert isinstance(c, OnLeaf)
        return cls(c.n, c.C, c.groups, c.q, False, c.whole.q - c.whole.groups)


@dataclass(frozen=True, eq=False)
class OnLeaf(Coordinates):
    """One system, on the leaf of its initial state.

    Attributes:
        whole: the coordinates with L.
        turn: the eigenvectors of m E.
        mE: its eigenvalues.
        delta: the one rate of all columns of L.
    """

    whole: Coordinates = field(kw_only=True)
    turn: Float64[np.ndarray, "n n"] = field(kw_only=True)
    mE: Float64[np.ndarray, " n"] = field(kw_only=True)
    delta: float = field(kw_only=True)

    @classmethod
    def of(cls, c: Coordinates, y: Vector, t_end: float, rtol: float) -> "OnLeaf":
        """The leaf of a packed state.

        Args:
            c: its system, that conserves E and whose L has one rate.
            y: the state.
            t_end: how long it is to be followed.
            rtol: to which tolerance.

        Raises:
            InputError: the elimination is not safe there.
        """
        z = c.enter(y)
        (B, A), n, k = c.blocks(z), c.n, c.groups
        W, G = A[:, :n], B[:n]
        kd, delta = c.d[:k], float(c.d[-1])
        mE = W.T @ W - (G / c.d) @ G.T
        good = bool(np.all(np.isfinite(mE)))
        e, turn = np.linalg.eigh(mE) if good else (np.zeros(n), np.eye(n))
        rounding = sys.float_info.epsilon * delta * float(np.abs(e).max()) * t_end
        good = good and rounding <= ROUNDING_SHARE * rtol and bool(e[-1] <= -POSITIVE * e[0])
        # Small weights grow to about the size that they have where E = 0.
        weights = max(
            float(np.linalg.norm(W @ W.T, 2)), float(np.linalg.norm(c.T[:, :k], 2)) / math.sqrt(kd.min())
        )
        # The preconditioner takes the terms of G1 for positive.
        if not (good and delta * weights * t_end <= LONGEST and kd.min() >= delta):
            raise InputError(
                "state",
                f"with n = {n}",
                "must have m E negative, or nearly so, weights and times not too large, and no eigenvalue below mu_single",
                "solve it alone",
            )
        return cls(
            n, c.C, k, k, c.s, c.U, kd, c.e[:k], c.T[:, :k], c.decay,
            whole=c, turn=turn, mE=e, delta=delta,
        )  # fmt: skip

    def enter(self, y: Vector) -> Flat:
        """Flat vector of a packed thin state, with L."""
        G1, L, W, b = self.whole.parts(self.whole.enter(y))
        B = np.vstack([self.turn.T @ G1, self.e])
        A = np.hstack([W @ self.turn, b[:, None]])
        return np.concatenate([B.ravel(), A.ravel(), (self.turn.T @ L).ravel()])

    def leave(
        self, z: Float64[np.ndarray, "*several F"], out: Float64[np.ndarray, "*several D"] | None = None
    ) -> Float64[np.ndarray, "*several D"]:
        """Packed thin state of a flat vector with L, or of every one of a stack; written to `out` where it is given."""
        lead, n = z.shape[:-1], self.n
        B, A = self.blocks_of(z)
        L = z[..., self.size :].reshape(*lead, n, -1)
        y = np.empty((*lead, n * self.whole.q + self.C * (n + 1))) if out is None else out
        # Straight to where they belong: at many times this is as much as all else that is known of a run.
        H1, deviations, W, b = (
            piece.reshape(*lead, -1, piece.shape[-1] // rows)
            for piece, rows in zip(self.whole.cut(y), (n, n, self.C, self.C), strict=True)
        )
        np.matmul(self.turn, B[..., :n, :] @ (self.U.T / self.s), out=H1)
        np.matmul(self.turn, L, out=deviations)
        np.matmul(A[..., :n], self.turn.T, out=W)
        b[..., 0] = A[..., n]
        return y

    def blocks_of(self, z: Floats) -> tuple[Floats, Floats]:
        """Views of [G1; e1^T] and A of a stack of flat vectors."""
        return LeafShape.of(self).blocks(z[..., : self.size])
