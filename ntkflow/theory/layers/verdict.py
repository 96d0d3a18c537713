"""Will linear layers collapse, lose rank or die? What their start decides, with reasons (theory 18.4, 18.6, 18.8)."""

import math
from dataclasses import dataclass, replace

import numpy as np

from ntkflow._types import Json
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.state import class_means, deviations
from ntkflow.theory.layers import rates
from ntkflow.theory.layers.decay import DecayedLayers, decayed

COLLAPSES, LOSES, DIES, KEEPS, OPEN = "collapses", "loses rank", "dies", "keeps deviations", "undecided"
# What is smaller than this, relative to what it is made of, is zero.
ZERO = 1e-9
# So many barriers above it the contrasts of Gaussian starts, which differ by some half of their size, have all been seen to live.
SAFE = 2.0


@dataclass(frozen=True)
class Verdict:
    """What becomes of a start.

    Attributes:
        outcome: collapses, loses rank, dies, keeps deviations or undecided.
        certain: whether it is proved for this start, and not only what starts of this size do.
        rank: contrasts that are fitted in the end, where that is said; C - 1 is all of them.
        at_least: contrasts that are fitted in the end for certain.
        reasons: why, in sentences.
    """

    outcome: str
    certain: bool
    rank: int | None
    at_least: int
    reasons: tuple[str, ...]

    def as_dict(self) -> Json:
        """Plain values for files."""
        return {**vars(self), "reasons": list(self.reasons)}

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        how = (
            ""
            if self.outcome == OPEN
            else " for certain"
            if self.certain
            else " as far as starts of this size tell"
        )
        rank = f" (rank {self.rank})" if self.outcome == LOSES and self.rank is not None else ""
        return f"{self.outcome}{rank}{how}: {'; '.join(self.reasons)}"


def verdict_of(problem: LayeredProblem) -> Verdict:
    """Whether this run collapses, loses rank or dies.

    Decided are widths or starts of too low a rank, decay above its threshold, starts that are aligned, starts within a ball from
    which decay lets nothing grow, and starts below an energy from which not all contrasts can be lost; otherwise it is said what
    starts of this size do. For blocks of one size and the squared error; `undecided` elsewhere.
    """
    C = problem.sizes.C
    if problem.equal_blocks is None or not problem.squared_error or problem.state.c:
        why = "known for scalar blocks of equal classes, the squared error and layers without biases only"
        return Verdict(OPEN, False, None, 0, (why,))
    flow, lost, narrow = LayeredFlow.build(problem), decayed(problem), min(problem.widths)
    if lost is not None and lost.p_high is None:
        what = (
            f"the rates' mean {lost.rate:.4g} is above {lost.saddle_node:.4g}, where nothing can stay fitted"
        )
        return Verdict(DIES, True, 0, 0, (what,))
    if _rests(flow):
        return Verdict(DIES, True, 0, 0, ("two factors are zero, so that nothing moves W H",))
    if narrow < C - 1:
        why = f"a layer of {narrow} features passes at most {narrow} of {C - 1} contrasts"
        return Verdict(LOSES, not problem.decay.any, None, 0, (why,))
    if lost is not None:
        return _with_decay(flow, lost)
    if problem.decay.any:
        why = "decay is decided where every layer and W decay, and b does not"
        return Verdict(OPEN, False, None, 0, (why,))
    return _without_decay(flow)


def _rests(flow: LayeredFlow) -> bool:
    p = flow.unpack(flow.start)
    return sum(not np.any(part) for part in (p.Z, *p.V, p.W)) >= 2


def _with_decay(flow: LayeredFlow, lost: DecayedLayers) -> Verdict:
    problem, L, C = flow.problem, flow.problem.L, flow.problem.sizes.C
    sizes = aligned_sizes(flow)
    if sizes is not None and len(set(problem.decay.rates(L))) == 1:
        return _of_sizes(sizes, lost.barrier or 0.0, f"the barrier s_- = {lost.barrier or 0:.4g} of decay")
    energy, bound = _at_least(flow, lost)
    if L == 1:
        why = "for L = 1 zero is a saddle below the threshold, and generic starts leave it"
        return Verdict(COLLAPSES, False, C - 1, bound, (why,))
    ball, size = _deadly_size(flow), _mean_size(flow)
    if size < ball:
        why = f"layers of mean size {size:.4g} lie within {ball:.4g}, where decay outruns whatever grows"
        return Verdict(DIES, True, 0, 0, (why,))
    if bound == C - 1:
        return Verdict(COLLAPSES, True, C - 1, bound, (energy,))
    barrier, s0 = lost.barrier or 0.0, rates.start_size(problem)
    against = f"the mean size {s0:.4g} of the layers' contrasts against the barrier s_- = {barrier:.4g}"
    told = (f"{energy}; {against}",) if bound else (against,)
    if s0 > SAFE * barrier:
        return Verdict(COLLAPSES, False, C - 1, bound, told)
    if s0 < barrier and not bound:
        return Verdict(DIES, False, 0, 0, told)
    each = "each contrast has a size of its own, and those below the barrier die"
    return Verdict(LOSES, False, None, bound, (*told, each))


