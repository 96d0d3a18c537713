"""E's terms and their motion at any time between two kernels, cheaply: nothing is factored at a time in between.

On an interval without knots Op(s) = (1 - s) Op_a + s Op_b, constant by constant. A pencil makes both ends diagonal at
once, so that for a sample kernel, with Z = H X,
    H K(s)^{-1} H^T = Z diag(1/d(s)) Z^T,    H K^{-1} K' K^{-1} H^T = Z diag(d'/d(s)^2) Z^T,    d(s) = 1 - s + s d_b.
Kernels on features have a matrix B(s) on the left besides, one for each level of the operator: sym(B^{-1} Z diag(1/d) Z^T)
and its derivative. A tensor is a pencil on all of H. Source of the law: theory 11.1, 11.2.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from ntkflow._types import FeatureMatrix, Floats, Integers, Vector
from ntkflow.dynamics.levels import LevelFlow
from ntkflow.dynamics.packed import Flow, ThinFlow
from ntkflow.problem.kernels import Kernel, KroneckerKernel, MatrixBlockKernel, SampleKernel, TensorKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.thin import SampleCoordinates

# Stretches this narrow beside the time that has passed in their interval are not cut: rounding of time fills them.
NARROW = 4 * float(np.finfo(float).eps)

# Several states at once: g of them.
Packed = Float64[Floats, "g D"]
Columns = Float64[Floats, "g n q"]
Weighting = Float64[Floats, " g"]
Square = Float64[Floats, "p p"]


@dataclass(frozen=True, eq=False)
class Pencil:
    """X^T A X = 1 and X^T B X = diag(ends), so that [(1 - s) A + s B]^{-1} = X diag(1/(1 - s + s ends)) X^T.

    Attributes:
        X: one column for each pair, p x p.
        ends: eigenvalues of A^{-1} B, positive, (p,).
    """

    X: Square
    ends: Float64[Floats, " p"]

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


@dataclass(frozen=True, eq=False)
class Part:
    """Columns Z, the diagonal d between them, and a matrix B between features on the left.

    Attributes:
        left: pencil of B; None where the kernel acts on samples only.
        mix: matrix that the columns are multiplied with; None: they stay.
        start: d at the interval's begin, (q,).
        end: d at its end.
    """

    left: Pencil | None
    mix: Floats | None
    start: Vector
    end: Vector

    def sum(
        self, columns: Columns, s: Weighting, still: Weighting, moving: Weighting | None
    ) -> FeatureMatrix:
        """Sum over states of still Q - moving dQ/ds, Q = B^{-1} Z diag(1/d) Z^T at s, the state held in dQ/ds."""
        Z = columns if self.mix is None else columns @ self.mix
        d = (1 - s[:, None]) * self.start + s[:, None] * self.end
        slope = 0.0 if moving is None else (self.end - self.start) / d**2
        if self.left is None:
            factor = still[:, None] / d + (0.0 if moving is None else moving[:, None] * slope)
            # All states side by side: one product.
            return _weighted_gram(np.concatenate(Z, axis=1), factor.ravel())
        transposed = Z.transpose(0, 2, 1)
        inside = (Z / d[:, None, :]) @ transposed
        total = np.tensordot(still, self.left.inverse(s) @ inside, 1)
        if moving is None:
            return total
        turned = self.left.slope(s) @ inside
        turned += self.left.inverse(s) @ ((Z * np.broadcast_to(slope, d.shape)[:, None, :]) @ transposed)
        return total + np.tensordot(moving, turned, 1)

    def growth(self, s: float, t: float) -> float:
        """Largest factor by which an eigenvalue changes from s to t, up or down."""
        diagonals = [tuple((1 - x) * self.start + x * self.end for x in (s, t))]
        if self.left is not None:
            diagonals.append((self.left.at(s), self.left.at(t)))
        return max(float(max((b / a).max(initial=1.0), (a / b).max(initial=1.0))) for a, b in diagonals)


@dataclass(frozen=True, eq=False)
class TensorPart:
    """The one part of a tensor: Z = X^T H as one long vector."""

    pencil: Pencil

    def sum(
        self, columns: Columns, s: Weighting, still: Weighting, moving: Weighting | None
    ) -> FeatureMatrix:
        """As `Part.sum`; the columns are those of H."""
        X, d = self.pencil.X, self.pencil.at(s)
        factor = still[:, None] / d
        if moving is not None:
            factor = factor + moving[:, None] * (self.pencil.ends - 1) / d**2
        solved = ((columns.reshape(len(columns), -1) @ X) * factor) @ X.T
        return np.concatenate(solved.reshape(columns.shape), axis=1) @ np.concatenate(columns, axis=1).T

    def growth(self, s: float, t: float) -> float:
        """As `Part.growth`."""
        a, b = self.pencil.at(s), self.pencil.at(t)
        return float(max((b / a).max(), (a / b).max()))


class Terms:
    """The terms of E on one interval, from packed states of a flow.

    Args:
        flow: the packed system.
        sizes: C, m, n.
        a: the constant kernel at the interval's begin.
        b: the same at its end; `a` itself where the kernel does not move.
    """

    def __init__(self, flow: Flow, sizes: Sizes, a: Kernel, b: Kernel) -> None:
        self.sizes, self.moving = sizes, a is not b
        self.m = sizes.N / sizes.C
        blocks = flow.blocks(flow.start())
        ends = np.cumsum([0, *(block.size for block in blocks)]).tolist()
        self._cuts = [(slice(*cut), block.shape) for cut, block in zip(pairwise(ends), blocks, strict=True)]
        self._parts: list[Part | TensorPart] = list(_parts(flow, sizes, a, b))
        self._columns = _columns(flow, sizes, a)

    def weights(self, y: Packed, coefficients: Weighting) -> FeatureMatrix:
        """Sum over states of their coefficient times W^T W / m."""
        W = self._blocks(y)[-2]
        return _weighted_gram(W.reshape(-1, W.shape[2]).T, np.repeat(coefficients / self.m, W.shape[1]))

    def features(
        self, y: Packed, s: Weighting, still: Weighting, moving: Weighting | None = None
    ) -> FeatureMatrix:
        """Sum over states of still F - moving dF/ds, F = sym(Op(s)^{-1}[H] H^T) / m with the state held in dF/ds."""
        columns = self._columns(self._blocks(y))
        moving = moving if self.moving else None
        found = [part.sum(Z, s, still, moving) for part, Z in zip(self._parts, columns, strict=True)]
        total = sum(found[1:], start=found[0])
        return (total + total.T) / (2 * self.m)

    def growth(self, s: float, t: float) -> float:
        """Largest factor by which an eigenvalue of the kernel changes from s to t, up or down; 1 where none does."""
        return max(p.growth(s, t) for p in self._parts) if self.moving else 1.0

    def panels(self, s: float, t: float, growth: float) -> Iterator[tuple[float, float]]:
        """The stretch from s to t in pieces along which no eigenvalue changes by more than a factor `growth`.

        Over a longer one a quadrature feels the pole that 1/d has where an eigenvalue would be zero.
        """
        if t - s < NARROW * t or self.growth(s, t) <= growth:
            yield s, t
            return
        middle = (s + t) / 2
        yield from self.panels(s, middle, growth)
        yield from self.panels(middle, t, growth)

    def _blocks(self, y: Packed) -> list[Floats]:
        return [y[:, cut].reshape(len(y), *shape) for cut, shape in self._cuts]


def _weighted_gram(columns: np.ndarray, weights: np.ndarray) -> FeatureMatrix:
    """Z diag(weights) Z^T. With roots of weights of one sign BLAS computes one triangle of it alone."""
    sign = -1.0 if len(weights) and weights[0] < 0 else 1.0
    gram: FeatureMatrix
    if (sign * weights).min(initial=0.0) < 0:
        gram = (columns * weights) @ columns.T
        return gram
    halves = columns * np.sqrt(sign * weights)
    gram = sign * (halves @ halves.T)
    return gram


def _parts(flow: Flow, sizes: Sizes, a: Kernel, b: Kernel) -> Iterator[Part | TensorPart]:
    """The parts of the operator's inverse, in the order of `_columns`."""
    if isinstance(a, TensorKernel) and isinstance(b, TensorKernel):
        yield TensorPart(Pencil.of(a.Theta, b.Theta))
    elif isinstance(a, MatrixBlockKernel) and isinstance(b, MatrixBlockKernel):
        # On class contrasts, on the mean, on deviations: the order in which `_columns` gives them.
        order = zip((1, 2, 0), (sizes.C, 1, len(_owner(flow, sizes))), strict=True)
        ends = [kernel.levels(sizes) for kernel in (a, b)]
        for level, width in order:
            if width:
                pencil = Pencil.of(*(levels[level] for levels in ends))
                yield Part(pencil, None, np.ones(width), np.ones(width))
    elif isinstance(a, KroneckerKernel) and isinstance(b, KroneckerKernel):
        yield from _on_samples(flow, sizes, a.K, b.K, Pencil.of(a.A, b.A))
    else:
        yield from _on_samples(flow, sizes, a, b, None)


