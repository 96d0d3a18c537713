"""Will this state collapse? Reasoned answers for NC1-NC4 from the initial state alone, before any integration.

Each answer names the result it rests on (theory 3, 5 and 6). "yes" and "no" are statements about exact arithmetic
and infinite time. Theorem 5.2 assumes that the loss tends to 0, which no known result guarantees: answers that
need it say so.
"""

from dataclasses import asdict, dataclass, field

import numpy as np

from ntkflow import invariant
from ntkflow._types import Json
from ntkflow.bounds import Inertia, bias_bounds, floor, inertia, nc1_impossible, rounding
from ntkflow.collapse import centring
from ntkflow.dynamics import ThinSystem
from ntkflow.errors import InputError
from ntkflow.kernels.block import BlockKernel
from ntkflow.limits import collapsed, projector_invariant, x_star
from ntkflow.reduction import decompose
from ntkflow.sizes import Sizes
from ntkflow.state import State, ThinState

VERDICTS = ("yes", "no", "undetermined")
# Relative size below which a part of the state counts as zero.
ZERO = 1e-10
# The same for singular values of a whole trajectory's span.
RANK = 1e-12
IF_FITTED = "provided that the loss tends to 0"


@dataclass(frozen=True)
class Condition:
    """A reasoned answer.

    Attributes:
        verdict: "yes", "no" or "undetermined".
        sentence: the reason, and what else is assumed.
        numbers: the numbers that it rests on.
    """

    verdict: str
    sentence: str
    numbers: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise InputError("verdict", repr(self.verdict), f"must be one of {VERDICTS}", "choose one")

    def as_dict(self) -> Json:
        """Plain values for files."""
        return asdict(self)


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

    @property
    def can_fit(self) -> bool:
        """Zero loss needs W H1 of rank C-1 or more."""
        return self.reach >= self.sizes.C - 1

    @property
    def limit_known(self) -> bool:
        """Whether the Gram matrices of the limit follow from E alone."""
        return self.centred and (self.zero_E or self.projector is not None)


def facts(sizes: Sizes, kernel: BlockKernel, state: State, relative: float = 0.0) -> Facts:
    """Everything that `nc1` .. `nc4` look at.

    Args:
        sizes: sizes of the state.
        kernel: scalar blocks.
        state: initial state.
        relative: relative accuracy of the state; 0 means exact to rounding.
    """
    V = bias_bounds(state, sizes, kernel).V
    thin, frame = decompose(state, sizes, subspace=False)
    system = ThinSystem.build(kernel.thin(sizes), sizes, frame.column_class, sizes.n)
    terms = invariant.thin_terms(thin, system)
    tolerance, zero = rounding(terms, relative), max(ZERO, relative)
    values = np.sort(np.linalg.eigvalsh(terms.E))[::-1]
    zero_E = bool(np.abs(values).max() <= tolerance)
    spaces = _spread_spaces(thin)
    column_sums = _ratio(float(np.linalg.norm(thin.W.sum(axis=0))), float(np.linalg.norm(thin.W)))
    return Facts(
        sizes=sizes,
        kernel=kernel,
        signs=inertia(terms.E, tolerance),
        norm_E=_ratio(float(np.linalg.norm(terms.E)), terms.scale),
        zero_E=zero_E,
        spectrum_E=tuple(float(value) for value in values),
        projector=None if zero_E else _projector(terms.E, thin, tolerance, zero),
        V=V,
        centred=_centred(thin, column_sums, zero),
        column_sums=column_sums,
        trace_S=float(np.sum(thin.L**2)) / sizes.per_class,
        frozen=_frozen(thin, spaces) / sizes.per_class,
        floor=floor(terms.E + tolerance * np.eye(sizes.n), sizes, kernel),
        reach=_reach(thin),
        symmetric=_symmetric(thin, spaces, zero),
        saddle=_saddle(thin, sizes, kernel, zero),
    )


def assess(sizes: Sizes, kernel: BlockKernel, state: State, relative: float = 0.0) -> dict[str, Condition]:
    """The answers for NC1, NC2, NC3 and NC4.

    Args:
        sizes: sizes of the state.
        kernel: scalar blocks.
        state: initial state.
        relative: relative accuracy of the state; 0 means exact to rounding.
    """
    known = facts(sizes, kernel, state, relative)
    return {"NC1": nc1(known), "NC2": nc2(known), "NC3": nc3(known), "NC4": nc4(known)}


