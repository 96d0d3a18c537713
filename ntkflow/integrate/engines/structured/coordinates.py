"""Coordinates in which the thin system has one uniform block, and its field there.

With s = sqrt(masses) the class kernel Kc = diag(mu) + M B of the thin system becomes the symmetric
diag(s) Kc diag(s)^-1 = U diag(k) U^T. Put

    G = [H1 diag(s) U, L]  (n x q, q = C + r),   d = [k, rates],   e = [U^T s, 0],   T = [goal diag(s) U, 0];

then, with the residual P = W G + b e^T - T, eq. (25) reads

    dG/dt = -W^T P diag(d),   dW/dt = -P G^T,   db/dt = -P e,

and W^T W - G diag(d)^-1 G^T is m E. The bias is one more column of W and e one more (constant) row of G:
A = [W, b] is C x (n+1), B = [G; e^T] is (n+1) x q, P = A B - T and dA/dt = -P B^T. The flat vector is B, then A.
Biases that are held belong to the targets, T - b e^T, and the row is zero: then P is the same and db/dt = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Shaped

from ntkflow._types import Floats, Vector
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.errors import InputError
from ntkflow.integrate.engines.structured.products import multiplier

# Asymmetry of rounding size; more means that the kernel is not diag(mu) + M B, and the elimination would be wrong.
SYMMETRY_TOLERANCE = 1e-10

Columns = Float64[np.ndarray, " q"]
# Groups are the columns of H1: the classes, or every sample of a kernel without blocks.
PerGroup = Float64[np.ndarray, " G"]
GroupMatrix = Float64[np.ndarray, "G G"]
# Vectors in these coordinates; `Vector` is the packed state. Single precision belongs to the preconditioner, and whole
# numbers to tables of block sizes.
Flat = Float64[np.ndarray, " F"]
Like = Shaped[np.ndarray, " F"]


@dataclass(frozen=True, eq=False)
class Moving:
    """A kernel that changes linearly in time: U^T Kc U = base + share change, no longer diagonal.

    The share is that of the time gone by: a slope in time would overflow over the shortest of stretches.
    """

    start: float
    span: float
    base: GroupMatrix
    change: GroupMatrix
    rates: Float64[np.ndarray, " r"]
    rates_change: Float64[np.ndarray, " r"]

    def at(self, t: float) -> tuple[Columns, GroupMatrix]:
        """Vector d with the diagonal at time t, and what is off the diagonal."""
        share = (t - self.start) / self.span
        kernel = self.base + share * self.change
        diagonal = np.diagonal(kernel).copy()
        np.fill_diagonal(kernel, 0.0)
        return np.concatenate([diagonal, self.rates + share * self.rates_change]), kernel


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The change of coordinates and the constants of one system on one stretch of time.

    Attributes:
        n: feature coordinates.
        C: classes.
        groups: columns of H1: the classes, or all samples of a kernel without blocks.
        q: columns of G.
        s: square roots of the masses.
        U: eigenvectors of the symmetrised class kernel; in the middle of the stretch when it moves.
        d: rate of each column of G, for a kernel at rest.
        e: the constant row that multiplies the bias; zero where the biases are held.
        T: targets.
        decay: rates (lw, lh, lb) at which W, H and b are pulled to zero.
        moving: how the kernel moves, or None.
    """

    n: int
    C: int
    groups: int
    q: int
    s: PerGroup
    U: GroupMatrix
    d: Columns
    e: Columns
    T: Float64[np.ndarray, "C q"]
    decay: tuple[float, float, float]
    moving: Moving | None = None

    @classmethod
    def build(
        cls, system: ThinSystem, start: float = 0.0, end: float = 0.0, y: Vector | None = None
    ) -> "Coordinates":
        """From a thin system whose kernel is constant or linear in time between `start` and `end`.

        Args:
            system: the thin system.
            start: start of the stretch.
            end: its end.
            y: the packed state, whose biases enter the targets where the system holds them.

        Raises:
            InputError: the class kernel is not symmetric after weighting with the masses.
        """
        s, C, r = np.sqrt(system.masses), system.C, len(system.rates)
        groups = len(s)
        first = _symmetrised(system.at(start).class_kernel, s)
        last = _symmetrised(system.at(end).class_kernel, s) if system.schedule else first
        k, U = np.linalg.eigh((first + last) / 2)
        moving = None
        if system.schedule and end > start:
            rates, change = system.at(start).rates, system.at(end).rates - system.at(start).rates
            moving = Moving(start, end - start, U.T @ first @ U, U.T @ (last - first) @ U, rates, change)
        e, T = np.concatenate([s @ U, np.zeros(r)]), np.hstack([(system.goal * s) @ U, np.zeros((C, r))])
        d = np.concatenate([k, system.at(start).rates])
        if not system.train_bias:
            assert y is not None
            T, e = T - np.outer(system.unpack(y).b, e), np.zeros_like(e)
        return cls(system.n, C, groups, groups + r, s, U, d, e, T, system.decay, moving)

    @cached_property
    def multiply(self) -> Callable[..., np.ndarray]:
        """How matrices of this size are multiplied."""
        return multiplier(self.C * (self.n + 1) * self.q)

    @cached_property
    def split(self) -> int:
        """Where A starts in the flat vector."""
        return (self.n + 1) * self.q

    @cached_property
    def size(self) -> int:
        """Length of the flat vector."""
        return self.split + self.C * (self.n + 1)

    @property
    def conserves(self) -> bool:
        """Whether W^T W - G diag(d)^-1 G^T is constant in time."""
        return self.moving is None and not any(self.decay) and bool(self.d.min() > 0)

    def blocks(self, z: Like) -> tuple[np.ndarray, np.ndarray]:
        """Views of B, (n+1) x q, and A, C x (n+1)."""
        return z[: self.split].reshape(self.n + 1, self.q), z[self.split :].reshape(self.C, self.n + 1)

    def parts(self, z: Like) -> tuple[np.ndarray, ...]:
        """Views of H1 diag(s) U, L, W and b."""
        B, A = self.blocks(z)
        n, k = self.n, self.groups
        return B[:n, :k], B[:n, k:], A[:, :n], A[:, n]

    def cut(self, y: Float64[np.ndarray, "*several D"]) -> list[np.ndarray]:
        """The pieces H1, L, W, b of a packed thin state, flat, or of every one of a stack."""
        a, b = self.n * self.groups, self.n * self.q
        c = b + self.n * self.C
        return [y[..., :a], y[..., a:b], y[..., b:c], y[..., c:]]

    def enter(self, y: Vector) -> Flat:
        """Flat vector of a packed thin state (H1, L, W, b)."""
        z = np.empty(self.size)
        H1, *rest = self.cut(y)
        to_H1, *to = self.parts(z)
        to_H1[...] = (H1.reshape(self.n, self.groups) * self.s) @ self.U
        for target, piece in zip(to, rest, strict=True):
            target[...] = piece.reshape(target.shape)
        self.blocks(z)[0][self.n] = self.e
        return z

    def leave(
        self, z: Float64[np.ndarray, "*several F"], out: Float64[np.ndarray, "*several D"] | None = None
    ) -> Float64[np.ndarray, "*several D"]:
        """Packed thin state of a flat vector, or of every one of a stack; written to `out` where it is given."""
        lead, n, k = z.shape[:-1], self.n, self.groups
        B = z[..., : self.split].reshape(*lead, n + 1, self.q)
        A = z[..., self.split :].reshape(*lead, self.C, n + 1)
        parts = ((B[..., :n, :k] @ self.U.T) / self.s, B[..., :n, k:], A[..., :n], A[..., n])
        return np.concatenate([part.reshape(*lead, -1) for part in parts], axis=-1, out=out)

    def rates_at(self, t: float) -> Columns:
        """Vector d at time t; its off-diagonal companion is left to the field."""
        return self.d if self.moving is None else self.moving.at(t)[0]

    def field(self, t: float, z: Flat, out: Flat, share: float = 1.0) -> Flat:
        """dz/dt times a share, written to `out`, whose row for e must be zero on entry."""
        n = self.n
        B, A = self.blocks(z)
        dB, dA = self.blocks(out)
        multiply = self.multiply
        P = multiply(A, B)
        np.subtract(self.T, P, out=P)
        if share != 1:
            # Here it costs least: P is much smaller than z.
            P *= share
        multiply(P, B.T, out=dA)
        if self.moving is None:
            P *= self.d
        else:
            d, rest = self.moving.at(t)
            mixed = P[:, : self.groups] @ rest
            P *= d
            P[:, : self.groups] += mixed
        multiply(A[:, :n].T, P, out=dB[:n])
        if any(self.decay):
            lw, lh, lb = (share * rate for rate in self.decay)
            dB[:n] -= lh * B[:n]
            dA[:, :n] -= lw * A[:, :n]
            dA[:, n] -= lb * A[:, n]
        return out


def _symmetrised(kernel: GroupMatrix, s: PerGroup) -> GroupMatrix:
    scaled = kernel * (s / s[:, None])
    if not np.abs(scaled - scaled.T).max() <= SYMMETRY_TOLERANCE * np.abs(scaled).max():
        raise InputError(
            "class_kernel",
            f"matrix of shape {kernel.shape}",
            "must be diag(mu) + M B with a symmetric B",
            "use another engine for such a kernel",
        )
    result: Floats = (scaled + scaled.T) / 2
    return result
