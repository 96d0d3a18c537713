"""Directions in which a problem can be varied, and thin coordinates fine enough to express them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ntkflow import views
from ntkflow._types import Floats
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.errors import InputError
from ntkflow.problem.kernels import ClassBlockKernel, Kernel, ThinCoefficients
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState, class_means, spread
from ntkflow.problem.thin import Frame, decompose


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction in which a problem is varied; parts left out stay as they are.

    Attributes:
        kernel: change of the kernel's thin coefficients per unit of the parameter; may have a schedule.
        state: change of the initial state per unit of the parameter.
    """

    kernel: ThinCoefficients | None = None
    state: State | None = None

    __repr__ = views.short


@dataclass(frozen=True, eq=False)
class Thinned:
    """A problem in thin coordinates fine enough for the directions asked for.

    Attributes:
        system: the thin system.
        frame: turns thin states into full ones.
        initial: thin initial state.
    """

    system: ThinSystem
    frame: Frame
    initial: ThinState

    def project(self, H: Floats, W: Floats, b: Floats) -> ThinState:
        """Thin coordinates of a full state or direction; what lies outside the frame is dropped."""
        sizes, V = self.frame.sizes, self.frame.V
        H1 = class_means(H, sizes)
        return ThinState(V.T @ H1, V.T @ ((H - spread(H1, sizes)) @ self.frame.Q), W @ V, b)


def kernel_directions(kernel: Kernel, sizes: Sizes) -> dict[str, Direction]:
    """One direction per constant of a block or class-dependent kernel, or of each knot of a schedule of these.

    Names: kappa_d, kappa_c, kappa_n; kappa_d[c], B[c,c'] with c <= c'; kappa_d@k at knot k of a schedule.

    Raises:
        InputError: the kernel has no blocks.
    """
    if kernel.moves:
        result = {}
        for name, direction in kernel_directions(kernel.at_knots[0], sizes).items():
            unit = direction.kernel
            assert unit is not None
            # Linear interpolation is linear in the values at the knots: a knot's constant moves a hat function of time.
            nothing = ThinCoefficients(0 * unit.class_kernel, 0 * unit.within)
            for k in range(len(kernel.knots)):
                knots = tuple((t, unit if i == k else nothing) for i, t in enumerate(kernel.knots))
                first = knots[0][1]
                result[f"{name}@{k}"] = Direction(ThinCoefficients(first.class_kernel, first.within, knots))
        return result
    C = sizes.C
    if kernel.kappas is not None:
        off = np.ones((C, C)) - np.eye(C)
        units = {
            "kappa_d": (np.ones(C), np.zeros((C, C))),
            "kappa_c": (np.zeros(C), np.eye(C)),
            "kappa_n": (np.zeros(C), off),
        }
    elif isinstance(kernel, ClassBlockKernel):
        units = {f"kappa_d[{c}]": (np.eye(C)[c], np.zeros((C, C))) for c in range(C)}
        for a in range(C):
            for c in range(a, C):
                B = np.zeros((C, C))
                B[a, c] = B[c, a] = 1.0
                units[f"B[{a},{c}]"] = (np.zeros(C), B)
    else:
        raise InputError("kernel", kernel.rung, "has no block constants", "use a block or class-block kernel")
    return {name: Direction(ClassBlockKernel(*unit).thin(sizes)) for name, unit in units.items()}


def thinned(problem: Problem, directions: Sequence[Direction]) -> Thinned:
    """Thin coordinates in which every direction can be expressed.

    Classes share a within-class factor only if no direction tells them apart. A direction of the initial state
    may point anywhere, so with one the frame is complete: all n features and all N - C deviations.

    Raises:
        InputError: the problem has no class-decomposed form.
    """
    coefficients = problem.thin
    if coefficients is None or not problem.has_thin:
        raise InputError(
            "problem", problem.kernel.rung, "has no block structured squared-error flow", "use such a problem"
        )
    changes = [direction.kernel for direction in directions if direction.kernel is not None]
    if any(direction.state is not None for direction in directions):
        thin, frame = _complete(problem.state, problem.sizes)
    else:
        # Classes that agree in mu_single here and in every direction move alike and may share their factor.
        rows = np.stack([row for c in (coefficients, *changes) for row in within(c)], axis=1)
        groups = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.float64)
        thin, frame = decompose(problem.state, problem.sizes, groups)
    system = ThinSystem.build(
        coefficients, problem.sizes, frame.column_class, frame.n_eff, problem.decay.rates
    )
    return Thinned(system, frame, thin)


def within(c: ThinCoefficients) -> list[Floats]:
    """mu_single of each class, (C,), once for every knot of a schedule."""
    return [knot.within for _, knot in c.schedule] if c.schedule else [c.within]


def _complete(state: State, sizes: Sizes) -> tuple[ThinState, Frame]:
    """The state in an orthonormal basis of all deviations; the thin factor of the start holds only its own."""
    Q = np.zeros((sizes.N, sizes.N - sizes.C))
    column_class: list[int] = []
    for c, (start, m) in enumerate(zip(sizes.starts, sizes.counts, strict=True)):
        # The first column is the vector of ones, to which the others are orthogonal.
        basis = np.linalg.qr(np.column_stack([np.ones(m), np.eye(m)[:, 1:]]))[0]
        Q[start : start + m, len(column_class) : len(column_class) + m - 1] = basis[:, 1:]
        column_class += [c] * (m - 1)
    H1 = class_means(state.H, sizes)
    thin = ThinState(H1, (state.H - spread(H1, sizes)) @ Q, state.W, state.b)
    return thin, Frame(sizes, Q, np.eye(sizes.n), tuple(column_class))
