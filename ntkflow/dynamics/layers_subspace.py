"""Subspaces that linear layers never leave: n_l features become dim Sp_l, and the rest is known for all time (theory 18.1).

Sp_l with V_l Sp_{l-1} in Sp_l, V_l^T Sp_l in Sp_{l-1}, Sp_L containing the rows of W, Sp_1 the class means of V_1 X and
invariant under its within-class scatter: the flow keeps all of it. Where all Q_l = 0 no more than C dimensions are left, where
the V_l are isometries and the scatter is a multiple of the identity 2 C; generic layers fill all of theirs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats, Vector
from ntkflow.dynamics.layers import LayeredFlow, Parts
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.state import class_means, deviations

# Directions smaller than this share of unit vectors are rounding: whatever is larger may grow out of a plateau.
ZERO = 1e-12
# Fewer unknowns than this share of them all are worth the change of coordinates.
WORTH = 0.5


@dataclass(frozen=True, eq=False)
class Subspaces:
    """A problem in the coordinates of its subspaces.

    Attributes:
        whole: the problem as it was given.
        reduced: the same flow with dim Sp_l features in layer l.
        bases: orthonormal bases of Sp_1 .. Sp_L, n_l x dim Sp_l.
    """

    whole: LayeredProblem
    reduced: LayeredProblem
    bases: tuple[Floats, ...]

    def lift(self, state: LayeredState, t: float) -> LayeredState:
        """The state of all features at time t: what lies outside the subspaces stays, or falls at its rate of decay."""
        parts = self.lift_parts(
            Parts(state.H, state.V, state.W, state.b, state.c), self.images_outside(self.whole.state.H), t
        )
        return LayeredState(parts.Z, parts.V, parts.W, parts.b, parts.c)

    def lift_parts(self, parts: Parts, outside: Floats, t: float) -> Parts:
        """The same of parts, whose columns Z have `outside` at the start outside of Sp_1."""
        B, rates = self.bases, self.whole.decay.of_layers(self.whole.L)
        Z = B[0] @ parts.Z + math.exp(-rates[0] * t) * outside
        V = tuple(
            B[l] @ new @ B[l - 1].T + math.exp(-rates[l] * t) * old
            for l, (new, old) in enumerate(zip(parts.V, self.layers_outside, strict=True), 1)
        )
        c = tuple(basis @ bias for basis, bias in zip(B, parts.c, strict=False))
        return Parts(Z, V, parts.W @ B[-1].T, parts.b, c)

    def images_outside(self, images: Floats) -> Floats:
        """What of the first layer's columns lies outside of Sp_1."""
        B = self.bases[0]
        result: Floats = images - B @ (B.T @ images)
        return result

    @cached_property
    def layers_outside(self) -> tuple[Floats, ...]:
        """What of V_2 .. V_L at the start lies outside, between the complements of the subspaces alone."""
        return tuple(
            V - self.bases[l] @ (self.bases[l].T @ V @ self.bases[l - 1]) @ self.bases[l - 1].T
            for l, V in enumerate(self.whole.state.V, 1)
        )


class Reduced:
    """The packed flow in the subspaces, and its states as packed states of all features.

    Args:
        flow: the packed flow of all features.
        subspaces: those of its problem.

    Attributes:
        whole: `flow`.
        flow: the packed flow in the subspaces.
        outside: squared size at the start of what lies outside of them; decay makes it smaller.
    """

    def __init__(self, flow: LayeredFlow, subspaces: Subspaces) -> None:
        self.whole, self.subspaces = flow, subspaces
        self.flow = LayeredFlow.build(subspaces.reduced, flow.form)
        self._turn: Floats | None = None
        if flow.frame is not None and self.flow.frame is not None:
            # Within-class factors of fewer features have fewer columns, whose samples the others' span.
            C = flow.problem.sizes.C
            self._turn = np.zeros((len(self.flow.weights), len(flow.weights)))
            self._turn[:C, :C] = np.eye(C)
            self._turn[C:, C:] = self.flow.frame.Q.T @ flow.frame.Q
        images = flow.unpack(flow.start).Z
        self._outside = subspaces.images_outside(images)
        s, L = flow.problem.sizes, flow.problem.L
        self._rates = flow.problem.decay.of_layers(L)
        still = (self._outside, *subspaces.layers_outside)
        self._squares = [float(np.sum(part**2)) for part in still]
        self.outside = sum(self._squares)
        chain = self._outside[:, s.C :] if flow.frame is not None else self._outside
        for layer in subspaces.layers_outside:
            chain = layer @ chain
        self._chain = float(np.sum(chain**2))

    def lift(self, t: float, y: Float64[Floats, " R"]) -> Vector:
        """The packed state of all features at time t."""
        p = self.flow.unpack(y)
        Z = p.Z if self._turn is None else p.Z @ self._turn
        p = self.subspaces.lift_parts(Parts(Z, p.V, p.W, p.b, p.c), self._outside, t)
        return np.concatenate([part.ravel() for part in (p.Z, *p.V, p.W, p.b, *p.c)])

    def within_rms(self, t: float, y: Vector) -> float:
        """`LayeredFlow.within_rms` of all features."""
        seen = self.flow.within_rms(y) ** 2 * self.flow.problem.sizes.n
        fallen = math.exp(-2 * sum(self._rates) * t)
        return math.sqrt(
            (seen + fallen * self._chain / self.whole.problem.sizes.N) / self.whole.problem.sizes.n
        )

    def norms(self, t: float, y: Vector, speed: Vector) -> tuple[float, float]:
        """|y| and |dy/dt| of all features: what lies outside is orthogonal to all that moves."""
        fallen = [
            math.exp(-2 * rate * t) * square for rate, square in zip(self._rates, self._squares, strict=True)
        ]
        falls = sum(rate**2 * square for rate, square in zip(self._rates, fallen, strict=True))
        return math.sqrt(float(y @ y) + sum(fallen)), math.sqrt(float(speed @ speed) + falls)


