"""Will this state collapse? Reasoned answers for NC1-NC4 from the initial state alone, before any integration.

Each answer names the result it rests on (theory 3, 5 and 6). "yes" and "no" are statements about exact arithmetic
and infinite time. Theorem 5.2 assumes that the loss tends to 0, which no known result guarantees: answers that
need it say so.
"""

from dataclasses import dataclass, field

import numpy as np

from ntkflow import checks
from ntkflow._lazy import lister
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.theory.bounds import nc1_impossible
from ntkflow.theory.initial_facts import ZERO, Facts, facts

__all__ = ["VERDICTS", "Condition", "assess", "facts"]
__dir__ = lister(__all__)

# A variance within classes below this share of that between them counts as collapsed in the literature (NC1_tirer).
COLLAPSED = 1e-2
VERDICTS = ("yes", "no", "undetermined")
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
        checks.choice("verdict", self.verdict, VERDICTS)


def assess(sizes: Sizes, kernel: BlockKernel, state: State, relative: float = 0.0) -> dict[str, Condition]:
    """The answers for NC1, NC2, NC3 and NC4.

    Args:
        sizes: sizes of the state.
        kernel: scalar blocks.
        state: initial state.
        relative: relative accuracy of the state; 0 means exact to rounding.
    """
    return answers(facts(sizes, kernel, state, relative))


def answers(f: Facts) -> dict[str, Condition]:
    """The same from what is known of the initial state."""
    return {"NC1": nc1(f), "NC2": nc2(f), "NC3": nc3(f), "NC4": nc4(f)}


def nc1(f: Facts) -> Condition:
    """Does the variability within classes vanish?"""
    # The order matters: what cannot happen, then what must, then what the limit tells; the weaker reasons come last.
    C, signs = f.sizes.C, f.signs
    counts = {"negative": float(signs.negative), "C": float(C), "trace_S": f.trace_S}
    if f.sizes.per_class == 1:
        return one_sample()
    if f.trace_S == 0:
        return Condition("yes", "all samples of a class coincide from the start and stay together", counts)
    if nc1_impossible(signs, f.sizes):
        reason = f"E has {signs.negative} negative eigenvalues, more than C = {C}, and is constant"
        return Condition("no", _stays(f, f.floor, reason), {**counts, "floor": f.floor})
    if f.frozen > ZERO * f.trace_S:
        return frozen(f)
    if signs.semidefinite:
        return Condition("yes", f"E >= 0, so tr S falls at least like 1/t; {_speed(f)}", counts)
    if f.limit is not None:
        numbers = {**counts, "limit_trace_S": f.limit.trace_S}
        if f.limit.trace_S == 0:
            reason = f"{_known(f)}: the features lie in row(W) at the end"
            return Condition("yes", f"{reason}, {IF_FITTED}", numbers)
        # Only E = e Pi with e < 0 on C dimensions has such a limit (theory 5.5).
        what = f"one direction stays frozen and tr S tends to mu_single |e| = {f.limit.trace_S:.3g}"
        return Condition("no", f"{_known(f)}: {what}, {IF_FITTED}", numbers)
    if f.reach == C - 1 and f.can_fit:
        reason = "all features lie in C - 1 dimensions, on all of which zero loss needs W to act"
        return Condition("yes", f"{reason}, {IF_FITTED}", {**counts, "dimensions": float(f.reach)})
    reason = (
        f"E has {signs.negative} negative eigenvalues, not more than C = {C}: neither excluded nor forced"
    )
    return Condition("undetermined", reason, counts)


def one_sample() -> Condition:
    """The answer for NC1 with m = 1."""
    return Condition("yes", "vacuous: one sample per class has no variability")


def two_classes() -> Condition:
    """The answer for NC2 with C = 2."""
    return Condition("yes", "vacuous: two centred class means are opposite whatever happens")


def frozen(f: Facts) -> Condition:
    """The answer for NC1 where part of the deviations is out of reach."""
    reason = "that part of the variability lies in directions that W and the class means never reach"
    counts = {"negative": float(f.signs.negative), "C": float(f.sizes.C), "trace_S": f.trace_S}
    return Condition("no", _stays(f, f.frozen, reason), {**counts, "floor": f.frozen})


def _stays(f: Facts, least: float, reason: str) -> str:
    """What a floor under tr S means, in the units of NC1 and beside what counts as collapsed."""
    C = f.sizes.C
    now, never = np.sqrt(f.trace_S / C), np.sqrt(least / C)
    share = f"{100 * least / f.trace_S:.3g} %"
    start = f"NC1_frobenius cannot fall below {never:.3g} (it is {now:.3g} now, {share} of tr S stays)"
    tirer = least / f.means if f.means > 0 else np.inf
    small = (
        f", which counts as collapsed: {tirer:.2g} of the class means' squared spread"
        if tirer < COLLAPSED
        else ""
    )
    return f"{start}{small}; {reason}"


