"""The variational equation along a solved thin trajectory, forwards and adjoint, with its own error control.

In the flat coordinates of `engines.structured.coordinates`, z = (B, A), the field is linearised to

    dP = dA B + A dB,   dG' = -(dA^T P + W^T dP) D,   dA' = -(dP B^T + P dB^T),

G the rows of B without the last, D the kernel on the columns of G. Without decay this is J = -D M with a
symmetric M, the Hessian of the loss, so the transpose is D^-1 J D and one elimination solves both (not in the
paper). Each step of the same formulas as the structured engine takes a new matrix and one linear solve per
direction; steps follow the error of the tangents, not that of the state.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Times, Vector
from ntkflow.dynamics import ThinSystem
from ntkflow.engines.structured import StructuredBDF, formulas
from ntkflow.engines.structured.coordinates import Coordinates
from ntkflow.engines.structured.newton_system import NewtonSystem
from ntkflow.errors import SolveError

Columns = Float64[np.ndarray, "p F"]
Source = Callable[[float], Columns]

MOST_CORRECTIONS = 12
LINEAR_TOLERANCE = 1e-4
# Share of the error tolerance left to the linear solves.
SOLVE_SHARE = 1e-2
SAFETY, LARGEST_GROWTH, SMALLEST_GROWTH, WORTHWHILE_GROWTH = 0.9, 8.0, 0.2, 1.2
MOST_STEPS = 100_000
NEGLIGIBLE = 1e-3


class Path:
    """A thin trajectory solved by the structured engine, kept with its interpolants.

    Args:
        system: the thin system.
        y0: packed initial state.
        t_end: final time.
        rtol: relative tolerance.

    Raises:
        SolveError: the integration failed.
    """

    def __init__(self, system: ThinSystem, y0: Vector, t_end: float, rtol: float) -> None:
        self.system, self.t_end = system, float(t_end)
        size = max(float(np.sqrt(np.mean(y0**2))), np.finfo(float).tiny)
        stepper = StructuredBDF(system, 0.0, y0, t_end, max(rtol, 1e-13), 1e-3 * rtol * size)
        self.ends: list[float] = []
        self._pieces: list[Callable[[float], Vector]] = []
        self._start = np.array(y0)
        while stepper.status == "running":
            stepper.step()
            if stepper.status == "failed":
                raise SolveError(f"the trajectory could not be followed: {stepper.message}")
            self.ends.append(stepper.t)
            self._pieces.append(stepper.dense())

    def __call__(self, t: float) -> Vector:
        """Packed state at t in [0, t_end]."""
        if t <= 0:
            return self._start
        return self._pieces[min(bisect_left(self.ends, t), len(self.ends) - 1)](t)

    @property
    def stretches(self) -> list[tuple[float, float]]:
        """Intervals on which the kernel is linear in time."""
        inner = [t for t, _ in self.system.schedule if 0 < t < self.t_end]
        return list(zip([0.0, *inner], [*inner, self.t_end], strict=True))


class Linearised:
    """J(t) along a path on one stretch, or its transpose with time running backwards from the stretch's end.

    Args:
        path: the trajectory.
        stretch: where the kernel is linear in time.
        adjoint: take the transpose; the time of all methods is then stretch[1] - t.
    """

    def __init__(self, path: Path, stretch: tuple[float, float], adjoint: bool = False) -> None:
        self.coordinates = Coordinates.build(path.system, *stretch)
        self.path, self.stretch, self.adjoint = path, stretch, adjoint

    def time(self, tau: float) -> float:
        """Flow time."""
        return self.stretch[1] - tau if self.adjoint else tau

    def at(self, tau: float) -> "Point":
        """The linearisation at one time."""
        return Point(self, self.time(tau))


class Point:
    """J, or its transpose, at one time of a path."""

    def __init__(self, line: Linearised, t: float) -> None:
        c = self.coordinates = line.coordinates
        self.t, self.adjoint = t, line.adjoint
        self.z = c.enter(line.path(t))
        self.B, self.A = c.blocks(self.z)
        self.P = self.A @ self.B - c.T
        self.d, self.rest = c.d, np.zeros((0, 0))
        if c.moving is not None:
            self.d, self.rest = c.moving.at(t)

    def kernel(self, G: np.ndarray) -> np.ndarray:
        """G D, a stack of n x q matrices."""
        out = G * self.d
        if self.rest.size:
            k = self.coordinates.groups
            out[..., :k] += G[..., :k] @ self.rest
        return out

    def apply(self, S: Columns) -> Columns:
        """J S or J^T S, direction by direction."""
        c, n, p = self.coordinates, self.coordinates.n, len(S)
        dG = S[:, : c.split].reshape(p, n + 1, c.q)[:, :n]
        dA = S[:, c.split :].reshape(p, c.C, n + 1)
        inner = self.kernel(dG) if self.adjoint else dG
        W = self.A[:, :n]
        dP = dA @ self.B + W @ inner
        toG = np.swapaxes(dA[:, :, :n], 1, 2) @ self.P + W.T @ dP
        toA = dP @ self.B.T
        toA[:, :, :n] += self.P @ np.swapaxes(inner, 1, 2)
        out = np.zeros_like(S)
        out[:, : c.split].reshape(p, n + 1, c.q)[:, :n] = -(toG if self.adjoint else self.kernel(toG))
        out[:, c.split :] = -toA.reshape(p, -1)
        if any(c.decay):
            lw, lh, lb = c.decay
            out[:, : c.split] -= lh * S[:, : c.split]
            out[:, c.split :] -= (dA * np.append(np.full(n, lw), lb)).reshape(p, -1)
        return out

    def solver(self, sigma: float) -> Callable[[np.ndarray], np.ndarray | None]:
        """Approximate (sigma - J)^-1 of one direction, good to `LINEAR_TOLERANCE` for a kernel at rest."""
        c = self.coordinates
        matrix = NewtonSystem(c, self.t, self.z, sigma, LINEAR_TOLERANCE)
        if not self.adjoint:
            return matrix.solve
        scale = np.ones(c.size)
        c.blocks(scale)[0][:] = np.where(self.d != 0, self.d, 1.0)

        def transposed(g: np.ndarray) -> np.ndarray | None:
            x = matrix.solve(g * scale)
            return None if x is None else x / scale

        return transposed

    def solve(self, sigma: float, G: Columns, enough: np.ndarray) -> Columns | None:
        """(sigma - J) X = G by defect correction, until each defect is below `enough`; None when it is not."""
        solver = self.solver(sigma)
        X, rest = np.zeros_like(G), G
        for _ in range(MOST_CORRECTIONS):
            for i in np.flatnonzero(np.linalg.norm(rest, axis=1) > enough):
                change = solver(rest[i])
                if change is None:
                    return None
                X[i] += change
            rest = G - sigma * X + self.apply(X)
            size = np.linalg.norm(rest, axis=1)
            if not np.all(np.isfinite(size)):
                return None
            if np.all(size <= enough):
                return X
        return None


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
    rate = line.path.system.spectral_radius(line.path.system.unpack(line.path(line.time(tau)))) + 1e-300
    slope = line.at(tau).apply(S0) + (0.0 if source is None else source(tau))
    reach = min(1 / rate, end - tau)
    largest = _sizes(S0, source, span, reach, scale)
    if typical is not None:
        largest = np.maximum(largest, NEGLIGIBLE * reach * typical)
    p, F = S0.shape
    D = np.zeros((formulas.HIGHEST_ORDER + 3, p * F))
    h = min(math.sqrt(rtol) / rate, end - tau)
    D[0], D[1] = S0.ravel(), h * slope.ravel()
    order, equal, at = 1, 0, 0
    out: list[Columns] = []
    for _ in range(MOST_STEPS):
        if tau >= end:
            return out, D[0].reshape(p, F).copy(), largest
        left = end - tau
        if h * 1.001 >= left and h != left:
            D[: order + 1] = formulas.change_step(D[: order + 1], left / h)
            h, equal = left, 0
        d = _correction(line, source, tau + h, D, order, h, rtol * largest)
        error = np.inf if d is None else formulas.ERROR[order] * _norm(d, rtol * largest)
        if d is None or error > 1:
            growth = 0.3 if d is None else max(SAFETY * error ** (-1 / (order + 1)), SMALLEST_GROWTH)
            D[: order + 1] = formulas.change_step(D[: order + 1], growth)
            h, equal = h * growth, 0
            if h < 1e-14 * max(end, 1e-300):
                break
            continue
        tau = end if h == left else tau + h
        equal += 1
        _accept(D, d, order)
        largest = np.maximum(largest, np.linalg.norm(D[0].reshape(p, F), axis=1))
        while at < len(stops) and stops[at] <= tau:
            out.append(formulas.evaluate(D[: order + 1], (stops[at] - tau) / h).reshape(p, F))
            at += 1
        if equal > order:
            best, growth = _next(D, error, order, rtol * largest)
            if growth < SAFETY or growth > WORTHWHILE_GROWTH:
                order = best
                D[: order + 1] = formulas.change_step(D[: order + 1], growth)
                h, equal = h * growth, 0
    raise SolveError(f"the tangents could not be followed past t = {line.time(tau):.6g}; loosen rtol")


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
    D: np.ndarray,
    order: int,
    h: float,
    tolerance: np.ndarray,
) -> np.ndarray | None:
    predicted, known = formulas.PREDICT[order] @ D[: order + 1]
    shape = (len(tolerance), -1)
    sigma = float(formulas.LEADING[order]) / h
    point = line.at(tau)
    right = point.apply(predicted.reshape(shape)) - (known / h).reshape(shape)
    if source is not None:
        right += source(tau)
    # The inverse of sigma - J is at most 1/sigma where J has no growing direction.
    found = point.solve(sigma, right, SOLVE_SHARE * sigma * tolerance)
    return None if found is None else found.ravel()


def _norm(d: np.ndarray, tolerance: np.ndarray) -> float:
    return float(np.max(np.linalg.norm(d.reshape(len(tolerance), -1), axis=1) / tolerance))


def _accept(D: np.ndarray, d: np.ndarray, order: int) -> None:
    D[order + 2] = d - D[order + 1]
    D[order + 1] = d
    for j in range(order, -1, -1):
        D[j] += D[j + 1]


def _next(D: np.ndarray, error: float, order: int, tolerance: np.ndarray) -> tuple[int, float]:
    best, growth = order, max(error, 1e-10) ** (-1 / (order + 1))
    for other, difference in ((order - 1, order), (order + 1, order + 2)):
        if 1 <= other <= formulas.HIGHEST_ORDER:
            size = formulas.ERROR[other] * _norm(D[difference], tolerance)
            candidate = max(size, 1e-10) ** (-1 / (other + 1))
            if candidate > growth:
                best, growth = other, candidate
    return best, min(LARGEST_GROWTH, SAFETY * growth)
