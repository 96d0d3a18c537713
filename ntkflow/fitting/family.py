"""Families of kernels to choose from, each linear in its parameters.

| kind | parameters | bounds |
|---|---|---|
| block | mu_single, mu_class/m, mu_global/N | >= 0, which is a positive kernel of either sign of kappa_n |
| block, classes of unequal size | kappa_d - kappa_c, kappa_c - kappa_n, kappa_n | kappa_d >= kappa_c |
| class-block | mu_single of each class, B of each pair of classes | mu_single >= 0 |
| schedule | those of block at each knot, linear in between | as for block |

An order within B, or of kappa_c, kappa_n and 0, is not enforced: measured kernels may break it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64

from ntkflow import checks
from ntkflow._types import Floats
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.errors import InputError
from ntkflow.problem.kernels import (
    KAPPAS,
    BlockKernel,
    ClassBlockKernel,
    Kernel,
    ScheduledKernel,
    ThinCoefficients,
)
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.thin import Frame

KINDS = ("block", "class-block", "schedule")

Parameters = Float64[Floats, " p"]


@dataclass(frozen=True, eq=False)
class Family:
    """A kernel for every parameter vector.

    Attributes:
        kind: one of `KINDS`.
        names: of the parameters.
        units: thin coefficients per unit of each parameter.
        lower: bounds.
        reported: quantity to its row over the parameters: the kappas and, where they exist, the eigenvalues.
        make: the kernel of a parameter vector.
        by_class: whether classes may differ in mu_single.
    """

    kind: str
    names: tuple[str, ...]
    units: tuple[ThinCoefficients, ...]
    lower: Parameters
    reported: Mapping[str, Parameters]
    make: Callable[[Parameters], Kernel]
    by_class: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def coefficients(self, theta: Parameters) -> ThinCoefficients:
        """Sum of the units."""

        def total(parts: Sequence[ThinCoefficients]) -> tuple[Floats, Floats]:
            pairs = list(zip(theta, parts, strict=True))
            kernel = sum(x * part.class_kernel for x, part in pairs)
            return np.asarray(kernel), np.asarray(sum(x * part.within for x, part in pairs))

        knots = tuple(
            (at, ThinCoefficients(*total([unit.schedule[i][1] for unit in self.units])))
            for i, (at, _) in enumerate(self.units[0].schedule)
        )
        return ThinCoefficients(*total(self.units), knots)

    def system(self, theta: Parameters, sizes: Sizes, frame: Frame, train_bias: bool = True) -> ThinSystem:
        """The thin system of a parameter vector."""
        return ThinSystem.build(
            self.coefficients(theta), sizes, frame.column_class, frame.n_eff, train_bias=train_bias
        )


def family(kind: str, sizes: Sizes, knots: Sequence[float] | None = None, start: float = 0.0) -> Family:
    """The family of a kind.

    Args:
        kind: one of `KINDS`.
        sizes: C, m, n.
        knots: times of the knots of a schedule, in the clock of the observations.
        start: that clock at the first state.

    Raises:
        InputError: unknown kind, or knots missing, superfluous or not increasing.
    """
    checks.choice("kind", kind, KINDS)
    if (knots is not None) != (kind == "schedule"):
        raise InputError(
            "knots",
            knots,
            f"{'are needed' if knots is None else 'have no meaning'} for kind = {kind}",
            "give knots with kind = schedule, and only then",
        )
    if kind == "class-block":
        return _class_block(sizes)
    if knots is None:
        return _block(sizes)
    return _schedule(sizes, checks.times("knots", knots, 2, -np.inf), start)


def _steps(sizes: Sizes) -> tuple[tuple[str, ...], Floats, Parameters]:
    """Names of the parameters of blocks, the steps between the kappas as a matrix times them, and their bounds."""
    if not sizes.balanced:
        # Where K is positive is no matter of bounds then; the paper's order would shut out kernels that are.
        return (
            ("kappa_d - kappa_c", "kappa_c - kappa_n", "kappa_n"),
            np.eye(3),
            np.array([0.0, -np.inf, -np.inf]),
        )
    # Positive eigenvalues are plain bounds at zero; over m and N the parameters are of the size of the kappas.
    m, C = float(sizes.per_class), float(sizes.C)
    steps = np.array([[1.0, 0.0, 0.0], [-1 / m, 1.0, 0.0], [0.0, -1 / C, 1.0]])
    return ("mu_single", "mu_class", "mu_global"), steps, np.zeros(3)


def _kernel(sizes: Sizes, theta: Parameters) -> BlockKernel:
    within, classes, kn = (float(step) for step in _steps(sizes)[1] @ theta)
    kc = kn + classes
    return BlockKernel(kc + within, kc, kn)


def _block(sizes: Sizes) -> Family:
    names, steps, lower = _steps(sizes)
    # Each kappa is the sum of the steps from it down: the identity, the class blocks, the matrix of ones.
    rows = dict(zip(KAPPAS, np.triu(np.ones((3, 3))) @ steps, strict=True))
    rows["mu_single"] = np.array([1.0, 0.0, 0.0])
    if sizes.balanced:
        # With classes of unequal size the kernel has no single mu_class or mu_global to report.
        rows |= {
            "mu_class": np.array([0.0, sizes.per_class, 0.0]),
            "mu_global": np.array([0.0, 0.0, sizes.N]),
        }
    ones, eye = np.ones((sizes.C, sizes.C)), np.eye(sizes.C)
    # The kernel of each parameter's unit: B and mu_single from the steps that it makes.
    units = tuple(
        ClassBlockKernel(np.full(sizes.C, within + classes + kn), classes * eye + kn * ones).thin(sizes)
        for within, classes, kn in steps.T
    )
    return Family("block", names, units, lower, rows, partial(_kernel, sizes))


def _schedule(sizes: Sizes, knots: Floats, start: float) -> Family:
    k, base = len(knots), _block(sizes)
    units, names, rows = [], [], {}
    for i, at in enumerate(knots):
        for j, unit in enumerate(base.units):
            # A hat function of time: linear interpolation between knots is linear in the values at the knots.
            nothing = ThinCoefficients(0 * unit.class_kernel, 0 * unit.within)
            schedule = tuple((float(t - start), unit if q == i else nothing) for q, t in enumerate(knots))
            units.append(ThinCoefficients(schedule[0][1].class_kernel, schedule[0][1].within, schedule))
            names.append(f"{base.names[j]} at {at:.6g}")
        for name, row in base.reported.items():
            rows[f"{name} at {at:.6g}"] = np.concatenate([row if q == i else 0 * row for q in range(k)])

    def make(theta: Parameters) -> Kernel:
        return ScheduledKernel(tuple(knots.tolist()), tuple(base.make(row) for row in theta.reshape(k, 3)))

    return Family("schedule", tuple(names), tuple(units), np.tile(base.lower, k), rows, make)


def _class_block(sizes: Sizes) -> Family:
    C, eye = sizes.C, np.eye(sizes.C)
    pairs = [(a, c) for a in range(C) for c in range(a, C)]
    units = [ClassBlockKernel(eye[c], 0 * eye).thin(sizes) for c in range(C)]
    for a, c in pairs:
        B = np.zeros((C, C))
        B[a, c] = B[c, a] = 1.0
        # kappa_d moves along with the diagonal of B, so that mu_single stays.
        units.append(ClassBlockKernel(np.diag(B).copy(), B).thin(sizes))
    p = len(units)
    names = [f"mu_single[{c}]" for c in range(C)] + [f"B[{a},{c}]" for a, c in pairs]
    rows = dict(zip(names, np.eye(p), strict=True))
    rows |= {f"kappa_d[{c}]": rows[f"mu_single[{c}]"] + rows[f"B[{c},{c}]"] for c in range(C)}

    def make(theta: Parameters) -> Kernel:
        B = np.zeros((C, C))
        for value, (a, c) in zip(theta[C:], pairs, strict=True):
            B[a, c] = B[c, a] = value
        return ClassBlockKernel(theta[:C] + np.diag(B), B)

    # No bound on B holds entry by entry: between classes a kernel that has moved may be negative, as in a deep linear
    # network that has collapsed.
    lower = np.concatenate([np.zeros(C), np.full(len(pairs), -np.inf)])
    return Family("class-block", tuple(names), tuple(units), lower, rows, make, by_class=True)
