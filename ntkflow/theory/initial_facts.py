"""What an initial state decides beforehand: E and its signs, zero mean, symmetry, and the limit where it follows."""

from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import numpy as np

from ntkflow._types import Floats
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.metrics import invariant
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import decompose, kept
from ntkflow.scaling import frobenius
from ntkflow.theory.bounds import Inertia, bias_bounds, floors_of, rounding, signs_of
from ntkflow.theory.exact.recognise import sector_of
from ntkflow.theory.exact.sector import Sector
from ntkflow.theory.limits import Limit, collapsed, equal_bias, projector_invariant, x_star

# Relative size below which a part of the state counts as zero.
ZERO = 1e-10
# The same for singular values of a whole trajectory's span.
RANK = 1e-12


@dataclass(frozen=True)
class Facts:
    """What the answers depend on, computed once.

    Attributes:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        signs: inertia of E.
        norm_E: |E|_F over the sum of the norms of its terms.
        zero_E: whether E = 0 to rounding.
        spectrum_E: eigenvalues of E, descending.
        projector: (e, d) when E = e times a projector of rank d on a space that contains row(W).
        V: |b - 1/C|^2 + (N/mu_global) |g|^2, which never rises.
        centred: whether g = 0 for all time and b tends to 1/C: g = 0, and b = 1/C or b = beta 1, W^T 1 = 0.
        column_sums: |W^T 1| / |W|.
        trace_S: tr S.
        frozen: the part of tr S in directions that W and the class means never see.
        floor: bound that tr S cannot cross.
        reach: dimension of the space that holds the whole trajectory.
        symmetric: whether relabelling the classes is the same as rotating the features.
        saddle: whether the state lies on the path into the saddle W = H = 0.
        sector: the state as seven numbers when it lies in the sector of theory 4.5.
        loss: the loss (4).
        means: |M|^2, the sum of squares of the centred class means.
        still: whether W and the class means are zero, so that nothing but the biases ever moves.
        biases_decay: whether decay pulls on the biases, which then end at zero where zero loss lets them.
    """

    sizes: Sizes
    kernel: BlockKernel
    signs: Inertia
    norm_E: float
    zero_E: bool
    spectrum_E: tuple[float, ...]
    projector: tuple[float, int] | None
    V: float
    centred: bool
    column_sums: float
    trace_S: float
    frozen: float
    floor: float
    reach: int
    symmetric: bool
    saddle: bool
    sector: Sector | None
    loss: float
    means: float
    still: bool
    biases_decay: bool = False

    @property
    def needed(self) -> int:
        """Least rank of W H1 at zero loss: C-1, and C without biases."""
        return self.sizes.C - (0 if self.biases_decay else 1)

    @property
    def can_fit(self) -> bool:
        """Whether the flow has the dimensions that zero loss needs."""
        return self.reach >= self.needed

    @property
    def least_loss(self) -> float:
        """What is left of the loss where the features have too few dimensions: m (C - 1 - reach)/2, 0 elsewhere.

        W H1 + b 1^T has rank reach + 1 or less, and all singular values of the targets I are 1.
        """
        return self.sizes.per_class * max(0, self.sizes.C - 1 - self.reach) / 2

    @property
    def algebraic(self) -> bool:
        """Whether one direction of row(W) is left without linear decay (theory 7.3).

        With E = 0, g = 0, b = 1/C and W^T 1 != 0 it exists when W has rank C, one more than the class means need.
        """
        uncentred = self.zero_E and self.centred and self.column_sums > ZERO
        return uncentred and self.trace_S > 0 and self.reach >= self.sizes.C

    @cached_property
    def limit(self) -> Limit | None:
        """The Gram matrices at zero loss where the initial state alone decides them (theory 4.5, 5.4, 5.5)."""
        if self.saddle or not self.can_fit:
            return None
        if self.biases_decay:
            return equal_bias(self.sizes, self.kernel, 0.0) if self.zero_E else None
        if self.centred and self.zero_E:
            return collapsed(self.sizes, self.kernel)
        if self.centred and self.projector is not None:
            return projector_invariant(self.sizes, self.kernel, *self.projector)
        if self.sector is not None and self.sector.sJ == 0 and not self.sector.into_saddle:
            return self.sector.limit()
        return None

    @property
    def collapse_e(self) -> float:
        """The eigenvalue e of E at the collapse that the limit is; 0 where it is another or unknown."""
        if (
            self.limit is None
            or self.zero_E
            or self.projector is None
            or self.projector[1] != self.sizes.C - 1
        ):
            return 0.0
        return self.projector[0] if self.centred else 0.0


