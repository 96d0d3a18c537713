"""What the theory says of a problem before it is integrated: conditions, rates, bounds, limit, times."""

from dataclasses import dataclass

import numpy as np

from ntkflow import views
from ntkflow._lazy import lister
from ntkflow.errors import InputError
from ntkflow.problem.losses import CrossEntropy, Loss, Smoothed
from ntkflow.problem.problem import Problem
from ntkflow.theory import bounds, conditions, limits, rates, spectrum
from ntkflow.theory.conditions import Condition
from ntkflow.theory.exact.margin import final_margin
from ntkflow.theory.held_biases import held_conditions, held_limit
from ntkflow.theory.initial_facts import Facts, needed_dimensions, reach
from ntkflow.theory.limits import Limit
from ntkflow.theory.spectrum import Spectrum

__all__ = ["Prediction", "excluded_by_E", "predict_flow", "predictable", "sample_conditions"]
__dir__ = lister(__all__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Everything that can be said beforehand for the paper's flow with scalar blocks and balanced classes.

    Attributes:
        facts: what the initial state's invariant and means are like.
        conditions: for NC1-NC4, whether the run can or must reach it, and why.
        x_star: sqrt(m/mu_class), the eigenvalue of W W^T at collapse when E = 0.
        collapse: spectrum at neural collapse (theory 7.2).
        rates_e: eigenvalue of E there: e where E = e times a projector leads to collapse, else 0.
        origin: spectrum at the saddle W = H = 0 (theory 7.4).
        floor_tr_S: lower bound of tr S for all time (theory 3.5).
        nc1_floors: the same in the published measures of NC1; empty where nothing keeps tr S from zero.
        ceiling: guaranteed decay of tr S when E >= 0 (theory 3.6); None otherwise.
        bias_bounds: how far b and g can ever move (theory 3.3).
        limit: Gram matrices at zero loss where they follow from the initial state alone; None otherwise.
        largest_step: stability bound of gradient descent on the sum loss at collapse (theory 11.6).
        collapses: whether the limit is known and is the collapse that the rates belong to.
        collapse_time: time in which NC1 falls by 1e6 once the classes are fitted (theory 7.6); None for m = 1, and
            where NC1 falls like a power of t, or not at all.
    """

    facts: Facts
    conditions: dict[str, Condition]
    x_star: float
    collapse: Spectrum
    rates_e: float
    origin: Spectrum
    floor_tr_S: float
    nc1_floors: dict[str, float]
    ceiling: bounds.Ceiling | None
    bias_bounds: bounds.BiasBounds
    limit: Limit | None
    largest_step: float
    collapses: bool
    collapse_time: float | None

    __repr__ = views.short

    @property
    def algebraic(self) -> bool:
        """Whether the tails of theory 7.3 apply: E = 0, g = 0, b = 1/C and W^T 1 != 0 with rank W = C."""
        return self.facts.algebraic

    @property
    def floor_share(self) -> float | None:
        """What stays of the tr S of the start at least; None where there is no variability."""
        return self.floor_tr_S / self.facts.trace_S if self.facts.trace_S > 0 else None


def predictable(problem: Problem) -> bool:
    """Whether the closed forms apply: scalar blocks, balanced classes, squared error, no decay, trained biases."""
    return problem.equal_blocks is not None and problem.plain


def predict_flow(problem: Problem, relative: float = 0.0) -> Prediction:
    """All predictions for a problem that is `predictable`.

    Args:
        problem: sizes, kernel, initial state.
        relative: relative accuracy of the state; 0 means exact to rounding.

    Raises:
        InputError: the biases are held.
    """
    sizes, kernel, state = problem.sizes, problem.equal_blocks, problem.state
    assert kernel is not None
    if not problem.train_bias:
        raise InputError(
            "train_bias",
            False,
            "is not what these closed forms are for",
            "use `sample_conditions`, `held_limit`",
        )
    facts = conditions.facts(sizes, kernel, state, relative)
    e = facts.collapse_e
    collapse = spectrum.at_collapse(sizes, kernel, e)
    answers = conditions.answers(facts)
    NC1 = answers["NC1"]
    # The frozen part of tr S may be a higher floor than that of E's eigenvalues.
    least = NC1.numbers.get("floor", 0.0) if NC1.verdict == "no" else 0.0
    limit = facts.limit
    collapses = limit is not None and limit.trace_S == 0 and limit.NC3 == 0
    return Prediction(
        facts=facts,
        conditions=answers,
        x_star=limits.x_star(sizes, kernel),
        collapse=collapse,
        rates_e=e,
        origin=spectrum.at_origin(sizes, kernel),
        floor_tr_S=max(facts.floor, least),
        nc1_floors=bounds.nc1_floors(least, state, sizes, kernel) if least > 0 else {},
        ceiling=bounds.ceiling(state, sizes) if facts.signs.semidefinite else None,
        bias_bounds=bounds.bounds_of_V(facts.V, sizes, kernel),
        limit=limit,
        largest_step=rates.largest_step(collapse.fastest),
        collapses=collapses,
        collapse_time=_collapse_time(facts, e),
    )


def _collapse_time(f: Facts, e: float) -> float | None:
    """Time in which NC1 falls by 1e6, at the collapse that the limit is, or would be if E were zero."""
    sizes, kernel = f.sizes, f.kernel
    if sizes.per_class == 1 or f.trace_S == 0 or not f.can_fit or f.algebraic:
        return None
    if f.limit is not None and f.limit.NC3 == 0:
        return None if f.limit.trace_S else rates.time_to_collapse(sizes, kernel, 1e6, e)
    if f.limit is not None:
        if f.limit.trace_S:
            return None
        if f.sector is not None and f.sector.sJ == 0:
            # All deviations lie where the contrasts of W are, however little W keeps of the sum over classes.
            return rates.time_to_collapse(sizes, kernel, 1e6, f.sector.e_P)
        # Away from the collapse the slowest direction of row(W) sets the pace, mu_single times X's smallest eigenvalue.
        least = float(np.linalg.eigvalsh(f.limit.X)[0]) * limits.eigenvalues(sizes, kernel).mu_single
        return float(np.log(1e6)) / least if least > 0 else None
    return None if conditions.nc1(f).verdict == "no" else rates.time_to_collapse(sizes, kernel, 1e6)


def _of_loss(loss: Loss, C: int) -> str:
    """Why no limit is known, and what is."""
    if not (isinstance(loss, Smoothed) and isinstance(loss.loss, CrossEntropy)):
        return "for smoothed targets, or a loss of one's own, no limit is known"
    return (
        f"with smoothed labels the right output ends ln(C/epsilon - C + 1) = {final_margin(C, loss.epsilon):.4g} above others, "
        "from every start tried; where W and H end depends on the whole start"
    )


def sample_conditions(problem: Problem) -> dict[str, Condition]:
    """What E_K alone says of NC1 for any kernel that acts on samples, blocks or not (theory 5.6, 10 L2).

    Elsewhere, and for NC2-NC4, the reason why nothing is said.
    """
    kernel, sizes = problem.kernel, problem.sizes
    if problem.cross_entropy:
        known = "with the cross-entropy and no decay W and H grow without end, and no result covers the block flow"
    elif not problem.squared_error:
        known = _of_loss(problem.loss, sizes.C)
    elif not kernel.on_samples:
        known = f"for a {kernel.rung} kernel no limit is known; what it conserves stands below"
    elif not problem.train_bias:
        known = "for biases that are held the limit is known from the start for E = 0 alone (theory 11.8)"
    else:
        known = "for imbalanced classes, and for kernels without equal blocks, the limit depends on the whole start"
    rest = dict.fromkeys(("NC1", "NC2", "NC3", "NC4"), Condition("undetermined", known))
    if not problem.undisturbed or not kernel.on_samples:
        return rest
    if (limit := held_limit(problem)) is not None:
        rest |= held_conditions(limit)
    if (no := excluded_by_E(problem)) is not None:
        return {**rest, "NC1": no}
    signs = bounds.inertia_of_E(sizes, kernel, problem.state)
    counts = {"negative": float(signs.negative), "C": float(sizes.C)}
    if signs.semidefinite:
        needed, has = needed_dimensions(problem), reach(problem)
        if has < needed:
            return {**rest, "NC1": conditions.cannot_fit(needed, has)}
        reason = (
            "E >= 0: the features end in the row space of W, where zero loss makes them equal within a class"
        )
        return {**rest, "NC1": Condition("yes", f"{reason}, {conditions.IF_FITTED}", counts)}
    reason = f"E has {signs.negative} negative eigenvalues, not more than C = {sizes.C}: neither excluded nor forced"
    return {**rest, "NC1": Condition("undetermined", reason, counts)}


def excluded_by_E(problem: Problem) -> Condition | None:
    """Why E rules NC1 out for any loss, or None where it does not; H does not decay (theory 3.5, 5.6).

    Of the rates of decay those of b leave E alone, and that of W lowers it: m dE/dt = -2 lw W^T W, so that no
    eigenvalue of -E falls, nor the bound that they are for the deviations.
    """
    kernel, sizes, state = problem.kernel, problem.sizes, problem.state
    if problem.decay.H > 0 or not kernel.on_samples:
        return None
    signs = bounds.inertia_of_E(sizes, kernel, state)
    if not bounds.nc1_impossible(signs, sizes):
        return None
    minus_mE = kernel.solve(state.H, sizes) @ state.H.T - state.W.T @ state.W
    least = float(np.linalg.eigvalsh(minus_mE)[::-1][sizes.C :].clip(min=0).sum())
    # -m E is D K^{-1/2} (I - Pi) K^{-1/2} D^T, D the deviations and Pi of rank C, and what has rank C or is negative.
    coefficients = kernel.thin(sizes)
    if coefficients is not None:
        slowest = float(coefficients.within[sizes.masses > 1].min())
    else:
        # By interlacing no eigenvalue of K on deviations from class means lies below its smallest.
        slowest = float(np.linalg.eigvalsh(kernel.apply(np.eye(sizes.N), sizes))[0])
    never = float(np.sqrt(least * slowest / sizes.N))
    now = bounds.deviation(state, sizes)
    law = "decay of W only lowers it" if problem.decay.W else "is constant"
    reason = (
        f"NC1_frobenius cannot fall below {never:.3g} (it is {now:.3g} now); "
        f"E has {signs.negative} negative eigenvalues, more than C = {sizes.C}, and {law}"
    )
    numbers = {"negative": float(signs.negative), "C": float(sizes.C), "NC1_frobenius": never}
    return Condition("no", reason, numbers)
