"""The norm of the error control, and the modified Newton iteration of one step."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats
from ntkflow.integrate.engines.structured.coordinates import Coordinates, Flat
from ntkflow.integrate.engines.structured.newton_system import NewtonSystem
from ntkflow.problem.thin import SQUARES_VANISH

MOST_ITERATIONS = 4
# Share of the error tolerance left to the iteration.
NEWTON_SHARE = 0.1
# A factorised matrix serves until sigma has moved by this factor or it has seen this many steps. Where the
# solution drifts along a very stiff manifold even one step is too many: a failure lowers the number of
# steps to what worked, and every new matrix raises it again a little.
SIGMA_CHANGE = 0.15
OLDEST = 30.0
PATIENCE_FACTOR, PATIENCE_TERM = 1.2, 0.1
# A new matrix is as good as the one before it: of what is known of its convergence so much is kept, as a power, and most steps
# take one iteration. Source: Hairer and Wanner, Solving Ordinary Differential Equations II, section IV.8, whose power this is.
RATE_KEPT = 0.8


class BlockNorm:
    """Root mean square of e / (atol + rtol rms(block)), with one scale for each of H1, L, W, b.

    A scale per block and not per entry: the steps then do not depend on the basis of feature space, and
    entries that pass through zero don't shrink them. H1 counts with the roots of the masses.

    Args:
        coordinates: the layout of flat vectors.
        rtol: relative tolerance.
        atol: absolute tolerance of each block.
    """

    def __init__(self, coordinates: Coordinates, rtol: float, atol: Float64[Floats, "4"]) -> None:
        self.coordinates, self.rtol = coordinates, rtol
        self.atol = atol.copy()
        self.atol[0] *= math.sqrt(float(np.mean(coordinates.s**2)))
        # The row of e has no block and weighs nothing.
        self.weights = np.zeros(coordinates.size)
        self._views = coordinates.parts(self.weights)
        counts = np.array([view.size for view in self._views])
        self._there, self._counts = counts > 0, np.maximum(counts, 1)
        self._root = math.sqrt(counts.sum())
        n, k, q = coordinates.n, coordinates.groups, coordinates.q
        # Columns of B, then of A, at which a block begins; where it has none the next is summed, and cleared.
        self._begins = np.array([0, k, q, q + n])
        self._squares, self._columns = np.empty(coordinates.size), np.empty(q + n + 1)
        self._ones = np.ones(max(n, coordinates.C))

    def update(self, z: Flat) -> None:
        """Take the sizes of the blocks from z."""
        n, C, q = self.coordinates.n, self.coordinates.C, self.coordinates.q
        B, A = self.coordinates.blocks(np.multiply(z, z, out=self._squares))
        np.matmul(self._ones[:n], B[:n], out=self._columns[:q])
        np.matmul(self._ones[:C], A, out=self._columns[q:])
        rms = np.sqrt(np.add.reduceat(self._columns, self._begins) * self._there / self._counts)
        if rms.min() <= SQUARES_VANISH:
            # Squares of tiny states vanish; their largest entry is as good a size.
            largest = np.array([np.abs(block).max(initial=0.0) for block in self.coordinates.parts(z)])
            rms = np.where(rms > SQUARES_VANISH, rms, largest)
        scales = 1 / (self._root * (self.atol + self.rtol * rms))
        for view, scale in zip(self._views, scales.tolist(), strict=True):
            view[...] = scale

    def __call__(self, e: Flat) -> float:
        """Norm of a difference of two states; 1 is the tolerance."""
        scaled = e * self.weights
        return math.sqrt(scaled @ scaled)


@dataclass
class Work:
    """What an integration has cost.

    Attributes:
        fields: evaluations of the field.
        matrices: matrices prepared, each from a new Jacobian.
    """

    fields: int = 0
    matrices: int = 0


class Correction(NamedTuple):
    """What a step adds to the predicted value.

    Attributes:
        d: the correction.
        size: its norm.
    """

    d: Flat
    size: float


class Corrector:
    """Solves the formula of a step for its correction, reusing matrices across steps.

    Args:
        coordinates: the system's constants.
        work: counters to add to.
    """

    def __init__(self, coordinates: Coordinates, work: Work) -> None:
        self.coordinates, self.work = coordinates, work
        self._matrix: NewtonSystem | None = None
        self._age, self._patience = 0, OLDEST
        self._rate = 1.0
        self._slope = np.zeros(coordinates.size)

    def correct(
        self, t: float, predicted: Flat, known: Flat, sigma: float, norm: BlockNorm
    ) -> Correction | None:
        """Find d with sigma d + known = f(t, predicted + d); None when Newton's iteration does not converge."""
        self._age += 1
        matrix = self._matrix
        if (
            matrix is not None
            and self._age <= self._patience
            and abs(sigma / matrix.sigma - 1) <= SIGMA_CHANGE
        ):
            if (found := self._iterate(t, predicted, known, sigma, norm)) is not None:
                return found
            self._patience, self._rate = self._age - 1.0, 1.0
        self._patience = min(OLDEST, PATIENCE_FACTOR * self._patience + PATIENCE_TERM)
        try:
            self._matrix = NewtonSystem(self.coordinates, t, predicted, sigma)
        except np.linalg.LinAlgError:
            return None
        self.work.matrices += 1
        self._age, self._rate = 0, self._rate**RATE_KEPT
        return self._iterate(t, predicted, known, sigma, norm)

    def _iterate(
        self, t: float, predicted: Flat, known: Flat, sigma: float, norm: BlockNorm
    ) -> Correction | None:
        matrix = self._matrix
        assert matrix is not None
        z, d, before = predicted, None, math.inf
        # A matrix of another sigma overshoots stiff components and undershoots the others; this splits it.
        relaxation = 2 * matrix.sigma / (matrix.sigma + sigma)
        for _ in range(MOST_ITERATIONS):
            rest = self.coordinates.field(t, z, self._slope)
            # In place: neither has anything in the row of e, which must stay zero.
            rest -= known
            if d is not None:
                rest -= sigma * d
            self.work.fields += 1
            change = matrix.solve(rest)
            if change is None:
                return None
            if relaxation != 1:
                change *= relaxation
            d = change if d is None else d + change
            size = norm(change)
            # Kept from step to step and forgotten by a factor at a time, as in CVODE: with it one iteration can be enough.
            if before < math.inf:
                self._rate = max(0.3 * self._rate, size / before)
            if not (math.isfinite(size) and size <= before):
                return None
            if size * min(1.0, self._rate) <= NEWTON_SHARE:
                return Correction(d, size if d is change else norm(d))
            z, before = predicted + d, size
        return None