def _on_samples(flow: Flow, sizes: Sizes, a: Kernel, b: Kernel, left: Pencil | None) -> Iterator[Part]:
    if isinstance(a, SampleKernel) and isinstance(b, SampleKernel):
        pencil = Pencil.of(a.K, b.K)
        yield Part(left, pencil.X, np.ones(sizes.N), pencil.ends)
        return
    coefficients = [kernel.thin(sizes) for kernel in (a, b)]
    found = [c for c in coefficients if c is not None]
    # M^{-1} Kc is symmetric, and H1 (M^{-1} Kc)^{-1} H1^T the class means' part of H K^{-1} H^T.
    pencil = Pencil.of(*(c.class_kernel / sizes.masses[:, None] for c in found))
    yield Part(left, pencil.X, np.ones(sizes.C), pencil.ends)
    owner = _owner(flow, sizes)
    if owner.size:
        # Classes of one sample have no deviations, and their rate may be zero.
        start, end = (np.where(c.within > 0, c.within, 1.0)[owner] for c in found)
        yield Part(left, None, start, end)


def _owner(flow: Flow, sizes: Sizes) -> Integers:
    """A class for each column of the deviations, whose rate it has."""
    if isinstance(flow, ThinFlow) and not isinstance(flow.frame, SampleCoordinates):
        return np.asarray(flow.frame.column_class, dtype=np.int64)
    if isinstance(flow, LevelFlow):
        return np.zeros(flow.initial.L.shape[1], dtype=np.int64)
    return sizes.labels if sizes.N > sizes.C else np.zeros(0, dtype=np.int64)


