"""Symmetric matrices that commute with a family of matrices: the symmetries behind conserved quantities."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from ntkflow import views
from ntkflow._types import FeatureMatrix, Floats, Vector

# Eigenvalues or couplings below this fraction of the family's size count as equal or absent.
TOLERANCE = 1e-9
Basis = Float64[Floats, "n _"]
Symmetry = Float64[Floats, "d d"]


@dataclass(frozen=True, eq=False)
class Block:
    """One irreducible piece: x = U s U^T for every s in the span of `symmetries`.

    Attributes:
        U: orthonormal basis of the piece, n x d.
        symmetries: None when every symmetric d x d matrix s qualifies, else those that do.
    """

    U: Basis
    symmetries: tuple[Symmetry, ...] | None

    __repr__ = views.short

    def project(self, F: FeatureMatrix) -> Vector:
        """Entries of U^T F U on and above the diagonal, or tr(s U^T F U) for each s."""
        inside = self.U.T @ F @ self.U
        if self.symmetries is None:
            return inside[np.triu_indices(inside.shape[0])]
        return np.array([float(np.vdot(s, inside)) for s in self.symmetries])

    @property
    def weights(self) -> Vector:
        """What the square of each number of `project` counts in a squared Frobenius norm.

        An entry off the diagonal stands for two; tr(s F) is <s, F>, whose share in the direction s is <s, F>/|s|.
        """
        # All of a symmetric matrix, but each pair of equal entries once.
        if self.symmetries is None:
            rows, columns = np.triu_indices(self.U.shape[1])
            return np.where(rows == columns, 1.0, 2.0)
        return np.array([1 / float(np.vdot(s, s)) for s in self.symmetries])

    @property
    def count(self) -> int:
        """How many numbers `project` gives."""
        k = self.U.shape[1]
        return k * (k + 1) // 2 if self.symmetries is None else len(self.symmetries)

    def names(self, label: str) -> list[str]:
        """A name for each number that `project` gives."""
        if self.symmetries is None:
            rows, columns = np.triu_indices(self.U.shape[1])
            return [f"{label}[{i},{j}]" for i, j in zip(rows, columns, strict=True)]
        if len(self.symmetries) == 1:
            return [f"tr {label}"]
        return [f"tr x{i} {label}" for i in range(len(self.symmetries))]


@dataclass(frozen=True, eq=False)
class Commutant:
    """All symmetric x that commute with a family, as a direct sum of blocks."""

    blocks: tuple[Block, ...]

    __repr__ = views.short

    @cached_property
    def count(self) -> int:
        """How many numbers `project` gives."""
        return sum(block.count for block in self.blocks)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers of `project`; blocks are numbered when there are several."""
        several = len(self.blocks) > 1
        return tuple(
            name for i, block in enumerate(self.blocks) for name in block.names(f"E_{i}" if several else "E")
        )

    def project(self, F: FeatureMatrix) -> Vector:
        """tr(x F) for a basis of the x, (k,)."""
        return np.concatenate([block.project(F) for block in self.blocks])

    @cached_property
    def _roots(self) -> Vector:
        result: Floats = np.sqrt(np.concatenate([block.weights for block in self.blocks]))
        return result

    def coordinates(self, F: FeatureMatrix) -> Vector:
        """F's orthogonal projection on the commutant in an orthonormal basis of it, (k,)."""
        return self._roots * self.project(F)

    def norm(self, values: Float64[Floats, "*T k"]) -> Float64[Floats, "*T"]:
        """Frobenius norm of the projection whose numbers `project` gave; |F|_F where every x commutes.

        It does not depend on the basis of features or of the x, as the norm of the bare numbers would: their
        triangle of a symmetric matrix has each entry off the diagonal once.
        """
        return np.asarray(np.linalg.norm(self._roots * values, axis=-1))


