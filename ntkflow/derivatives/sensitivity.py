"""Forward and adjoint sensitivities of stiff runs: how the state moves with the kernel and the initial state.

Both integrate the variational equation along the structured engine's trajectory (`ntkflow.derivatives.tangent_linear`), so that
rho T of 1e5 and more costs some hundred steps. For gradients of arbitrary metrics on mild problems see
`ntkflow.derivatives`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow import checks, views
from ntkflow._types import Times, Vector
from ntkflow.derivatives.directions import Direction, Thinned, kernel_directions, thinned
from ntkflow.derivatives.linearised import Linearised, Path, Point
from ntkflow.derivatives.tangent_linear import Source, march
from ntkflow.errors import InputError
from ntkflow.problem.kernels import ThinCoefficients
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State

__all__ = [
    "Direction",
    "Sensitivity",
    "Thinned",
    "adjoint",
    "checked_times",
    "enter",
    "forward",
    "kernel_directions",
    "leave",
    "sensitivity",
    "thinned",
    "weigh",
]

# The trajectory is solved tighter than its tangents, which inherit its error.
PATH_SHARE = 0.1

Tangents = Float64[np.ndarray, "T p D"]


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """States along a trajectory and their derivatives.

    Attributes:
        times: times asked for, (T,).
        states: state at each time.
        derivatives: name of a direction to d(state)/d(parameter) at each time.
    """

    times: Times
    states: list[State]
    derivatives: dict[str, list[State]]

    __repr__ = views.short


def sensitivity(
    problem: Problem,
    directions: Mapping[str, Direction] | None,
    times: Sequence[float] | Times,
    rtol: float = 1e-8,
) -> Sensitivity:
    """d(state)/d(parameter) at given times, for kernel constants and directions of the initial state.

    Args:
        problem: a squared-error problem with scalar or class-dependent blocks, constant or scheduled.
        directions: by name; None means `kernel_directions`, every constant of the kernel.
        times: increasing, the first >= 0, in units of the sum loss (4).
        rtol: local error relative to the largest norm that the sensitivity has had.

    Raises:
        InputError: bad times, or the problem has no block structure.
        SolveError: the integration failed.
    """
    chosen = kernel_directions(problem.kernel, problem.sizes) if directions is None else dict(directions)
    grid = checked_times(times)
    fine = thinned(problem, list(chosen.values()))
    path = Path(fine.system, fine.initial.pack(), float(grid[-1]), PATH_SHARE * rtol)
    tangents = forward(path, fine, list(chosen.values()), grid, rtol)
    compose = fine.frame.compose
    unpack = fine.system.unpack
    return Sensitivity(
        grid,
        [compose(unpack(path(t))) for t in grid],
        {name: [compose(unpack(row[k])) for row in tangents] for k, name in enumerate(chosen)},
    )


def checked_times(times: Sequence[float] | Times) -> Times:
    """Times as float64, or InputError."""
    grid = checks.times("times", times)
    if grid[-1] <= 0:
        raise InputError("times", grid[:4], "must increase from a time >= 0", "give a time > 0")
    return grid


def forward(
    path: Path,
    fine: Thinned,
    directions: Sequence[Direction],
    times: Times,
    rtol: float,
    start: Float64[np.ndarray, "p D"] | None = None,
) -> Tangents:
    """Packed thin tangents (T, p, D) at the times, for each direction.

    `start`: packed thin changes of the initial state, one per direction, instead of the directions' own.
    """
    rows = np.zeros((len(directions), fine.system.size)) if start is None else start
    for row, direction in zip(rows, directions, strict=True):
        if direction.state is not None:
            row[:] = fine.project(direction.state.H, direction.state.W, direction.state.b).pack()
    out = [rows.copy() for t in times if t == 0]
    scale = None
    # What is varied may have knots of its own, a peak between those of the kernel among them.
    knots = [t for d in directions if d.kernel is not None for t, _ in d.kernel.schedule]
    for stretch in path.stretches(knots):
        line = Linearised(path, stretch)
        stops = [line.local(t) for t in times[(times > stretch[0]) & (times <= stretch[1])]]
        source = _source(line, fine, directions)
        typical = _typical(line, directions)
        found, last, scale = march(
            line, (0.0, line.width), enter(line, rows), source, stops, rtol, scale, typical
        )
        out += [leave(line, S) for S in found]
        rows = leave(line, last)
    return np.stack(out)


def _source(line: Linearised, fine: Thinned, directions: Sequence[Direction]) -> Source | None:
    """d(field)/d(parameter) at fixed state: the field with the kernel's change in place of the kernel."""
    ends = _at_ends(line, directions)
    if not any(ends):
        return None
    c = line.coordinates
    columns = np.asarray(fine.frame.column_class, dtype=int)
    k, s = c.groups, c.s

    def source(tau: float) -> np.ndarray:
        share = line.time(tau) / line.width
        point = Point(line, tau)
        back = point.A[:, : c.n].T @ point.P
        out = np.zeros((len(ends), c.size))
        for row, pair in zip(out, ends, strict=True):
            if pair:
                means, within = (
                    (1 - share) * first + share * last
                    for first, last in (
                        (pair[0].class_kernel, pair[1].class_kernel),
                        (pair[0].within, pair[1].within),
                    )
                )
                into = c.blocks(row)[0][: c.n]
                into[:, :k] = -back[:, :k] @ (c.U.T @ (means * (s / s[:, None])) @ c.U)
                into[:, k:] = -back[:, k:] * within[columns]
        return out

    return source


