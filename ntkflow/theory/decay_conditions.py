"""Will it collapse under weight decay? Reasoned answers for NC1-NC4, and in words what the decay does.

Decay of H takes the variability within classes away, decay of W and H together also the memory of the start, and
leaves the minimum of a convex problem; decay of one alone moves a fitted state slowly along the minima; decay of the
biases alone keeps E and moves the limit (theory 11.1, 17d; not in the paper).
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from ntkflow._lazy import lister
from ntkflow.problem.problem import Problem
from ntkflow.theory import conditions
from ntkflow.theory.conditions import IF_FITTED, Condition
from ntkflow.theory.enforced import Enforced, enforced
from ntkflow.theory.initial_facts import ZERO as NOTHING
from ntkflow.theory.initial_facts import Facts, facts, reach
from ntkflow.theory.prediction import excluded_by_E

__all__ = ["Decayed", "assess", "drifts", "predict_decayed", "thresholds"]
__dir__ = lister(__all__)

GENERIC = "from a generic start"
# A metric below this is zero to the accuracy of the closed forms.
ZERO = 1e-7
# Singular values of the deviations below this share of the largest are rounding.
PRESENT = 1e-9
Answers = dict[str, Condition]


def assess(problem: Problem, end: Enforced | None, known: Facts | None) -> Answers:
    """The answers for NC1-NC4 of a problem with decay.

    Args:
        problem: what is to be solved; some rate of decay is positive.
        end: where decay takes it, `enforced.enforced`; None where no result covers it.
        known: facts of the start, for scalar blocks and balanced classes; None elsewhere.
    """
    decay = problem.decay
    # A state at the saddle, or on its way there, is no generic start: what decay enforces elsewhere says nothing of it.
    if (
        known is not None
        and problem.squared_error
        and (known.still or (known.saddle and decay.W == decay.H and decay.b == 0))
    ):
        return {"NC1": nc1(problem, end), **{name: conditions.at_saddle() for name in ("NC2", "NC3", "NC4")}}
    if end is not None:
        return {"NC1": nc1(problem, end), **_enforced(problem, end)}
    if known is not None and problem.squared_error:
        if not decay.moves_E:
            return _biases_alone(known)
        if decay.b == 0 and not (decay.W and decay.H):
            return _drifting(problem, known)
    return {"NC1": nc1(problem, end), **{name: _unknown(problem) for name in ("NC2", "NC3", "NC4")}}


def nc1(problem: Problem, end: Enforced | None) -> Condition:
    """Does the variability within classes vanish?"""
    sizes, decay = problem.sizes, problem.decay
    if sizes.N == sizes.C:
        return conditions.one_sample()
    # From dL/dt = -mu_single W^T W L - lh L alone, whatever W does: true of every start, not of generic ones only.
    if problem.squared_error and decay.H > 0 and within_shrinks(problem):
        law = f"tr S(t) <= exp(-{2 * decay.H:.4g} t) tr S(0), for every start"
        dead = ", but the class means merge as well" if end is not None and end.NC2 is None else ""
        return Condition(
            "yes",
            f"decay of H takes all deviations from the class means away: {law}{dead}",
            {"rate": 2 * decay.H},
        )
    if end is not None and end.NC1 > 0:
        reason = "the kernel differs from sample to sample, so that the minimum does too"
        return Condition(
            "no", f"{reason}: NC1_frobenius ends at {end.NC1:.3g}, {GENERIC}", {"NC1_frobenius": end.NC1}
        )
    if end is not None:
        reason = "the minimum under decay of W and H is the same for all samples of a class"
        return Condition("yes", f"{reason}; reached {GENERIC}")
    return excluded_by_E(problem) or _unknown(problem)


def within_shrinks(problem: Problem) -> bool:
    """Whether deviations obey dL/dt = -mu_single W^T W L - lh L: blocks, constant or not, with the squared error."""
    return problem.thin is not None


def _enforced(problem: Problem, end: Enforced) -> Answers:
    # No class means are left, and no metric has a value.
    if end.NC2 is None:
        return dict.fromkeys(("NC2", "NC3", "NC4"), _dies(problem, end))
    reason = f"decay of W and H enforces it {GENERIC}, whatever E is at first"
    numbers = {"rank": float(end.rank), "loss": end.loss}
    if problem.equal_blocks is None:
        return _computed(problem, end)
    C = problem.sizes.C
    answers = {"NC2": Condition("yes", reason, {"NC2": 0.0}), "NC3": Condition("yes", reason, {"NC3": 0.0})}
    # The contrasts that survive are of one size, so that NC3 holds among them; NC2 needs all C - 1.
    if end.NC2 > ZERO:
        few = f"{C} means need {C - 1} dimensions for the frame, and {end.rank} are there"
        answers["NC2"] = Condition("no", f"{few}: it ends at {end.NC2:.4g}, {GENERIC}", {"NC2": end.NC2})
        answers["NC3"] = Condition("yes", f"H1 ends as a multiple of W^T, {GENERIC}", {"NC3": 0.0})
        few = "the class means end at unequal lengths in general, where the two rules can differ"
        return {**answers, "NC4": Condition("undetermined", few, numbers)}
    if end.NC3 is not None and end.NC3 > ZERO:
        why = "decay of b is strong enough for W and the global mean to take its place"
        answers["NC3"] = Condition(
            "no", f"{why}: W keeps a part along 1, and NC3 ends at {end.NC3:.4g}", numbers
        )
    more = ", on the training data and for every feature vector" if end.NC4 else ""
    return {**answers, "NC4": Condition("yes" if end.NC4 else "undetermined", reason + more, numbers)}


def _computed(problem: Problem, end: Enforced) -> Answers:
    """Values of the metrics at the minimum, where classes differ from each other."""
    assert end.NC2 is not None
    assert end.NC3 is not None
    answers = {}
    why = (
        "the classes differ in size or kernel"
        if not problem.sizes.balanced
        else "the kernel differs between classes"
    )
    for name, value in (("NC2", end.NC2), ("NC3", end.NC3)):
        verdict = "yes" if value <= ZERO else "no"
        sentence = (
            f"decay enforces it {GENERIC}" if verdict == "yes" else f"{why}: it ends at {value:.4g} {GENERIC}"
        )
        answers[name] = Condition(verdict, sentence, {name: value})
    if end.NC4 is None:
        answers["NC4"] = Condition("undetermined", "NC1 does not hold, and NC4 can fail on single samples")
    elif end.NC4:
        answers["NC4"] = Condition("yes", f"on the training data, {GENERIC}")
    else:
        merged = (
            f"{number_of(end.merged)} end with one mean"
            if end.merged
            else "some class means are misclassified"
        )
        answers["NC4"] = Condition("no", f"{merged}, {GENERIC}")
    return answers


def _dies(problem: Problem, end: Enforced) -> Condition:
    C = problem.sizes.C
    what = "W and H vanish" if end.rank == 0 else "all class means end as one"
    reason = f"decay is too strong: {what}, and every sample gets the same output"
    if end.rho is not None:
        return Condition(
            "no", f"{reason}, because rho = sqrt(lw lh/(m mu_class)) = {end.rho:.4g} >= 1", {"rho": end.rho}
        )
    return Condition("no", reason, {"merged": float(C)})


def _drifting(problem: Problem, f: Facts) -> Answers:
    """Decay of W alone or of H alone: a fitted state moves along the minima, and y + ln y = 4 l t + const."""
    fading, growing = ("W", "H") if problem.decay.W else ("H", "W")
    answers = {"NC1": _drifting_nc1(problem, f)}
    C2 = conditions.two_classes() if f.sizes.C == 2 else None
    if not f.can_fit:
        few = f"the class means need {f.sizes.C - 1} dimensions, and the flow has {f.reach}"
        rest = Condition("undetermined", f"the classes cannot be fitted: {few}")
        return {**answers, "NC2": C2 or Condition("no", few), "NC3": rest, "NC4": rest}
    slow = f"decay of {fading} alone: along the minima {fading} fades like t^(-1/4), {growing} grows like t^(1/4)"
    NC2 = C2 or Condition("yes", f"{slow}, and W W^T tends to x P: like 1/t, {IF_FITTED}")
    how = "at least like t^(-1/4)" if f.reach >= f.sizes.C else "like 1/t"
    NC3 = Condition("yes", f"{slow}, and what W and H1 do not share is outgrown: {how}, {IF_FITTED}")
    NC4 = Condition("yes", f"zero loss, and class means that move apart against the spread, {IF_FITTED}")
    return {**answers, "NC2": NC2, "NC3": NC3, "NC4": NC4}


def _drifting_nc1(problem: Problem, f: Facts) -> Condition:
    if problem.decay.H > 0 or f.sizes.per_class == 1:
        return nc1(problem, None)
    if f.trace_S == 0:
        return Condition("yes", "all samples of a class coincide from the start and stay together")
    if f.frozen > NOTHING * f.trace_S:
        return conditions.frozen(f)
    if f.reach == f.sizes.C - 1:
        reason = "W acts on every direction of the features, though it fades like t^(-1/4)"
        return Condition("yes", f"{reason}: tr S falls like exp(-c sqrt(t)), {IF_FITTED}")
    return excluded_by_E(problem) or _out_of_reach_of_W(problem, f)


def _out_of_reach_of_W(problem: Problem, f: Facts) -> Condition:
    """What decay of W alone leaves of the deviations where the features have more directions than the frame needs.

    dH2/dt = -mu_single W^T W H2 only multiplies H2 from the left, by a matrix that is invertible at all times. On the
    C-1 directions of the class means W fades like t^(-1/4), whose square has an infinite integral; beside them it fades
    exponentially, and both what it takes from the deviations there and the turning of the C-1 directions, which dH1/dt
    = -W^T R1 Kc needs this part of W for, have finite ones. So the matrix tends to one with a kernel of C-1 dimensions.
    """
    H, Y, few = problem.state.H, problem.sizes.Y, f.sizes.C - 1
    sizes = np.linalg.svd(H - (H @ Y.T / problem.sizes.masses) @ Y, compute_uv=False)
    rank = int((sizes > PRESENT * sizes[0]).sum())
    numbers = {"trace_S": f.trace_S, "rank": float(rank)}
    fades = (
        "decay of W alone: W goes on acting on the C - 1 directions of the class means, and beside them fades like "
        "exp(-lw t)"
    )
    tirer = f"NC1_tirer falls like 1/sqrt(t), as the means grow, {IF_FITTED}"
    if rank > few:
        kept = f"the deviations fill {rank} directions, of which {rank - few} keep some for good"
        return Condition("no", f"{fades}; {kept}; {tirer}", numbers)
    reason = (
        f"{fades}; the deviations fill {rank} directions, not more than C - 1 = {few}, and vanish only where the start "
        f"places them there, which E does not tell; {GENERIC} some stay; {tirer}"
    )
    return Condition("undetermined", reason, numbers)


def _biases_alone(f: Facts) -> Answers:
    """E is constant, so that what rests on it alone holds; the biases end at zero where the classes can be fitted."""
    if f.centred and f.column_sums <= NOTHING:
        apart = "decay of b moves nothing else, since g = 0, W^T 1 = 0 and the biases are equal"
        plain = conditions.answers(f).items()
        return {name: replace(a, sentence=f"{apart}; without it: {a.sentence}") for name, a in plain}
    # Decay of b takes what rests on the biases staying at 1/C: the zero mean, the way into the saddle, the sector's limit.
    f = replace(f, centred=False, saddle=False, sector=None, biases_decay=True)
    answers = conditions.answers(f)
    if f.can_fit and answers["NC3"].verdict != "no":
        reason = "the biases end at zero, so that zero loss needs W to keep a part along 1"
        answers["NC3"] = Condition("no", f"{reason}, {IF_FITTED}")
    return answers


def _unknown(problem: Problem) -> Condition:
    """Why nothing is known."""
    decay = problem.decay
    if not problem.train_bias:
        known = "for biases that are held no end under decay is known"
        if separate(problem) and problem.decay.W and problem.decay.H:
            known = "classes live or die by themselves, by the thresholds below"
    elif problem.cross_entropy:
        known = "with the cross-entropy the end under decay is known for decay of W and H, scalar blocks and equal classes"
    elif not problem.squared_error:
        known = "for smoothed targets, or a loss of one's own, no end under decay is known"
    elif not problem.kernel.on_samples:
        known = f"under decay no end is known for a {problem.kernel.rung} kernel"
    elif not (decay.W and decay.H):
        known = "where W or H does not decay the end depends on the start"
    else:
        known = "the space of the features is too small, or the problem too large, for the end to be computed"
    return Condition("undetermined", known)


def number_of(groups: tuple[tuple[int, ...], ...]) -> str:
    """Classes that merge, counted from 1: "classes 3, 4 and classes 7 .. 10"."""
    words = []
    for group in groups:
        numbers = [c + 1 for c in group]
        text = ", ".join(str(c) for c in numbers[:8]) + (
            f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
        )
        # A run is said by its ends: minority collapse merges the smallest classes, which often stand last.
        if len(numbers) > 3 and numbers[-1] - numbers[0] == len(numbers) - 1:
            text = f"{numbers[0]} .. {numbers[-1]}"
        words.append(f"classes {text}")
    return " and ".join(words)


def forgotten(problem: Problem, end: Enforced | None) -> tuple[float, bool] | None:
    """Rate at which E forgets its start, and whether it is exact; None where it is not forgotten or not known."""
    decay = problem.decay
    if decay.W == decay.H > 0:
        return 2 * decay.W, True
    return None if end is None or end.slowest is None else (end.slowest, False)


def drifts(problem: Problem) -> bool:
    """Whether W alone or H alone decays, so that the fitted state moves slowly along the minima (theory 11.1)."""
    decay, block = problem.decay, problem.squared_error and problem.equal_blocks is not None
    return block and problem.train_bias and (decay.W > 0) != (decay.H > 0) and decay.b == 0


def separate(problem: Problem) -> bool:
    """Whether classes do not see each other, so that under decay each lives or dies by itself (theory 17d)."""
    kernel = problem.blocks
    held = not problem.train_bias and not np.any(problem.state.b)
    return held and kernel is not None and kernel.kappa_n == 0 and problem.squared_error


def thresholds(problem: Problem) -> list[tuple[int, int, float]]:
    """Class sizes m_c, how often each occurs, and sqrt(m_c mu_class^c) with mu_class^c for m_c samples.

    Once sqrt(lw lh) exceeds it the contrasts between classes of one size vanish, of sizes that occur more than once, and where
    classes are `separate` each of them: minority collapse (theory 17d).
    """
    kernel, sizes = problem.blocks, problem.sizes
    # Held biases that differ take the contrasts' targets apart.
    if (
        kernel is None
        or not problem.squared_error
        or not (problem.train_bias or np.ptp(problem.state.b) == 0)
    ):
        return []
    within, extra = kernel.kappa_d - kernel.kappa_c, kernel.kappa_c - kernel.kappa_n
    counts = sorted(set(sizes.counts), reverse=True)
    found = [(m, sizes.counts.count(m), math.sqrt(m * (within + m * extra))) for m in counts]
    return [row for row in found if row[1] > 1 or separate(problem)]


@dataclass(frozen=True, eq=False)
class Decayed:
    """What is known beforehand of a problem with decay.

    Attributes:
        conditions: the answers for NC1-NC4.
        end: where decay of W and H takes a generic start; None where no result covers the problem.
        forgotten: rate at which E forgets its start, and whether it is exact.
    """

    conditions: Answers
    end: Enforced | None
    forgotten: tuple[float, bool] | None


def predict_decayed(problem: Problem, relative: float = 0.0) -> Decayed:
    """Everything that can be said beforehand of a problem with decay.

    Args:
        problem: some rate of decay is positive; any kernel, loss and sizes.
        relative: relative accuracy of the state; 0 means exact to rounding.
    """
    kernel, known = problem.equal_blocks, None
    if kernel is not None and problem.train_bias:
        known = facts(problem.sizes, kernel, problem.state, relative)
    end = enforced(problem, known.reach if known is not None else reach(problem))
    return Decayed(assess(problem, end, known), end, forgotten(problem, end))