def commutant(family: Sequence[FeatureMatrix], n: int) -> Commutant:
    """The symmetric commutant of a family of n x n matrices and their transposes.

    x commutes with a generic symmetric member A of the family's span, so it is block diagonal in A's
    eigenspaces; what else is left to require couples eigenspaces that some member connects.

    Args:
        family: the matrices; none means that every symmetric x commutes.
        n: their size.

    Returns:
        The x in blocks, one for each set of eigenspaces that the family connects.
    """
    if not family:
        return Commutant((Block(np.eye(n), None),))
    size, tiny = max(float(np.abs(A).max(initial=0.0)) for A in family), np.finfo(float).tiny
    # Fixed weights: the result must not depend on a seed, and coincidences have measure zero. Each member counts with its
    # own size, so that a small one is not lost in the rounding of a large one.
    shares = np.random.default_rng(20230611).uniform(0.5, 1.5, len(family))
    members = zip(shares, family, strict=True)
    generic = sum(share * (A + A.T) / max(float(np.linalg.norm(A)), tiny) for share, A in members)
    values, vectors = np.linalg.eigh(np.asarray(generic))
    gaps = np.diff(values) > TOLERANCE * max(float(np.abs(values).max()), tiny)
    spaces = np.split(vectors, np.flatnonzero(gaps) + 1, axis=1)
    linked = _linked(family, spaces, size)
    return Commutant(tuple(_block([spaces[i] for i in piece], family, size) for piece in _pieces(linked)))


def _linked(family: Sequence[FeatureMatrix], spaces: list[Basis], size: float) -> list[list[bool]]:
    """Whether some member connects two eigenspaces, for every pair."""
    V = np.hstack(spaces)
    coupling = np.zeros((V.shape[1], V.shape[1]))
    for A in family:
        coupling = np.maximum(coupling, np.abs(V.T @ A @ V))
    starts = np.cumsum([0, *(space.shape[1] for space in spaces[:-1])])
    between = np.maximum.reduceat(np.maximum.reduceat(coupling, starts, axis=0), starts, axis=1)
    linked: list[list[bool]] = (np.maximum(between, between.T) > TOLERANCE * size).tolist()
    return linked


def _pieces(linked: list[list[bool]]) -> list[list[int]]:
    """Connected components of the graph of eigenspaces, each sorted, in order of their first member."""
    pieces: list[list[int]] = []
    seen: set[int] = set()
    for start in range(len(linked)):
        if start in seen:
            continue
        piece, frontier = {start}, [start]
        while frontier:
            i = frontier.pop()
            new = {j for j, is_linked in enumerate(linked[i]) if is_linked} - piece
            piece |= new
            frontier.extend(new)
        seen |= piece
        pieces.append(sorted(piece))
    return pieces


def _block(spaces: list[Basis], family: Sequence[FeatureMatrix], size: float) -> Block:
    U = np.hstack(spaces)
    d = U.shape[1]
    inside = [U.T @ A @ U for A in family]
    # Three cases, cheapest first: almost every kernel ends in one of the first two, and no linear system is solved.
    scalar = all(np.abs(A - np.trace(A) / d * np.eye(d)).max() <= TOLERANCE * size for A in inside)
    if scalar:
        return Block(U, None)
    if all(space.shape[1] == 1 for space in spaces):
        # Distinct eigenvalues, all connected: x has one value on the whole piece.
        return Block(U, (np.eye(d),))
    return Block(U, _solve(inside, [space.shape[1] for space in spaces], size))


def _solve(family: Sequence[Symmetry], dims: list[int], size: float) -> tuple[Symmetry, ...]:
    """Block diagonal symmetric s with [s, A] = 0 for all A: the null space of a linear map."""
    d, basis = sum(dims), []
    for start, dim in zip(np.cumsum([0, *dims[:-1]]), dims, strict=True):
        for i in range(dim):
            for j in range(i, dim):
                s = np.zeros((d, d))
                # Orthonormal in <.,.>, so that the columns' Gram matrix weighs all symmetries alike.
                s[start + i, start + j] = s[start + j, start + i] = 1.0 if i == j else np.sqrt(0.5)
                basis.append(s)
    gram = np.zeros((len(basis), len(basis)))
    for A in family:
        columns = np.stack([(s @ A - A @ s).ravel() for s in basis], axis=1) / size
        gram += columns.T @ columns
    values, vectors = np.linalg.eigh(gram)
    # Squared residuals, hence the square of the tolerance, but not below what eigh resolves.
    null = vectors[:, values <= max(TOLERANCE**2, 1e-13 * max(values[-1], 1.0))]
    return tuple(np.tensordot(column, np.stack(basis), axes=1) for column in null.T)