def _without_decay(flow: LayeredFlow) -> Verdict:
    problem, C, L = flow.problem, flow.problem.sizes.C, flow.problem.L
    signs, zero = signs_of(flow)
    if zero:
        rank = int(np.linalg.matrix_rank(problem.state.W))
        if rank < C - 1:
            why = f"all Q_l = 0 keep the rank of W, {rank} of {C - 1} contrasts"
            return Verdict(LOSES, True, rank, 0, (why,))
    sizes = aligned_sizes(flow)
    if sizes is not None:
        found = _of_sizes(sizes, 0.0, "the sign of its p")
        if found.outcome == COLLAPSES and trace_of_deviations(problem) > 0:
            why = "deviations lie where the classifier sees nothing, and stay as they are"
            return replace(found, outcome=KEEPS, reasons=(why, *_staircase(sizes, L)))
        return replace(found, reasons=(*found.reasons, *_staircase(sizes, L)))
    slow = (
        ()
        if L == 1
        else (
            "contrasts are learned one at a time, after plateaus: a flat loss before all p are 1 proves nothing",
        )
    )
    negative = [l for l, value in enumerate(signs, 1) if value < -ZERO]
    if negative:
        which = ", ".join(f"Q_{l}" for l in negative)
        why = f"{which} of {L} has negative eigenvalues, so that what the classifier does not see of the deviations stays"
        return Verdict(KEEPS, False, C - 1, 0, (why, *slow))
    return Verdict(COLLAPSES, False, C - 1, 0, ("all Q_l >= 0: NC1 in every layer once the loss is 0", *slow))


def _of_sizes(sizes: list[float], barrier: float, what: str) -> Verdict:
    """What becomes of aligned contrasts, each by itself."""
    alive = sum(size > barrier for size in sizes)
    shown = ", ".join(f"{size:.4g}" for size in sizes)
    reason = (
        f"aligned contrasts of sizes {shown} are each decided by {what}: {alive} of {len(sizes)} lie above"
    )
    outcome = DIES if alive == 0 else COLLAPSES if alive == len(sizes) else LOSES
    return Verdict(outcome, True, alive, alive, (reason,))


def _staircase(sizes: list[float], L: int) -> tuple[str, ...]:
    least, most = min(sizes), max(sizes)
    if L == 1 or least > 0.99 * most:
        return ()
    return (
        f"from small starts the last is learned {(most / least) ** (L - 1):.3g} times as late as the first",
    )


def aligned_sizes(flow: LayeredFlow) -> list[float] | None:
    """s_i(0) of every contrast, negative where W H1 is, of a start that decouples; None where it does not (theory 18.6).

    It does where V = 0, W^T 1 = 0, W H2 = 0, W H1 is symmetric and Q_l U_l^T = 0: what is seen of each layer is balanced.
    """
    problem, C, L = flow.problem, flow.problem.sizes.C, flow.problem.L
    p, H = flow.unpack(flow.start), problem.state.H
    below, H1 = p.below, class_means(H, problem.sizes)
    T, size = below[0] @ H1, float(np.linalg.norm(below[0])) * float(np.linalg.norm(H1))
    if size == 0:
        return None
    seen = below[0] @ deviations(H, H1, problem.sizes)
    parts = [
        (T - T.T, size),
        (seen, size),
        (p.W.sum(axis=0), float(np.linalg.norm(p.W))),
        (H1.sum(axis=1), float(np.linalg.norm(H1))),
        (p.b - 1 / C, 1.0),
    ]
    for U, a, o, c in zip(below, *flow.grams(flow.start), strict=True):
        scale = float(np.linalg.norm(a) + np.linalg.norm(o)) * float(np.linalg.norm(U))
        parts.append(((a - o - c) @ U.T, scale))
    if any(float(np.linalg.norm(part)) > math.sqrt(ZERO) * of for part, of in parts):
        return None
    values = np.sort(np.linalg.eigvalsh((T + T.T) / 2))
    # Along 1 there is nothing; of the others each is p of a contrast, and prod s_l = p sqrt(m/mu_class).
    values = np.delete(values, np.argmin(np.abs(values)))[::-1]
    unit = math.sqrt(problem.sizes.per_class / rates.mean_eigenvalues(problem)[1])
    return [math.copysign(float(abs(v) * unit) ** (1 / (L + 1)), float(v)) for v in values]


