"""Arrays with one row for each slot, and what they hold of a system: the stacked `Coordinates`.

No product here, or in the other modules of this engine, has the slots as a dimension of a matrix: numpy multiplies the
matrices of a stack one by one, so that the digits of one slot do not depend on what lies in the others.
"""

import math
from dataclasses import dataclass

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from ntkflow.problem.thin import SQUARES_VANISH


@dataclass(frozen=True)
class Shape:
    """What systems must have in common to lie in one stack.

    Attributes:
        n: feature coordinates.
        C: rows of W.
        groups: columns of H1.
        q: columns of G = [H1, L].
        moving: whether the kernel moves.
    """

    n: int
    C: int
    groups: int
    q: int
    moving: bool = False

    @classmethod
    def of(cls, coordinates: Coordinates) -> "Shape":
        """Of one system."""
        c = coordinates
        return cls(c.n, c.C, c.groups, c.q, c.moving is not None)

    @property
    def split(self) -> int:
        """Where A starts in the flat vector."""
        return (self.n + 1) * self.q

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return self.split + self.C * (self.n + 1)

    @property
    def beside(self) -> int:
        """Entries of the state that are no part of the flat vector, and count in its norm."""
        return 0

    def blocks(self, z: Floats) -> tuple[Floats, Floats]:
        """Views of B, (..., n+1, q), and A, (..., C, n+1); see `structured.coordinates`."""
        lead, n = z.shape[:-1], self.n
        return z[..., : self.split].reshape(*lead, n + 1, self.q), z[..., self.split :].reshape(
            *lead, self.C, n + 1
        )


def transposed(A: Floats) -> Floats:
    """Every matrix of a stack transposed."""
    return A.swapaxes(-1, -2)