def nc1(f: Facts) -> Condition:
    """Does the variability within classes vanish?"""
    C, signs = f.sizes.C, f.signs
    counts = {"negative": float(signs.negative), "C": float(C), "trace_S": f.trace_S}
    if f.sizes.per_class == 1:
        return Condition("yes", "vacuous: one sample per class has no variability")
    if f.trace_S == 0:
        return Condition("yes", "all samples of a class coincide from the start and stay together", counts)
    if nc1_impossible(signs, f.sizes):
        reason = (
            f"impossible: E has {signs.negative} negative eigenvalues, more than C = {C}, and is constant"
        )
        return Condition("no", f"{reason}; tr S stays above {f.floor:.3g}", {**counts, "floor": f.floor})
    if f.frozen > ZERO * f.trace_S:
        reason = "part of the variability lies in directions that W and the class means never reach"
        return Condition("no", f"impossible: {reason}, and stays frozen", {**counts, "floor": f.frozen})
    if signs.semidefinite:
        return Condition("yes", f"E >= 0, so tr S falls at least like 1/t; {_speed(f)}", counts)
    if f.projector is not None and f.centred:
        return _nc1_projector(f, *f.projector)
    if f.reach == C - 1:
        reason = "all features lie in C - 1 dimensions, on all of which zero loss needs W to act"
        return Condition("yes", f"{reason}, {IF_FITTED}", {**counts, "dimensions": float(f.reach)})
    reason = (
        f"E has {signs.negative} negative eigenvalues, not more than C = {C}: neither excluded nor forced"
    )
    return Condition("undetermined", reason, counts)


def nc2(f: Facts) -> Condition:
    """Do the centred class means end as an equiangular tight frame?"""
    C = f.sizes.C
    if C == 2:
        return Condition("yes", "vacuous: two centred class means are opposite whatever happens")
    if not f.can_fit:
        reason = f"an equiangular tight frame of {C} means needs {C - 1} dimensions, the flow has {f.reach}"
        return Condition("no", f"impossible: {reason}", {"dimensions": float(f.reach)})
    if f.saddle:
        return _at_saddle()
    if f.symmetric:
        reason = "the state is symmetric under relabelling of the classes, and the flow keeps it so"
        return Condition("yes", f"{reason}; the means form the frame at all times, unless they merge")
    if f.limit_known:
        return Condition("yes", f"{_known(f)}: M^T M tends to a multiple of P, {IF_FITTED}", {"NC2": 0.0})
    if f.zero_E:
        reason = "E = 0: it depends on the biases at the end, and holds if they are equal"
        return Condition("undetermined", reason, {"bias_bound": float(np.sqrt(f.V))})
    return Condition(
        "undetermined", "E is not zero, so the limit of M^T M is not known", {"norm_E": f.norm_E}
    )


def nc3(f: Facts) -> Condition:
    """Do the class means and the classifier end dual to each other?"""
    if f.saddle:
        return _at_saddle()
    if not f.can_fit:
        return _cannot_fit(f)
    if f.limit_known:
        return _nc3_known(f)
    if f.signs.semidefinite and not _may_be_dual(f):
        reason = (
            "E >= 0 forces NC1, and NC1 with NC3 needs E = a Pi - (C/mu_global) g g^T of rank C - 1 or less"
        )
        sentence = f"{reason}, with C - 2 equal eigenvalues: the spectrum of E is another, {IF_FITTED}"
        return Condition("no", sentence, {"rank_E": float(f.signs.positive), "norm_E": f.norm_E})
    if f.zero_E and f.symmetric and f.trace_S == 0 and f.column_sums > ZERO:
        reason = "E = 0, equal biases, no variability and W^T 1 != 0: the biases end away from 1/C"
        return Condition("no", f"{reason} (theory 4.5), {IF_FITTED}", {"column_sums": f.column_sums})
    if f.zero_E:
        reason = "E = 0: it holds exactly if the biases end at 1/C and the global mean at 0"
        return Condition("undetermined", reason, {"bias_bound": float(np.sqrt(f.V))})
    reason = (
        "E is not zero; with NC1 it holds exactly if W W^T ends as x P and E = a Pi - (C/mu_global) g g^T"
    )
    return Condition("undetermined", reason, {"norm_E": f.norm_E})