def facts(sizes: Sizes, kernel: BlockKernel, state: State, relative: float = 0.0) -> Facts:
    """Everything that `nc1` .. `nc4` look at.

    Args:
        sizes: sizes of the state.
        kernel: scalar blocks.
        state: initial state.
        relative: relative accuracy of the state; 0 means exact to rounding.
    """
    return kept(state, _name(sizes, kernel, relative), lambda: _facts(sizes, kernel, state, relative))


def remember(sizes: Sizes, kernel: BlockKernel, state: State, found: Facts) -> None:
    """Let `facts` know what has been found of a state, inside `problem.thin.remembering`."""
    kept(state, _name(sizes, kernel, 0.0), lambda: found)


def _name(sizes: Sizes, kernel: BlockKernel, relative: float) -> tuple[object, ...]:
    return "facts", sizes, kernel, relative


def _facts(sizes: Sizes, kernel: BlockKernel, state: State, relative: float) -> Facts:
    V = bias_bounds(state, sizes, kernel).V
    # In the coordinates of the subspace that holds the trajectory: E vanishes outside, and no number here sees which they are.
    thin, frame = decompose(state, sizes)
    system = ThinSystem.build(kernel.thin(sizes), sizes, frame.column_class, frame.n_eff)
    terms = invariant.thin_terms(thin, system)
    E, scale = terms.E, terms.scale
    # E is a difference of terms that may be far larger: zero is what their rounding leaves of it.
    tolerance, zero = rounding(sizes.n, scale, relative), max(ZERO, relative)
    values = np.linalg.eigvalsh((E + E.T) / 2)
    if frame.n_eff < sizes.n:
        values = np.sort(np.concatenate([values, np.zeros(sizes.n - frame.n_eff)]))
    zero_E = bool(np.abs(values).max() <= tolerance)
    # Eigenspaces of S, and not eigenvectors: of equal eigenvalues the vectors are anyone's, and would break a symmetry.
    spaces, sources = spread_spaces(thin), sources_of(thin)
    column_sums = _ratio(frobenius(thin.W.sum(axis=0)), frobenius(thin.W))
    return Facts(
        sizes=sizes,
        kernel=kernel,
        signs=signs_of(values, tolerance),
        norm_E=_ratio(frobenius(E), scale),
        zero_E=zero_E,
        spectrum_E=tuple(values[::-1].tolist()),
        projector=None if zero_E else projector_of(E, values, thin, tolerance, zero),
        V=V,
        centred=_centred(thin, column_sums, zero),
        column_sums=column_sums,
        trace_S=float(np.sum(thin.L**2)) / sizes.per_class,
        frozen=frozen_part(sources, spaces) / sizes.per_class,
        # E raised by its rounding: a floor must never be too high.
        floor=float(floors_of(values + tolerance, sizes, kernel).sum()),
        # The subspace is the span of W^T, H1 and L, cut off where `_reach` cuts; of nothing it has one dimension all the same.
        reach=frame.n_eff if np.any(sources) or np.any(thin.L) else 0,
        symmetric=is_symmetric(thin, sources, spaces, zero),
        saddle=runs_into_saddle(thin, sizes, kernel, zero),
        sector=sector_of(state, sizes, kernel, zero),
        loss=system.loss(thin),
        means=float(np.sum((thin.H1 - thin.H1.mean(axis=1, keepdims=True)) ** 2)),
        still=not (np.any(thin.W) or np.any(thin.H1)),
    )


def reach(problem: Problem) -> int:
    """Dimension of the space that the flow of (H, W, b) never leaves, where the kernel acts on samples; n elsewhere."""
    state, coefficients = problem.state, problem.thin
    if coefficients is not None:
        thin, _ = decompose(state, problem.sizes, coefficients.groups, subspace=False)
        return _reach(sources_of(thin), thin.L)
    if not problem.kernel.on_samples:
        return problem.sizes.n
    # dH/dt has its columns in row(W), dW/dt its rows in col(H): the span of both is kept, whatever K is.
    parts = [part / max(frobenius(part), np.finfo(float).tiny) for part in (state.W.T, state.H)]
    return int(np.linalg.matrix_rank(np.hstack(parts), rtol=RANK))