def nc2(f: Facts) -> Condition:
    """Do the centred class means end as an equiangular tight frame?"""
    C = f.sizes.C
    if C == 2:
        return two_classes()
    if f.reach < C - 1:
        reason = f"an equiangular tight frame of {C} means needs {C - 1} dimensions, the flow has {f.reach}"
        return Condition("no", reason, {"dimensions": float(f.reach)})
    if f.saddle:
        return at_saddle()
    # At all times and for any E, so it goes before the limits, which need the loss to vanish.
    if f.symmetric:
        reason = "the state is symmetric under relabelling of the classes, and the flow keeps it so"
        return Condition("yes", f"{reason}; the means form the frame at all times, unless they merge")
    if f.limit is not None:
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
        return at_saddle()
    if not f.can_fit:
        return cannot_fit(f.needed, f.reach)
    if f.limit is not None and f.limit.NC3 == 0:
        numbers = {"NC3": 0.0, "column_sums": f.column_sums}
        return Condition("yes", f"{_known(f)}, {IF_FITTED}", numbers)
    if f.limit is not None:
        reason = f"{_known(f)}: W keeps a part along 1, and NC3 ends at {f.limit.NC3:.3g}"
        return Condition("no", f"{reason}, {IF_FITTED}", {"NC3": f.limit.NC3})
    # Theory 6: NC1 and NC3 together hold for E = a Pi - (C/mu_global) g g^T alone, so that its spectrum can rule them out.
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
        return at_saddle()
    if not f.can_fit:
        return cannot_fit(f.needed, f.reach)
    # With E = 0 and equal biases centred weights stay dual to the means, though NC3 itself fails (theory 5.3).
    if (f.limit is not None and f.limit.NC4) or (f.zero_E and f.symmetric):
        cause = _known(f) if f.limit is not None else "E = 0 and equal biases"
        return Condition("yes", f"{cause}: on the training data and for every feature vector, {IF_FITTED}")
    first = nc1(f)
    if first.verdict == "yes":
        reason = "NC1 and zero loss with distinct class means imply it on the training data"
        more = "; for other feature vectors it fails in general where the biases are unequal"
        return Condition("yes", f"{reason}, {IF_FITTED}{more}", first.numbers)
    if first.verdict == "no":
        reason = "samples that keep a distance from their class mean may lie nearer to another"
    else:
        reason = "it follows from NC1, which is undetermined"
    return Condition("undetermined", reason)


def _speed(f: Facts) -> str:
    if f.algebraic:
        return "with g = 0, b = 1/C and W^T 1 != 0 like 1/(2mt) for generic features, no faster"
    # Here every direction of row(W) decays linearly (theory 7.2, 7.3).
    if f.zero_E and f.centred and f.can_fit:
        where = "W^T 1 = 0" if f.column_sums <= ZERO else "W of rank C - 1"
        return f"with g = 0 and {where} it falls exponentially, {IF_FITTED}"
    return "exponentially if W keeps all of its rank"


def _known(f: Facts) -> str:
    tail = "zero global mean and biases that end at 1/C"
    if f.centred and f.zero_E:
        return f"E = 0 with {tail}"
    if f.centred and f.projector is not None:
        return f"E = {f.projector[0]:.3g} times a projector of rank {f.projector[1]} with {tail}"
    if f.biases_decay:
        return "E = 0 with biases that decay to zero"
    beta = float("nan") if f.limit is None else float(f.limit.b[0])
    return f"a symmetric state (theory 4.5) whose biases end at {beta:.4g}"


def _may_be_dual(f: Facts) -> bool:
    """E >= 0 and NC3: C-2 eigenvalues are equal, one lies between them and 0, the others vanish."""
    C, positive, values = f.sizes.C, f.signs.positive, f.spectrum_E
    if positive == 0:
        return True
    # C - 3 gaps of sorted eigenvalues: the first and the last of the C - 2 that must agree. One or none always does.
    equal = C <= 3 or values[0] - values[C - 3] <= 2 * f.signs.tolerance
    return C - 2 <= positive <= C - 1 and equal


def at_saddle() -> Condition:
    """The answer for NC2-NC4 where the loss cannot vanish."""
    reason = "the state runs into the saddle W = H = 0 and the loss does not vanish"
    return Condition("no", f"{reason} in exact arithmetic; rounding errors let it escape later")


def cannot_fit(needed: int, reach: int) -> Condition:
    """The answer where zero loss needs more dimensions than the space that the flow never leaves has."""
    reason = f"the classes cannot be fitted: zero loss needs {needed} dimensions, the flow has {reach}"
    return Condition("undetermined", reason, {"dimensions": float(reach)})
