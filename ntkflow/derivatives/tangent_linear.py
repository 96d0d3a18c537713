"""The variational equation along a solved thin trajectory, with its own error control.

Each step of the same formulas as the structured engine takes a new matrix of `linearised` and one linear solve
per direction; steps follow the error of the tangents, not that of the state.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from ntkflow._types import Times
from ntkflow.derivatives.linearised import Columns, Linearised
from ntkflow.errors import SolveError
from ntkflow.integrate.engines.midpoint import SHORT
from ntkflow.integrate.engines.structured import formulas

Source = Callable[[float], Columns]

# Share of the error tolerance left to the linear solves.
SOLVE_SHARE = 1e-2
# As in the structured engine, whose history and formulas these are.
SAFETY, LARGEST_GROWTH, SMALLEST_GROWTH, WORTHWHILE_GROWTH = 0.9, 8.0, 0.2, 1.2
# Stiff runs take some hundred steps: so many more mean that the tangents are noise.
MOST_STEPS = 100_000
# Share of its typical size below which a source is rounding; following it to rtol of itself would stall the steps.
NEGLIGIBLE = 1e-3


def march(
    line: Linearised,
    span: tuple[float, float],
    S0: Columns,
    source: Source | None,
    stops: Sequence[float] | Times,
    rtol: float,
    scale: np.ndarray | None = None,
    typical: np.ndarray | None = None,
) -> tuple[list[Columns], Columns, np.ndarray]:
    """Integrate dS/dtau = J S + source from span[0] to span[1].

    Args:
        line: J on this stretch.
        span: first and last time, in the line's own clock.
        S0: start, one row per direction.
        source: inhomogeneous term, or None.
        stops: increasing times in (span[0], span[1]] at which to read off S.
        rtol: bound of the local error relative to the largest norm each direction has had.
        scale: these largest norms so far, or None at the start.
        typical: size that the source of each direction has in general; one that is far smaller is rounding,
            and is followed only to a share of it.

    Returns:
        S at the stops, S at the end, the largest norms.

    Raises:
        SolveError: the steps stalled.
    """
    tau, end = span
    # The tiny number only keeps 1/rate finite for a state at rest at zero.
    rate = line.system.spectral_radius(line.system.unpack(line.state(tau))) + 1e-300
    if rate * (end - tau) < SHORT:
        return _in_one_step(line, span, S0, source, stops, scale)
    slope = line.at(tau).apply(S0) + (0.0 if source is None else source(tau))
    reach = min(1 / rate, end - tau)
    largest = _sizes(S0, source, span, reach, scale)
    if typical is not None:
        largest = np.maximum(largest, NEGLIGIBLE * reach * typical)
    # At order one the local error is about (rate h)^2 / 2 of the tangents.
    h = min(math.sqrt(rtol) / rate, end - tau)
    past = _History(S0, slope, h)
    out: list[Columns] = []
    at = 0
    for _ in range(MOST_STEPS):
        if tau >= end:
            return out, past.value(), largest
        left = end - tau
        # A step that would leave a thousandth of itself ends the march: the rest would be a step of rounding.
        if past.h * 1.001 >= left and past.h != left:
            past.rescale(left / past.h)
            past.h = left
        d = _correction(line, source, tau + past.h, past, rtol * largest)
        error = np.inf if d is None else formulas.ERROR[past.order] * _norm(d, rtol * largest)
        if d is None or error > 1:
            # Failed solves tell nothing about the size that would do.
            refused = 0.3 if d is None else max(SAFETY * error ** (-1 / (past.order + 1)), SMALLEST_GROWTH)
            past.rescale(refused)
            if past.h < 1e-14 * max(end, 1e-300):
                break
            continue
        tau = end if past.h == left else tau + past.h
        past.accept(d)
        largest = np.maximum(largest, np.linalg.norm(past.value(), axis=1))
        while at < len(stops) and stops[at] <= tau:
            out.append(past.value((stops[at] - tau) / past.h))
            at += 1
        past.adapt(error, rtol * largest)
    raise SolveError(
        f"the tangents could not be followed past t = {line.stretch[0] + line.time(tau):.6g}; loosen rtol"
    )


def _in_one_step(
    line: Linearised,
    span: tuple[float, float],
    S0: Columns,
    source: Source | None,
    stops: Sequence[float] | Times,
    scale: np.ndarray | None,
) -> tuple[list[Columns], Columns, np.ndarray]:
    """The midpoint rule, as `march`: over so short a time it is exact to rounding, and linear in between."""
    width = span[1] - span[0]

    def slope(tau: float, S: Columns) -> Columns:
        return line.at(tau).apply(S) + (0.0 if source is None else source(tau))

    half = width / 2
    last = S0 + width * slope(span[0] + half, S0 + half * slope(span[0], S0))
    out = [S0 + (stop - span[0]) / width * (last - S0) for stop in stops]
    largest = np.maximum(_sizes(S0, source, span, width, scale), np.linalg.norm(last, axis=1))
    return out, last, largest


def _sizes(
    S0: Columns, source: Source | None, span: tuple[float, float], reach: float, scale: np.ndarray | None
) -> np.ndarray:
    """Norm of each direction to measure its errors by, also where it is still zero but its source is not."""
    size = np.linalg.norm(S0, axis=1)
    if source is not None:
        for share in (0.0, 0.5, 1.0):
            pushed = source(span[0] + share * (span[1] - span[0]))
            size = np.maximum(size, reach * np.linalg.norm(pushed, axis=1))
    if scale is not None:
        size = np.maximum(size, scale)
    return np.where(size > 0, size, max(float(size.max()), np.finfo(float).tiny))


def _correction(
    line: Linearised,
    source: Source | None,
    tau: float,
    past: "_History",
    tolerance: np.ndarray,
) -> np.ndarray | None:
    """Correction of the predicted tangents at tau, flat; None when the linear solves fail."""
    predicted, known = formulas.PREDICT[past.order] @ past.D[: past.order + 1]
    shape = (len(tolerance), -1)
    sigma = float(formulas.LEADING[past.order]) / past.h
    point = line.at(tau)
    right = point.apply(predicted.reshape(shape)) - (known / past.h).reshape(shape)
    if source is not None:
        right += source(tau)
    # The inverse of sigma - J is at most 1/sigma where J has no growing direction.
    found = point.solve(sigma, right, SOLVE_SHARE * sigma * tolerance)
    return None if found is None else found.ravel()


def _norm(d: np.ndarray, tolerance: np.ndarray) -> float:
    return float(np.max(np.linalg.norm(d.reshape(len(tolerance), -1), axis=1) / tolerance))


class _History:
    """The last points of a march as backward differences on a grid of step h, and the order in use.

    Args:
        start: tangents at the start, (p, F).
        slope: their derivatives there, (p, F).
        h: first step.
    """

    def __init__(self, start: Columns, slope: Columns, h: float) -> None:
        self.shape, self.h, self.order, self._equal = start.shape, h, 1, 0
        self.D = np.zeros((formulas.HIGHEST_ORDER + 3, start.size))
        self.D[0], self.D[1] = start.ravel(), h * slope.ravel()

    def value(self, shift: float = 0.0) -> Columns:
        """Tangents at so many steps after the last point, `shift` <= 0."""
        flat = self.D[0].copy() if shift == 0 else formulas.evaluate(self.D[: self.order + 1], shift)
        return flat.reshape(self.shape)

    def rescale(self, ratio: float) -> None:
        """Go on with `ratio` times the step."""
        self.D[: self.order + 1] = formulas.change_step(self.D[: self.order + 1], ratio)
        self.h, self._equal = self.h * ratio, 0

    def accept(self, d: np.ndarray) -> None:
        """One step on, by the predicted value and its correction."""
        D, k = self.D, self.order
        D[k + 2] = d - D[k + 1]
        D[k + 1] = d
        for j in range(k, -1, -1):
            D[j] += D[j + 1]
        self._equal += 1

    def adapt(self, error: float, tolerance: np.ndarray) -> None:
        """Choose order and step anew once enough equal steps lie behind, and when that is worth a new grid."""
        # The neighbours' errors are read off the differences, which are those of one grid only after so many equal steps.
        if self._equal <= self.order:
            return
        best, growth = self._best(error, tolerance)
        if growth < SAFETY or growth > WORTHWHILE_GROWTH:
            self.order = best
            self.rescale(growth)

    def _best(self, error: float, tolerance: np.ndarray) -> tuple[int, float]:
        """Order and growth of the next step, from the errors that the neighbouring orders would have made."""
        k, best, growth = self.order, self.order, max(error, 1e-10) ** (-1 / (self.order + 1))
        for other, difference in ((k - 1, k), (k + 1, k + 2)):
            if 1 <= other <= formulas.HIGHEST_ORDER:
                size = formulas.ERROR[other] * _norm(self.D[difference], tolerance)
                candidate = max(size, 1e-10) ** (-1 / (other + 1))
                if candidate > growth:
                    best, growth = other, candidate
        return best, min(LARGEST_GROWTH, SAFETY * growth)