def _columns(flow: Flow, sizes: Sizes, kernel: Kernel) -> Callable[[list[Floats]], list[Floats]]:
    """The columns of the parts of `_parts`, from the blocks of a state."""
    inner = kernel.K if isinstance(kernel, KroneckerKernel) else kernel
    if isinstance(inner, SampleKernel | TensorKernel):
        return lambda blocks: blocks[:1]
    thin = isinstance(flow, ThinFlow | LevelFlow)
    split = (lambda blocks: (blocks[0], blocks[1])) if thin else _sample_split(sizes)
    levels = isinstance(kernel, MatrixBlockKernel)

    def columns(blocks: list[Floats]) -> list[Floats]:
        H1, deviations = split(blocks)
        g = H1.mean(axis=2, keepdims=True)
        m, N = sizes.N / sizes.C, sizes.N
        means = [math.sqrt(m) * (H1 - g), math.sqrt(N) * g] if levels else [H1]
        return [*means, deviations] if deviations.shape[2] else means

    return columns


def _sample_split(sizes: Sizes) -> Callable[[list[Floats]], tuple[Floats, Floats]]:
    """Class means, and the deviation of every sample."""
    starts, several = np.array(sizes.starts), sizes.N > sizes.C

    def split(blocks: list[Floats]) -> tuple[Floats, Floats]:
        H = blocks[0]
        H1 = np.add.reduceat(H, starts, axis=2) / sizes.masses
        return H1, H - np.repeat(H1, sizes.counts, axis=2) if several else H[:, :, :0]

    return split
