"""The norm of the error control, and the modified Newton iteration of one step."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats
from ntkflow.integrate.engines.structured.coordinates import Coordinates, Flat
from ntkflow.integrate.engines.structured.formulas import Differences
from ntkflow.integrate.engines.structured.newton_system import NewtonSystem
from ntkflow.problem.thin import SQUARES_VANISH

MOST_ITERATIONS = 4
# Share of the error tolerance left to the iteration.
NEWTON_SHARE = 0.1
# A factorised matrix serves until sigma has moved by this factor or it has seen this many steps. Where the
# solution drifts along a very stiff manifold even one step is too many: a failure lowers the number of
# steps to what worked, and every new matrix raises it again a little.
SIGMA_CHANGE = 0.15
# Steps that are even in log time lower sigma from step to step: a matrix is made for one that they come to later, serves between
# these ratios to its own, and is solved no better than that.
SIGMA_AHEAD, SIGMA_BELOW, SIGMA_ABOVE, LOOSE_TOLERANCE = 0.85, 0.8, 1.25, 0.1
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

    Attributes:
        of_biases: weight of b, whose few entries may be off by more than others in the mean over all.
    """

    def __init__(self, coordinates: Coordinates, rtol: float, atol: Float64[Floats, "4"]) -> None:
        self.coordinates, self.rtol, self.of_biases = coordinates, rtol, 1.0
        self.atol = atol.copy()
        self.atol[0] *= math.sqrt(float(np.mean(coordinates.s**2)))
        # The row of e has no block and weighs nothing.
        self.weights = np.zeros(coordinates.size)
        self._views = coordinates.parts(self.weights)
        counts = np.array([view.size for view in self._views])
        self._per_entry = (counts > 0) / np.maximum(counts, 1)
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
        rms = np.sqrt(np.add.reduceat(self._columns, self._begins) * self._per_entry)
        if rms.min() <= SQUARES_VANISH:
            # Squares of tiny states vanish; their largest entry is as good a size.
            largest = np.array([np.abs(block).max(initial=0.0) for block in self.coordinates.parts(z)])
            rms = np.where(rms > SQUARES_VANISH, rms, largest)
        scales = 1 / (self._root * (self.atol + self.rtol * rms))
        if self.of_biases != 1:
            scales[3] *= self.of_biases
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


class Formula(NamedTuple):
    """The formula of a step, sigma d + known = f(t, predicted + d).

    Attributes:
        t: the time it leads to.
        D: backward differences.
        weights: shares of them in the predicted value, and in `known` times the step.
        step: the step, in units of time there.
        sigma: leading coefficient over the step.
        even: whether steps are even in log time.
    """

    t: float
    D: Differences
    weights: Float64[Floats, "2 k"]
    step: float
    sigma: float
    even: bool = False

    @property
    def predicted(self) -> Flat:
        """The predicted value."""
        value: Flat = self.weights[0] @ self.D
        return value


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

    def correct(self, formula: Formula, norm: BlockNorm) -> Correction | None:
        """The correction d that solves a formula; None when Newton's iteration does not converge."""
        self._age += 1
        matrix = self._matrix
        if matrix is not None and self._age <= self._patience and _serves(matrix, formula):
            if (found := self._iterate(matrix, formula, norm)) is not None:
                return found
            self._patience, self._rate = self._age - 1.0, 1.0
        self._patience = min(OLDEST, PATIENCE_FACTOR * self._patience + PATIENCE_TERM)
        predicted, sigma = formula.predicted, formula.sigma
        try:
            if formula.even:
                made = NewtonSystem(
                    self.coordinates, formula.t, predicted, SIGMA_AHEAD * sigma, LOOSE_TOLERANCE
                )
            else:
                made = NewtonSystem(self.coordinates, formula.t, predicted, sigma)
        except np.linalg.LinAlgError:
            return None
        self._matrix = made
        self.work.matrices += 1
        self._age, self._rate = 0, self._rate**RATE_KEPT
        return self._iterate(made, formula, norm)

    def _iterate(self, matrix: NewtonSystem, formula: Formula, norm: BlockNorm) -> Correction | None:
        t, sigma = formula.t, formula.sigma
        # A matrix of another sigma overshoots stiff components and undershoots the others; this splits it.
        relaxation = 2 * matrix.sigma / (matrix.sigma + sigma)
        # Everything is divided at once by what the elimination would divide by, and where that costs least.
        share = relaxation / matrix.unit
        value, slope = formula.weights
        predicted, known = np.array([value, slope * (share / formula.step)]) @ formula.D
        # How fast the iteration converges for another sigma is known, and in log time it changes from step to step.
        least = 0.5 * abs(1 - relaxation) if formula.even else 0.0
        z, d, before = predicted, None, math.inf
        for _ in range(MOST_ITERATIONS):
            rest = self.coordinates.field(t, z, self._slope, share)
            # In place: neither has anything in the row of e, which must stay zero.
            rest -= known
            if d is not None:
                rest -= (share * sigma) * d
            self.work.fields += 1
            change = matrix.solve_scaled(rest)
            if change is None:
                return None
            d = change if d is None else d + change
            size = norm(change)
            # Kept from step to step and forgotten by a factor at a time, as in CVODE: with it one iteration can be enough.
            if before < math.inf:
                self._rate = max(0.3 * self._rate, size / before)
            if not (math.isfinite(size) and size <= before):
                return None
            if size * min(1.0, max(least, self._rate)) <= NEWTON_SHARE:
                return Correction(d, size if d is change else norm(d))
            z, before = predicted + d, size
        return None


def _serves(matrix: NewtonSystem, formula: Formula) -> bool:
    """Whether sigma is near enough to that of a matrix."""
    ratio = formula.sigma / matrix.sigma
    if formula.even:
        return SIGMA_BELOW <= ratio <= SIGMA_ABOVE
    return abs(ratio - 1) <= SIGMA_CHANGE