def needed_dimensions(problem: Problem) -> int:
    """Rank of W H at zero loss, the least dimension of features that fit the classes (theory 5.1, 11.8).

    W H = (I - b 1^T) Y: trained biases may end with 1^T b = 1, which takes one from C; held ones are what they are.
    """
    C = problem.sizes.C
    return (
        int(np.linalg.matrix_rank(np.eye(C) - problem.state.b[:, None])) if not problem.train_bias else C - 1
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _centred(thin: ThinState, column_sums: float, zero: float) -> bool:
    """Zero global mean for all time, and b -> 1/C (theory 3.8)."""
    C, b = len(thin.b), thin.b
    if np.linalg.norm(thin.H1.mean(axis=1)) > zero * max(float(np.linalg.norm(thin.H1)), ZERO):
        return False
    equal = float(np.ptp(b)) <= zero and column_sums <= zero
    return bool(equal or np.abs(b - 1 / C).max() <= zero)


def projector_of(
    E: Floats, spectrum: Floats, thin: ThinState, tolerance: float, zero: float
) -> tuple[float, int] | None:
    """(e, d) of E = e Pi with row(W) in the range of Pi and d = C-1 or C."""
    # Rank C - 1 leads to collapse, rank C misses NC1 or NC3 (theory 5.5); any other rank fixes no limit. Most states are
    # told by eigenvalues that are twice as far apart as is asked of them below, for which no vectors are needed.
    sizes = np.abs(spectrum)
    large = spectrum[sizes > 2 * tolerance]
    if len(large) and np.ptp(large) > 2 * max(2 * tolerance, zero * sizes.max()):
        return None
    values, vectors = np.linalg.eigh(E)
    there = np.abs(values) > tolerance
    d, C = int(there.sum()), len(thin.b)
    if d not in (C - 1, C) or np.ptp(values[there]) > max(2 * tolerance, zero * np.abs(values).max()):
        return None
    outside = frobenius(thin.W @ vectors[:, ~there])
    return (float(values[there].mean()), d) if outside <= zero * frobenius(thin.W) else None


def spread_spaces(thin: ThinState) -> list[tuple[float, Floats]]:
    """Positive eigenvalues of L L^T, equal ones joined, each with a basis of its eigenspace."""
    U, s, _ = np.linalg.svd(thin.L, full_matrices=False)
    if s.size == 0:
        return []
    cuts = [0, *(np.flatnonzero(s[:-1] - s[1:] > ZERO * s[0]) + 1).tolist(), len(s)]
    return [(float(np.mean(s[a:b] ** 2)), U[:, a:b]) for a, b in pairwise(cuts)]


def sources_of(thin: ThinState) -> Floats:
    """[W^T, H1], each scaled to norm one."""
    blocks = (thin.W.T, thin.H1)
    return np.hstack([block / max(frobenius(block), np.finfo(float).tiny) for block in blocks])


def _reach(Z: Floats, L: Floats) -> int:
    """Dimension of span [W^T, H1, L], which the flow never leaves (theory 4.3), from `_sources` and L."""
    spread = L / max(frobenius(L), np.finfo(float).tiny)
    s = np.linalg.svd(np.hstack([Z, spread]), compute_uv=False)
    return int(np.sum(s > RANK * s[0]))


def frozen_part(Z: Floats, spaces: list[tuple[float, Floats]]) -> float:
    """Trace of L L^T outside the smallest space that contains [W^T, H1] and that L L^T maps into itself."""
    # Eigenspace by eigenspace of S, in which S is a number: only what W^T and H1 see of one is ever moved (theory 4.3).
    total = 0.0
    for value, V in spaces:
        part = V.T @ Z
        # The one singular value of a row is its norm.
        seen = np.linalg.svd(part, compute_uv=False) if len(part) > 1 else np.array([frobenius(part)])
        total += value * (V.shape[1] - int(np.sum(seen > ZERO)))
    return total


def is_symmetric(thin: ThinState, Z: Floats, spaces: list[tuple[float, Floats]], zero: float) -> bool:
    """Whether b is constant and all Gram matrices of [W^T, H1], also within each eigenspace of S, are a P + c J."""
    C = len(thin.b)
    if float(np.ptp(thin.b)) > zero:
        return False
    P = centring(C)
    J = np.eye(C) - P
    # One at a time: a start without symmetry fails at the first, and all of them would fill the memory.
    for gram in chain((Z.T @ Z,), ((Z.T @ V) @ (V.T @ Z) for _, V in spaces)):
        for block in (gram[:C, :C], gram[:C, C:], gram[C:, C:]):
            # The mean over all permutations of the classes is what the block would be.
            mean = float(np.trace(P @ block)) / (C - 1) * P + float(np.trace(J @ block)) * J
            if np.abs(block - mean).max() > zero:
                return False
    return True


def runs_into_saddle(thin: ThinState, sizes: Sizes, kernel: BlockKernel, zero: float) -> bool:
    """W = 0 with all class means zero, or H1 = -W^T/x* on the manifold of theory 4.6 (theory 6)."""
    size = float(frobenius(thin.W) + frobenius(thin.H1))
    if size == 0:
        return True
    # Biases that are equal but not 1/C move by themselves, since W^T 1 = 0 and the mean vanishes.
    if (
        float(np.ptp(thin.b)) > zero
        or frobenius(thin.L) > zero * size
        or np.linalg.norm(thin.W.sum(axis=0)) > zero * size
    ):
        return False
    return bool(frobenius(thin.H1 + thin.W.T / x_star(sizes, kernel)) <= zero * size)