def nc4(f: Facts) -> Condition:
    """Does the classifier end as the nearest class mean?"""
    if f.saddle:
        return _at_saddle()
    if not f.can_fit:
        return _cannot_fit(f)
    if f.limit_known or (f.zero_E and f.symmetric):
        cause = _known(f) if f.limit_known else "E = 0 and equal biases"
        return Condition("yes", f"{cause}: on the training data and for every feature vector, {IF_FITTED}")
    first = nc1(f)
    if first.verdict == "yes":
        reason = "NC1 and zero loss with distinct class means imply it on the training data"
        more = "; for other feature vectors it fails in general where the biases are unequal"
        return Condition("yes", f"{reason}, {IF_FITTED}{more}", first.numbers)
    return Condition("undetermined", f"it follows from NC1, for which the answer is {first.verdict!r}")


def _speed(f: Facts) -> str:
    if f.zero_E and f.centred:
        if f.column_sums > ZERO:
            return "with g = 0, b = 1/C and W^T 1 != 0 like 1/(2mt) for generic features, no faster"
        return "with g = 0 and W^T 1 = 0 it falls exponentially"
    return "exponentially if W W^T ends invertible"


def _nc1_projector(f: Facts, e: float, d: int) -> Condition:
    limit = projector_invariant(f.sizes, f.kernel, e, d)
    numbers = {"e": e, "d": float(d), "trace_S": limit.trace_S}
    if limit.trace_S == 0:
        return Condition("yes", f"{_known(f)}: the features lie in row(W) at the end, {IF_FITTED}", numbers)
    reason = f"{_known(f)}: one direction stays frozen and tr S tends to mu_single |e| = {limit.trace_S:.3g}"
    return Condition("no", f"{reason}, {IF_FITTED}", numbers)


def _nc3_known(f: Facts) -> Condition:
    if f.zero_E or f.projector is None:
        limit = collapsed(f.sizes, f.kernel)
    else:
        limit = projector_invariant(f.sizes, f.kernel, *f.projector)
    if limit.NC3 == 0:
        return Condition("yes", f"{_known(f)}, {IF_FITTED}", {"NC3": 0.0, "column_sums": f.column_sums})
    reason = f"{_known(f)}: W keeps a part along 1, and NC3 ends at {limit.NC3:.3g}"
    return Condition("no", f"{reason}, {IF_FITTED}", {"NC3": limit.NC3})


def _known(f: Facts) -> str:
    tail = "zero global mean and biases that end at 1/C"
    if f.zero_E or f.projector is None:
        return f"E = 0 with {tail}"
    return f"E = {f.projector[0]:.3g} times a projector of rank {f.projector[1]} with {tail}"


def _may_be_dual(f: Facts) -> bool:
    """E >= 0 and NC3: C-2 eigenvalues are equal, one lies between them and 0, the others vanish."""
    C, positive, values = f.sizes.C, f.signs.positive, f.spectrum_E
    if positive == 0:
        return True
    equal = C <= 3 or values[0] - values[C - 3] <= 2 * f.signs.tolerance
    return C - 2 <= positive <= C - 1 and equal


def _at_saddle() -> Condition:
    reason = "the state runs into the saddle W = H = 0 and the loss does not vanish"
    return Condition("no", f"{reason} in exact arithmetic; rounding errors let it escape later")


def _cannot_fit(f: Facts) -> Condition:
    reason = (
        f"zero loss needs {f.sizes.C - 1} dimensions, the flow has {f.reach}: the theory of limits is silent"
    )
    return Condition("undetermined", reason, {"dimensions": float(f.reach)})


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _centred(thin: ThinState, column_sums: float, zero: float) -> bool:
    """Zero global mean for all time, and b -> 1/C (theory 3.8)."""
    C, b = len(thin.b), thin.b
    if np.linalg.norm(thin.H1.mean(axis=1)) > zero * max(float(np.linalg.norm(thin.H1)), ZERO):
        return False
    equal = float(np.ptp(b)) <= zero and column_sums <= zero
    return bool(equal or np.abs(b - 1 / C).max() <= zero)


