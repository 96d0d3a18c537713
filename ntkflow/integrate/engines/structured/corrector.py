"""The norm of the error control, and the modified Newton iteration of one step."""

import math
from dataclasses import dataclass

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
        self.weights = np.zeros(coordinates.size)
        # The row of e has a block of its own, which weighs nothing.
        self._block = np.full(coordinates.size, 4)
        for number, view in enumerate(coordinates.parts(self._block)):
            view[...] = number
        counts = np.bincount(self._block, minlength=5)[:4]
        self._counts, self._root = np.maximum(counts, 1), math.sqrt(counts.sum())
        self._scales = np.zeros(5)

    def update(self, z: Flat) -> None:
        """Take the sizes of the blocks from z."""
        rms = np.sqrt(np.bincount(self._block, z * z, minlength=5)[:4] / self._counts)
        if rms.min() <= SQUARES_VANISH:
            # Squares of tiny states vanish; their largest entry is as good a size.
            largest = np.zeros(5)
            np.maximum.at(largest, self._block, np.abs(z))
            rms = np.where(rms > SQUARES_VANISH, rms, largest[:4])
        self._scales[:4] = 1 / (self._root * (self.atol + self.rtol * rms))
        np.take(self._scales, self._block, out=self.weights, mode="clip")

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

    def correct(self, t: float, predicted: Flat, known: Flat, sigma: float, norm: BlockNorm) -> Flat | None:
        """Find d with sigma d + known = f(t, predicted + d); None when Newton's iteration does not converge."""
        self._age += 1
        matrix = self._matrix
        if (
            matrix is not None
            and self._age <= self._patience
            and abs(sigma / matrix.sigma - 1) <= SIGMA_CHANGE
        ):
            if (d := self._iterate(t, predicted, known, sigma, norm)) is not None:
                return d
            self._patience, self._rate = self._age - 1.0, 1.0
        self._patience = min(OLDEST, PATIENCE_FACTOR * self._patience + PATIENCE_TERM)
        try:
            self._matrix = NewtonSystem(self.coordinates, t, predicted, sigma)
        except np.linalg.LinAlgError:
            return None
        self.work.matrices += 1
        self._age, self._rate = 0, self._rate**RATE_KEPT
        return self._iterate(t, predicted, known, sigma, norm)

    def _iterate(self, t: float, predicted: Flat, known: Flat, sigma: float, norm: BlockNorm) -> Flat | None:
        matrix = self._matrix
        assert matrix is not None
        z, d, before = predicted.copy(), np.zeros_like(predicted), math.inf
        # A matrix of another sigma overshoots stiff components and undershoots the others; this splits it.
        relaxation = 2 * matrix.sigma / (matrix.sigma + sigma)
        for _ in range(MOST_ITERATIONS):
            rest = self.coordinates.field(t, z, self._slope) - known
            rest -= sigma * d
            self.work.fields += 1
            change = matrix.solve(rest)
            if change is None:
                return None
            if relaxation != 1:
                change *= relaxation
            z += change
            d += change
            size = norm(change)
            # Kept from step to step and forgotten by a factor at a time, as in CVODE: with it one iteration can be enough.
            if before < math.inf:
                self._rate = max(0.3 * self._rate, size / before)
            if not (math.isfinite(size) and size <= before):
                return None
            if size * min(1.0, self._rate) <= NEWTON_SHARE:
                return d
            before = size
        return None