def signs_of(flow: LayeredFlow) -> tuple[list[float], bool]:
    """Least eigenvalue of each Q_l at the start over the size of its terms, and whether all Q_l are zero."""
    least, zero = [], True
    for a, o, c in zip(*flow.grams(flow.start), strict=True):
        size = float(np.linalg.norm(a) + np.linalg.norm(o) + np.linalg.norm(c)) or 1.0
        values = np.linalg.eigvalsh(a - o - c) / size
        least.append(float(values[0]))
        zero = zero and float(np.abs(values).max()) < ZERO
    return least, zero


def trace_of_deviations(problem: LayeredProblem) -> float:
    """tr S[1] at the start; 0 where it is rounding."""
    H, sizes = problem.state.H, problem.sizes
    trace = float(np.sum(deviations(H, class_means(H, sizes), sizes) ** 2)) / sizes.per_class
    return trace if trace > ZERO**2 * float(np.sum(H**2)) else 0.0


def _at_least(flow: LayeredFlow, lost: DecayedLayers) -> tuple[str, int]:
    """How many contrasts the energy of the start keeps alive, and why: it only falls, and each that dies costs m/2."""
    problem, L, m = flow.problem, flow.problem.L, flow.problem.sizes.per_class
    assert lost.p_high is not None
    x = (m / rates.mean_eigenvalues(problem)[1]) ** (1 / (L + 1))
    alive = m / 2 * (1 - lost.p_high) ** 2 + (L + 1) / 2 * lost.rate * x * lost.p_high ** (2 / (L + 1))
    start, dead = flow.loss(flow.start) + flow.penalty(flow.start), m / 2 * (problem.sizes.C - 1)
    if alive >= m / 2 or start >= dead:
        return "", 0
    count = min(math.ceil((dead - start) / (m / 2 - alive) - ZERO), problem.sizes.C - 1)
    why = f"the loss with its penalty, {start:.4g}, only falls, and no rest with fewer than {count} contrasts lies below it"
    return why, count


def _mean_size(flow: LayeredFlow) -> float:
    """Root of the mean of |V_l|_F^2 over V_1 .. V_L, W; of V_1 on the inputs' span."""
    p = flow.unpack(flow.start)
    squares = [float(np.trace(flow.inverse(p.Z))), *(float(np.sum(V**2)) for V in (*p.V, p.W))]
    return math.sqrt(float(np.mean(squares)))


def _deadly_size(flow: LayeredFlow) -> float:
    """Mean size below which all layers die: (least rate/A)^{1/(L-1)}, A = sqrt(m mu_class) + sqrt(V N mu_global).

    d sum |V_l|^2/dt = -2 sum l_l |V_l|^2 - 2 (L + 1) <R, W H>, and -<R, W H> <= |(Y - b 1^T) K0^{1/2}| |Om|_* with
    Om = W V_L .. V_1 on the inputs, |Om|_* <= prod |V_l|_F <= (mean of |V_l|_F^2)^{(L+1)/2}, while
    V = |b - 1/C|^2 + (N/mu_global) |g[1]|^2 never rises.
    """
    problem, L, sizes = flow.problem, flow.problem.L, flow.problem.sizes
    _, mu_c, mu_g = rates.mean_eigenvalues(problem)
    V = float(np.sum((problem.state.b - 1 / sizes.C) ** 2)) + sizes.N / mu_g * float(
        np.sum(problem.state.H.mean(axis=1) ** 2)
    )
    A = math.sqrt(sizes.per_class * mu_c) + math.sqrt(V * sizes.N * mu_g)
    return float((min(problem.decay.rates(L)) / A) ** (1 / (L - 1)))