def _projector(E: np.ndarray, thin: ThinState, tolerance: float, zero: float) -> tuple[float, int] | None:
    """(e, d) of E = e Pi with row(W) in the range of Pi and d = C-1 or C."""
    values, vectors = np.linalg.eigh(E)
    there = np.abs(values) > tolerance
    d, C = int(there.sum()), len(thin.b)
    if d not in (C - 1, C) or np.ptp(values[there]) > max(2 * tolerance, zero * np.abs(values).max()):
        return None
    outside = np.linalg.norm(thin.W @ vectors[:, ~there])
    return (float(values[there].mean()), d) if outside <= zero * np.linalg.norm(thin.W) else None


def _spread_spaces(thin: ThinState) -> list[tuple[float, np.ndarray]]:
    """Positive eigenvalues of L L^T, equal ones joined, each with a basis of its eigenspace."""
    U, s, _ = np.linalg.svd(thin.L, full_matrices=False)
    if s.size == 0:
        return []
    cuts = np.flatnonzero(s[:-1] - s[1:] > ZERO * s[0]) + 1
    parts = zip(np.split(s, cuts), np.split(U, cuts, axis=1), strict=True)
    return [(float(np.mean(part**2)), V) for part, V in parts]


def _sources(thin: ThinState) -> np.ndarray:
    """[W^T, H1], each scaled to norm one."""
    blocks = (thin.W.T, thin.H1)
    return np.hstack([block / max(float(np.linalg.norm(block)), np.finfo(float).tiny) for block in blocks])


def _reach(thin: ThinState) -> int:
    """Dimension of span [W^T, H1, L], which the flow never leaves (theory 4.3)."""
    spread = thin.L / max(float(np.linalg.norm(thin.L)), np.finfo(float).tiny)
    s = np.linalg.svd(np.hstack([_sources(thin), spread]), compute_uv=False)
    return int(np.sum(s > RANK * s[0]))


def _frozen(thin: ThinState, spaces: list[tuple[float, np.ndarray]]) -> float:
    """Trace of L L^T outside the smallest space that contains [W^T, H1] and that L L^T maps into itself."""
    Z, total = _sources(thin), 0.0
    for value, V in spaces:
        seen = np.linalg.svd(V.T @ Z, compute_uv=False)
        total += value * (V.shape[1] - int(np.sum(seen > ZERO)))
    return total


def _symmetric(thin: ThinState, spaces: list[tuple[float, np.ndarray]], zero: float) -> bool:
    """Whether b is constant and all Gram matrices of [W^T, H1], also within each eigenspace of S, are a P + c J."""
    C, Z = len(thin.b), _sources(thin)
    if float(np.ptp(thin.b)) > zero:
        return False
    for gram in (Z.T @ Z, *(Z.T @ V @ V.T @ Z for _, V in spaces)):
        for block in (gram[:C, :C], gram[:C, C:], gram[C:, C:]):
            if np.abs(block - _symmetric_part(block)).max() > zero:
                return False
    return True


def _symmetric_part(block: np.ndarray) -> np.ndarray:
    """Mean of a C x C matrix over permutations of the classes."""
    C = block.shape[0]
    P = centring(C)
    J = np.eye(C) - P
    return float(np.trace(P @ block)) / (C - 1) * P + float(np.trace(J @ block)) * J


def _saddle(thin: ThinState, sizes: Sizes, kernel: BlockKernel, zero: float) -> bool:
    """W = 0 with all class means zero, or H1 = -W^T/x* on the manifold of theory 4.6 (theory 6)."""
    size = float(np.linalg.norm(thin.W) + np.linalg.norm(thin.H1))
    if size == 0:
        return True
    b = float(np.abs(thin.b - 1 / sizes.C).max())
    if b > zero or np.linalg.norm(thin.L) > zero * size or np.linalg.norm(thin.W.sum(axis=0)) > zero * size:
        return False
    return bool(np.linalg.norm(thin.H1 + thin.W.T / x_star(sizes, kernel)) <= zero * size)