def _typical(line: Linearised, directions: Sequence[Direction]) -> Float64[np.ndarray, " p"]:
    """Size that d(field)/d(parameter) has where the residual is as large as the targets."""
    c = line.coordinates
    size = float(np.linalg.norm(line.at(0.0).A[:, : c.n]) * np.linalg.norm(c.T))
    # On this stretch: a narrow peak elsewhere is as high as it likes.
    sizes = [
        max(
            (float(max(np.abs(now.within).max(), np.abs(now.class_kernel).max())) for now in ends),
            default=0.0,
        )
        for ends in _at_ends(line, directions)
    ]
    return size * np.array(sizes)


def _at_ends(line: Linearised, directions: Sequence[Direction]) -> list[tuple[ThinCoefficients, ...]]:
    """What the kernel's change is at both ends of the stretch, between which it is linear; empty for none."""
    changes = [direction.kernel for direction in directions]
    return [() if change is None else tuple(change.at(t) for t in line.stretch) for change in changes]


def adjoint(path: Path, times: Times, weights: Tangents, rtol: float) -> Float64[np.ndarray, "p D"]:
    """sum_i S(t_i)^T weights[i], S the derivative by the initial state: a gradient by that state, (p, D).

    Both are in packed thin coordinates whose H1 counts with the roots of the masses, in which iid noise of
    (H, W, b) is iid noise.
    """
    total = np.zeros(weights.shape[1:])
    # S(0) is the identity, and the backward integration ends there without picking it up.
    if times[0] == 0:
        total += weights[0]
    rows, scale = np.zeros_like(total), None
    # Backwards in time, picking up weights on the way: one integration for all times and all entries of the start.
    for stretch in reversed(path.stretches()):
        line = Linearised(path, stretch, adjoint=True)
        tau, state = 0.0, enter(line, rows, weighted=True)
        inside = np.flatnonzero((times > stretch[0]) & (times <= stretch[1]))
        for i in inside[::-1]:
            before, tau = tau, line.width - line.local(times[i])
            if tau > before:
                _, state, scale = march(line, (before, tau), state, None, [], rtol, scale)
            state = state + enter(line, weights[i], weighted=True)
        if np.any(state):
            _, state, scale = march(line, (tau, line.width), state, None, [], rtol, scale)
        rows = leave(line, state, weighted=True)
    return total + rows


def enter(line: Linearised, rows: np.ndarray, weighted: bool = False) -> np.ndarray:
    """Flat directions of packed ones; `weighted`: H1 is already times the roots of the masses."""
    c = line.coordinates
    flat = np.stack([c.enter(weigh(1 / c.s, c.n, row) if weighted else row) for row in rows])
    # `enter` writes the constant row of the bias, which no direction changes.
    flat[:, c.n * c.q : c.split] = 0.0
    return flat


def leave(line: Linearised, flat: np.ndarray, weighted: bool = False) -> np.ndarray:
    """Packed directions of flat ones; the inverse of `enter`."""
    c = line.coordinates
    rows = np.stack([c.leave(z) for z in flat])
    return np.stack([weigh(c.s, c.n, row) for row in rows]) if weighted else rows


def weigh(s: np.ndarray, n: int, row: Vector) -> Vector:
    """Packed vector with H1 times the roots of the masses s."""
    out, k = row.copy(), n * len(s)
    out[:k] = (row[:k].reshape(n, -1) * s).ravel()
    return out