def worthwhile(problem: LayeredProblem) -> Subspaces | None:
    """The subspaces of a problem's start, where they leave less than half of the unknowns; None where they do not."""
    return _subspaces(problem, WORTH * _unknowns(problem, problem.widths))


def subspaces(problem: LayeredProblem) -> Subspaces:
    """The smallest such subspaces of a problem's start, and the problem in their coordinates."""
    found = _subspaces(problem, math.inf)
    assert found is not None
    return found


def _unknowns(problem: LayeredProblem, widths: Sequence[int]) -> int:
    """How many numbers layers of these widths are."""
    sizes = problem.sizes
    mixed = problem.thin is None or not problem.squared_error
    columns = sizes.N if mixed else sizes.C + min(widths[0], sizes.N - sizes.C)
    layers = sum(below * above for below, above in pairwise(widths))
    return widths[0] * columns + layers + sizes.C * widths[-1]


def _subspaces(problem: LayeredProblem, most: float) -> Subspaces | None:
    """The subspaces, if they leave no more unknowns than `most`; they only grow, so that it is known early."""
    state, sizes = problem.state, problem.sizes
    H1 = class_means(state.H, sizes)
    D = deviations(state.H, H1, sizes)
    # A kernel that tells class means and deviations apart leaves only left factors on the deviations; another mixes all samples.
    first = H1 if problem.thin is not None and problem.squared_error else state.H
    scatters = [_unit(part @ part.T) for part in _of_rates(problem, D)]
    seeds: list[Floats] = [np.zeros((n, 0)) for n in problem.widths]
    seeds[0] = _unit(first)
    seeds[-1] = np.concatenate([seeds[-1], _unit(state.W.T)], axis=1)
    for l, c in enumerate(state.c):
        seeds[l] = np.concatenate([seeds[l], _unit(c[:, None])], axis=1)
    bases = [_span(seed) for seed in seeds]
    while True:
        if _unknowns(problem, [basis.shape[1] for basis in bases]) > most:
            return None
        grown = [[basis] for basis in bases]
        grown[0] += [scatter @ bases[0] for scatter in scatters]
        for l, V in enumerate(state.V, 1):
            grown[l].append(_unit(V) @ bases[l - 1])
            grown[l - 1].append(_unit(V).T @ bases[l])
        closed = [_span(np.concatenate(parts, axis=1)) for parts in grown]
        if [b.shape for b in closed] == [b.shape for b in bases]:
            break
        bases = closed
    reduced = LayeredState(
        bases[0].T @ state.H,
        tuple(bases[l].T @ V @ bases[l - 1] for l, V in enumerate(state.V, 1)),
        state.W @ bases[-1],
        state.b,
        tuple(basis.T @ c for basis, c in zip(bases, state.c, strict=False)),
    )
    narrow = replace(problem, sizes=replace(sizes, n=bases[-1].shape[1]), state=reduced)
    return Subspaces(problem, narrow, tuple(bases))


def _of_rates(problem: LayeredProblem, D: Floats) -> list[Floats]:
    """The deviations of classes that fall at one rate; scatters of others part, each by a left factor of its own."""
    rates = None if problem.thin is None else problem.thin.groups
    if rates is None:
        return [D]
    per_sample = rates[problem.sizes.labels]
    return [D[:, per_sample == rate] for rate in np.unique(rates)]


def _unit(array: Floats) -> Floats:
    size = float(np.linalg.norm(array))
    return array / size if size else array


def _span(columns: Floats) -> Floats:
    if not columns.shape[1]:
        return columns
    U, s, _ = np.linalg.svd(columns, full_matrices=False)
    # A layer without anything to see keeps one feature, so that arrays stay arrays.
    rank = max(int((s > ZERO * max(s[0], 1e-300)).sum()), 1)
    result: Floats = U[:, :rank]
    return result
