"""Everything that is said of linear layers beforehand, as plain numbers and sentences (theory 18.4 to 18.8)."""

import numpy as np

from ntkflow._types import Json
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.state import class_means, deviations
from ntkflow.theory.layers import limits, rates
from ntkflow.theory.layers.decay import decayed
from ntkflow.theory.layers.verdict import ZERO, signs_of, trace_of_deviations, verdict_of


def predict_layers(problem: LayeredProblem) -> Json:
    """What is known before integrating, by name; `sentences` holds pairs of what it is about and a sentence.

    Keys: `x`, `Q` (least eigenvalue of each Q_l relative to its terms, and whether all are zero), `NC1`, `rates`, `plateau`,
    `verdict` (see `Verdict`), `kernel` and `kernel_W` at the balanced collapse point, `decay`; None where nothing is known.
    """
    flow = LayeredFlow.build(problem)
    signs, zero = signs_of(flow)
    blocks = problem.equal_blocks
    closed = blocks is not None and problem.squared_error
    lost, verdict = decayed(problem), verdict_of(problem)
    found: Json = {
        "Q": {"least": signs, "zero": zero},
        "x": None if not closed or blocks is None else limits.collapse_x(problem.sizes, blocks, problem.L),
        "rates": rates.collapse_spectrum(problem) if closed else None,
        "plateau": rates.plateau(problem),
        "kernel": None,
        "kernel_W": None,
        "verdict": verdict.as_dict(),
        "decay": None if lost is None else {**vars(lost), "verdict": lost.verdict},
    }
    if closed and blocks is not None:
        for name, weighted in (("kernel", False), ("kernel_W", True)):
            kernel = limits.collapsed_kernel(problem.sizes, blocks, problem.widths, weighted)
            found[name] = kernel.as_dict()
    sentences = [
        ("this run", verdict.sentence),
        ("NC1", _of_nc1(problem, signs)),
        ("where it ends", _of_limit(problem.decay.any, found, zero)),
    ]
    sentences += [("time", _of_time(problem, found))]
    if lost is not None:
        sentences.append(("decay", lost.sentence))
    elif problem.decay.any:
        sentences.append(("decay", _not_decided(problem)))
    found["sentences"] = sentences
    return found


def _of_nc1(problem: LayeredProblem, signs: list[float]) -> str:
    if problem.decay.any:
        return "decided by decay and not by Q_1 .. Q_L, which fall"
    negative = [str(l) for l, value in enumerate(signs, 1) if value < -ZERO]
    if negative:
        which = ", ".join(f"Q_{l}" for l in negative)
        return f"not promised: {which} of {problem.L} has negative eigenvalues, so that deviations may stay"
    said = "yes, in every layer, provided that the loss tends to 0: all Q_l >= 0"
    blocks = problem.equal_blocks
    if blocks is None or not problem.squared_error:
        return said
    trace, rank = _within(problem)
    if trace == 0:
        return f"{said}; there are no deviations at the start"
    clock = 1 / rates.collapse_rates(problem)[0]
    bound = limits.ceiling(problem, clock, trace, rank)
    return f"{said}; tr S[1] is {trace:.4g} now and at most {bound:.4g} at t = {clock:.4g} (theory 18.4)"


def _within(problem: LayeredProblem) -> tuple[float, int]:
    """tr S[1] at the start, and its rank, at most C."""
    trace = trace_of_deviations(problem)
    if trace == 0:
        return 0.0, 0
    H, sizes = problem.state.H, problem.sizes
    D = deviations(H, class_means(H, sizes), sizes)
    return trace, min(int(np.linalg.matrix_rank(D)), sizes.C)


def _of_limit(decay: bool, found: Json, zero: bool) -> str:
    if found["x"] is None:
        return "no closed form: for scalar blocks of equal classes and the squared error only"
    if decay:
        lost = found["decay"]
        if lost is None or lost["X"] is None:
            return "at zero, or not known"
        return f"each contrast that lives has W W^T = {lost['X']:.4g} and fits {lost['p_high']:.4g} of the labels"
    kappa = found["kernel"]["kappa_n"]
    text = (
        f"at the balanced collapse W W^T = x P and G[l] = (mu_class/m) x^l P with x = {found['x']:.4g}, and the mean kernel has "
        f"kappa_n = {kappa:.4g}"
    )
    return text if zero else f"{text}; from here, with Q_l not zero, near it only for small Q_l"


def _of_time(problem: LayeredProblem, found: Json) -> str:
    within, contrasts, _ = rates.collapse_rates(problem)
    wait = found["plateau"]
    start = f"about {wait:.4g} before the fit (aligned starts of this size), then " if wait else ""
    return f"{start}class means at the rate {contrasts:.4g} and deviations at {within:.4g} of the balanced collapse"


def _not_decided(problem: LayeredProblem) -> str:
    if min(problem.decay.rates(problem.L)) <= 0:
        return "not decided here: the thresholds are for decay of every layer and of W"
    return "not decided here: the thresholds are for scalar blocks, the squared error, no decay of b and no biases of layers"
