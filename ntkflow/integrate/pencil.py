"""Two positive definite matrices made diagonal at once, and every mixture of them with them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats

Square = Float64[Floats, "p p"]
Diagonal = Float64[Floats, " p"]


@dataclass(frozen=True, eq=False)
class Pencil:
    """X^T A X = 1 and X^T B X = diag(ends), so that [(1 - s) A + s B]^{-1} = X diag(1/(1 - s + s ends)) X^T.

    Attributes:
        X: one column for each pair, p x p.
        ends: eigenvalues of A^{-1} B, positive, (p,).
    """

    X: Square
    ends: Diagonal

    @classmethod
    def of(cls, A: Square, B: Square) -> "Pencil":
        """The pencil of two symmetric positive definite matrices."""
        values, U = np.linalg.eigh((A + A.T) / 2)
        # Positive up to rounding, which must not stop a run.
        root = U / np.sqrt(np.maximum(values, np.finfo(float).eps * values[-1]))
        if np.array_equal(A, B):
            return cls(root, np.ones(len(A)))
        middle = root.T @ B @ root
        ends, V = np.linalg.eigh((middle + middle.T) / 2)
        return cls(root @ V, np.maximum(ends, np.finfo(float).eps * ends[-1]))

    def at(self, s: float | Floats) -> Floats:
        """The diagonal of X^T [(1 - s) A + s B] X at one s or, in rows, at several."""
        column: Floats = np.asarray(s, dtype=np.float64)[..., None]
        return (1 - column) + column * self.ends

    def inverse(self, s: float | Floats) -> Floats:
        """[(1 - s) A + s B]^{-1}."""
        return (self.X / self.at(s)[..., None, :]) @ self.X.T

    def slope(self, s: float | Floats) -> Floats:
        """Minus the derivative of `inverse` by s, K^{-1} K' K^{-1}."""
        return (self.X * ((self.ends - 1) / self.at(s) ** 2)[..., None, :]) @ self.X.T