class PerSlot:
    """Holds named arrays whose first axis is the slot; slots that are not needed any more are cut out of all of them.

    Args:
        slots: how many there are.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._names: list[str] = []

    def hold(self, name: str, *shape: int, kind: type = float) -> None:
        """Make the array `name` of zeros, (slots, *shape)."""
        setattr(self, name, np.zeros((self.slots, *shape), kind))
        self._names.append(name)

    def keep(self, staying: Integers) -> None:
        """Cut out all slots but these."""
        for name in self._names:
            setattr(self, name, getattr(self, name)[staying])
        self.slots = len(staying)


class Systems(PerSlot):
    """The constants of the systems in the slots, and their field.

    Attributes:
        d, T, decay: as in `Coordinates`.
        conserves: whether E stays put.
    """

    d: Floats
    T: Floats
    decay: Floats
    conserves: Floats
    start: Floats
    span: Floats
    base: Floats
    change: Floats
    first: Floats
    slope: Floats

    def __init__(self, shape: Shape, slots: int) -> None:
        super().__init__(slots)
        self.shape = shape
        self.hold("d", shape.q)
        self.hold("T", shape.C, shape.q)
        self.hold("decay", 3)
        self.hold("conserves", kind=bool)
        self.decays = False
        if shape.moving:
            self.hold("start")
            self.hold("span")
            self.hold("base", shape.groups, shape.groups)
            self.hold("change", shape.groups, shape.groups)
            self.hold("first", shape.q - shape.groups)
            self.hold("slope", shape.q - shape.groups)

    def put(self, slot: int, coordinates: Coordinates) -> None:
        """Fill a slot."""
        c = coordinates
        self.d[slot], self.T[slot], self.decay[slot] = c.d, c.T, c.decay
        self.conserves[slot] = c.conserves
        self.decays = self.decays or any(c.decay)
        if c.moving is not None:
            m = c.moving
            self.start[slot], self.span[slot] = m.start, m.span
            self.base[slot], self.change[slot] = m.base, m.change
            self.first[slot], self.slope[slot] = m.rates, m.rates_change

    def rates(self, i: Integers | slice, t: Floats) -> Floats:
        """Vectors d of slots at their times; what is off the diagonal of a moving kernel is left to the field."""
        return self.d[i] if not self.shape.moving else self._kernels(i, t)[0]

    def _kernels(self, i: Integers | slice, t: Floats) -> tuple[Floats, Floats]:
        share = ((t - self.start[i]) / self.span[i])[:, None]
        kernel = self.base[i] + share[:, :, None] * self.change[i]
        k = np.arange(self.shape.groups)
        diagonal = kernel[:, k, k]
        kernel[:, k, k] = 0.0
        return np.concatenate([diagonal, self.first[i] + share * self.slope[i]], axis=1), kernel

    def field(self, i: Integers | slice, t: Floats, z: Floats, out: Floats) -> Floats:
        """dz/dt of slots, written to `out`; as `Coordinates.field`."""
        n = self.shape.n
        B, A = self.shape.blocks(z)
        dB, dA = self.shape.blocks(out)
        P = self.T[i] - A @ B
        np.matmul(P, transposed(B), out=dA)
        if self.shape.moving:
            k = self.shape.groups
            d, rest = self._kernels(i, t)
            mixed = P[..., :k] @ rest
            P *= d[:, None]
            P[..., :k] += mixed
        else:
            P *= self.d[i][:, None]
        np.matmul(transposed(A[..., :n]), P, out=dB[:, :n])
        dB[:, n] = 0.0
        # Zero rates take nothing away: a slot without decay has the same digits beside one with it.
        if self.decays:
            lw, lh, lb = self.decay[i].T[:, :, None, None]
            dB[:, :n] -= lh * B[:, :n]
            dA[..., :n] -= lw * A[..., :n]
            dA[..., n:] -= lb * A[..., n:]
        return out

    def losses(self, i: Integers, z: Floats) -> Floats:
        """The loss (4) of every slot."""
        B, A = self.shape.blocks(z)
        P = A @ B - self.T[i]
        result: Floats = np.einsum("bij,bij->b", P, P) / 2
        return result

    def terms(self, i: Integers, z: Floats) -> tuple[Floats, Floats]:
        """The two terms of m E, W^T W and G diag(d)^-1 G^T."""
        B, A = self.shape.blocks(z)
        G, W = B[:, : self.shape.n], A[..., : self.shape.n]
        return transposed(W) @ W, (G / self.d[i][:, None]) @ transposed(G)


class Norms(PerSlot):
    """`BlockNorm` of every slot.

    Attributes:
        weights: by which a flat vector is multiplied before its norm is taken.
        rtol: relative tolerance.
        atol: absolute tolerance of each block.
    """

    weights: Floats
    rtol: Floats
    atol: Floats

    def __init__(self, shape: Shape, slots: int) -> None:
        super().__init__(slots)
        self.hold("weights", shape.size)
        self.hold("rtol")
        self.hold("atol", 4)
        n, k = shape.n, shape.groups
        self.block = np.full(shape.size, 4)
        B, A = shape.blocks(self.block)
        B[:n, :k], B[:n, k:], A[:, :n], A[:, n] = 0, 1, 2, 3
        counts = np.bincount(self.block, minlength=5)[:4]
        self._counts, self._root = np.maximum(counts, 1), math.sqrt(counts.sum() + shape.beside)
        self._there = counts > 0
        self._belongs = (self.block == np.arange(4)[:, None]).astype(float)

    def put(self, slot: int, coordinates: Coordinates, rtol: float, atol: Floats) -> None:
        """Fill a slot; `atol` is that of the packed blocks H1, L, W, b."""
        self.rtol[slot], self.atol[slot] = rtol, atol
        self.atol[slot, 0] *= math.sqrt(float(np.mean(coordinates.s**2)))

    def update(self, i: Integers, z: Floats) -> Floats:
        """Take the sizes of the blocks from z; the sums of their squares, (len(i), 4)."""
        squares: Floats = (self._belongs @ (z * z)[..., None])[..., 0]
        rms = np.sqrt(squares / self._counts)
        # Squares of tiny states vanish; their largest entry is as good a size.
        tiny = (rms <= SQUARES_VANISH) & self._there
        for row in np.flatnonzero(tiny.any(axis=1)) if tiny.any() else ():
            largest = np.zeros(5)
            np.maximum.at(largest, self.block, np.abs(z[row]))
            rms[row] = np.where(rms[row] > SQUARES_VANISH, rms[row], largest[:4])
        # An entry's one block is all that it takes from this product: it changes no digit.
        self.weights[i] = (1 / (self._root * (self.atol[i] + self.rtol[i][:, None] * rms))) @ self._belongs
        return squares

    def of(self, e: Floats, i: Integers | slice = slice(None)) -> Floats:
        """Norms of differences of two states; 1 is the tolerance."""
        scaled = e * self.weights[i]
        result: Floats = np.sqrt((scaled[:, None] @ scaled[..., None])[:, 0, 0])
        return result
