"""A solved thin trajectory and its field linearised along it, forwards and adjoint.

In the flat coordinates of `engines.structured.coordinates`, z = (B, A), the field is linearised to

    dP = dA B + A dB,   dG' = -(dA^T P + W^T dP) D,   dA' = -(dP B^T + P dB^T),

G the rows of B without the last, D the kernel on the columns of G. Without decay this is J = -D M with a
symmetric M, the Hessian of the loss, so the transpose is D^-1 J D and one elimination solves both (not in the
paper).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Vector
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.errors import SolveError
from ntkflow.integrate.engines.structured import StructuredBDF
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from ntkflow.integrate.engines.structured.newton_system import NewtonSystem

Columns = Float64[np.ndarray, "p F"]

MOST_CORRECTIONS = 12
LINEAR_TOLERANCE = 1e-4


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

    def stretches(self, further: Iterable[float] = ()) -> list[tuple[float, float]]:
        """Intervals on which the kernel is linear in time, cut at further times as well."""
        knots = {*(t for t, _ in self.system.schedule), *further}
        inner = sorted(t for t in knots if 0 < t < self.t_end)
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
        out: np.ndarray = G * self.d
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
