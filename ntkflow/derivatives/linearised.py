"""A solved thin trajectory and its field linearised along it, forwards and adjoint.

In the flat coordinates of `engines.structured.coordinates`, z = (B, A), the field is linearised to

    dP = dA B + A dB,   dG' = -(dA^T P + W^T dP) D,   dA' = -(dP B^T + P dB^T),

G the rows of B without the last, D the kernel on the columns of G. Without decay this is J = -D M with a
symmetric M, the Hessian of the loss, so the transpose is D^-1 J D and one elimination solves both (not in the
paper). Biases that are held are columns of A whose change moves P and is moved by nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Vector
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.errors import SolveError
from ntkflow.integrate.engines.base import Interpolant, Stepper, interpolant
from ntkflow.integrate.engines.midpoint import SHORT, Midpoint
from ntkflow.integrate.engines.structured import StructuredBDF
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from ntkflow.integrate.engines.structured.newton_system import NewtonSystem

Columns = Float64[np.ndarray, "p F"]

# A kernel that moves is only diagonal in the preconditioner, and each correction takes in a share of the rest: where a
# dozen do not get there, a shorter step does.
MOST_CORRECTIONS = 12
# Tighter than the 1e-2 of the engine, whose Newton iteration corrects what a solve leaves.
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
        # A thousandth of rtol of the state's size, as for runs (`engines.chain`): blocks that vanish do not set the steps.
        self._rtol, self._atol = max(rtol, 1e-13), 1e-3 * rtol * size
        self._start = np.array(y0)
        self._intervals = self.stretches()
        self._pieces: list[tuple[list[float], list[Interpolant]]] = []
        y = self._start
        for begin, end in self._intervals:
            y = self._follow(begin, end, y)

    def _follow(self, begin: float, end: float, y: Vector) -> Vector:
        """Integrate one interval, in a clock of its own: however narrow it is, its times keep all digits."""
        system, width = self.system.between(begin, end), end - begin
        ends: list[float] = []
        pieces: list[Interpolant] = []
        self._pieces.append((ends, pieces))
        stepper: Stepper
        if short(system, y, width):
            stepper = Midpoint(system.flat_field, y, width)
        else:
            stepper = StructuredBDF(system, 0.0, y, width, self._rtol, self._atol)
        while stepper.status == "running":
            stepper.step()
            if stepper.status == "failed":
                raise SolveError(
                    f"the trajectory could not be followed past t = {begin + stepper.t:.6g}: "
                    "the step fell to rounding; loosen rtol"
                )
            ends.append(stepper.t)
            pieces.append(interpolant(stepper))
        return np.array(stepper.y)

    def __call__(self, t: float) -> Vector:
        """Packed state at t in [0, t_end]."""
        number = min(bisect_left([end for _, end in self._intervals], t), len(self._intervals) - 1)
        return self.inside(number, t - self._intervals[number][0])

    def inside(self, number: int, t: float) -> Vector:
        """Packed state at time t of the own clock of an interval between knots."""
        if number == 0 and t <= 0:
            return self._start
        ends, pieces = self._pieces[number]
        return pieces[min(bisect_left(ends, t), len(ends) - 1)](max(t, 0.0))

    def interval(self, t: float) -> tuple[int, float]:
        """The interval that begins at t or before and ends later, and the time t in its clock."""
        number = bisect_right([begin for begin, _ in self._intervals], t) - 1
        return number, t - self._intervals[number][0]

    def stretches(self, further: Iterable[float] = ()) -> list[tuple[float, float]]:
        """Intervals on which the kernel is linear in time, cut at further times as well."""
        knots = {*(t for t, _ in self.system.schedule), *further}
        inner = sorted(t for t in knots if 0 < t < self.t_end)
        return list(zip([0.0, *inner], [*inner, self.t_end], strict=True))


def short(system: ThinSystem, y: Vector, width: float) -> bool:
    """Whether one step of the midpoint rule is exact to rounding over such a time."""
    return system.spectral_radius(system.unpack(y)) * width < SHORT


class Linearised:
    """J(t) along a path on one stretch, or its transpose with time running backwards from the stretch's end.

    The time of all methods is the stretch's own: 0 at its beginning, or with `adjoint` at its end.

    Args:
        path: the trajectory.
        stretch: where the kernel is linear in time.
        adjoint: take the transpose.
    """

    def __init__(self, path: Path, stretch: tuple[float, float], adjoint: bool = False) -> None:
        self.stretch, self.adjoint, self.width = stretch, adjoint, stretch[1] - stretch[0]
        self.system = path.system.between(*stretch)
        self.coordinates = self.solved = Coordinates.build(
            replace(self.system, train_bias=True), 0.0, self.width
        )
        if self.held:
            # Where b is held a direction may still move it, and P with it; elimination is of the rest, b apart.
            self.solved = Coordinates.build(self.system, 0.0, self.width, path(stretch[0]))
        self._path, (self._interval, self._begin) = path, path.interval(stretch[0])

    @property
    def held(self) -> bool:
        """Whether the biases stay where they are: they are seen by the rest, and see nothing."""
        return not self.system.train_bias

    def local(self, t: float) -> float:
        """Time from the stretch's beginning, of a flow time."""
        return min(max(t - self.stretch[0], 0.0), self.width)

    def time(self, tau: float) -> float:
        """Time from the stretch's beginning."""
        return self.width - tau if self.adjoint else tau

    def state(self, tau: float) -> Vector:
        """The packed state."""
        return self._path.inside(self._interval, self._begin + self.time(tau))

    def at(self, tau: float) -> "Point":
        """The linearisation at one time."""
        return Point(self, tau)


class Point:
    """J, or its transpose, at one time of a path."""

    def __init__(self, line: Linearised, tau: float) -> None:
        c = self.coordinates = line.coordinates
        self.t, self.adjoint, self.held = line.time(tau), line.adjoint, line.held
        self.solved, self.state = line.solved, line.state(tau)
        self.z = c.enter(self.state)
        self.B, self.A = c.blocks(self.z)
        self.P = self.A @ self.B - c.T
        self.d, self.rest = c.d, np.zeros((0, 0))
        if c.moving is not None:
            self.d, self.rest = c.moving.at(self.t)

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
        if self.held and self.adjoint:
            dA = dA.copy()
            dA[:, :, n] = 0.0
        inner = self.kernel(dG) if self.adjoint else dG
        W = self.A[:, :n]
        dP = dA @ self.B + W @ inner
        toG = np.swapaxes(dA[:, :, :n], 1, 2) @ self.P + W.T @ dP
        toA = dP @ self.B.T
        toA[:, :, :n] += self.P @ np.swapaxes(inner, 1, 2)
        if self.held and not self.adjoint:
            toA[:, :, n] = 0.0
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
        c = self.solved
        matrix = NewtonSystem(
            c, self.t, self.z if not self.held else c.enter(self.state), sigma, LINEAR_TOLERANCE
        )
        if not self.adjoint:
            return matrix.solve
        # J^T = D^-1 J D: without motion or decay the adjoint needs no elimination of its own. Where d = 0 nothing flows back.
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
