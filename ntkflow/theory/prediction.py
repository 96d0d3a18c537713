"""What the theory says of a problem before it is integrated: conditions, rates, bounds, limit, times."""

from dataclasses import dataclass

from ntkflow import views
from ntkflow._lazy import lister
from ntkflow._types import Json
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.losses import MSE
from ntkflow.problem.problem import Problem
from ntkflow.theory import bounds, conditions, limits, rates, spectrum
from ntkflow.theory.conditions import Condition
from ntkflow.theory.exact.decayed import regularised_limit
from ntkflow.theory.initial_facts import Facts
from ntkflow.theory.limits import Limit
from ntkflow.theory.spectrum import Spectrum

__all__ = ["Prediction", "decay_limit", "drifts", "predict", "predictable", "sample_conditions"]
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
        ceiling: guaranteed decay of tr S when E >= 0 (theory 3.6); None otherwise.
        bias_bounds: how far b and g can ever move (theory 3.3).
        limit: Gram matrices at zero loss where they follow from the initial state alone; None otherwise.
        largest_step: stability bound of gradient descent on the sum loss at collapse (theory 11.6).
        collapse_time: time in which NC1 falls by 1e6 once the classes are fitted (theory 7.6); None for m = 1.
    """

    facts: Facts
    conditions: dict[str, Condition]
    x_star: float
    collapse: Spectrum
    rates_e: float
    origin: Spectrum
    floor_tr_S: float
    ceiling: bounds.Ceiling | None
    bias_bounds: bounds.BiasBounds
    limit: Limit | None
    largest_step: float
    collapse_time: float | None

    __repr__ = views.short

    @property
    def algebraic(self) -> bool:
        """Whether the tails of theory 7.3 apply: E = 0, g = 0, b = 1/C and W^T 1 != 0 with rank W = C."""
        return self.facts.algebraic

    def as_dict(self) -> Json:
        """Plain values for summary.json."""
        return {
            "nc1_possible": self.conditions["NC1"].verdict != "no",
            "conditions": {name: answer.as_dict() for name, answer in self.conditions.items()},
            "x_star": self.x_star,
            "rates": [mode.as_dict() for mode in self.collapse.modes],
            "rates_e": self.rates_e,
            "origin": [mode.as_dict() for mode in self.origin.modes],
            "stiffness_ratio": self.collapse.stiffness_ratio,
            "floor_tr_S": self.floor_tr_S,
            "ceiling": None if self.ceiling is None else self.ceiling.as_dict(),
            "bias_bounds": self.bias_bounds.as_dict(),
            "limit": None if self.limit is None else self.limit.as_dict(),
            "largest_step": self.largest_step,
            "collapse_time": self.collapse_time,
            "algebraic_tail": self.algebraic,
        }


def predictable(problem: Problem) -> bool:
    """Whether the closed forms apply: scalar blocks, balanced classes, squared error, no decay."""
    return isinstance(problem.kernel, BlockKernel) and problem.sizes.balanced and problem.plain


def predict(problem: Problem, relative: float = 0.0) -> Prediction:
    """All predictions for a problem that is `predictable`.

    Args:
        problem: sizes, kernel, initial state.
        relative: relative accuracy of the state; 0 means exact to rounding.
    """
    sizes, kernel, state = problem.sizes, problem.kernel, problem.state
    assert isinstance(kernel, BlockKernel)
    facts = conditions.facts(sizes, kernel, state, relative)
    e = facts.collapse_e
    collapse = spectrum.at_collapse(sizes, kernel, e)
    return Prediction(
        facts=facts,
        conditions={
            "NC1": conditions.nc1(facts),
            "NC2": conditions.nc2(facts),
            "NC3": conditions.nc3(facts),
            "NC4": conditions.nc4(facts),
        },
        x_star=limits.x_star(sizes, kernel),
        collapse=collapse,
        rates_e=e,
        origin=spectrum.at_origin(sizes, kernel),
        floor_tr_S=facts.floor,
        ceiling=bounds.guarantee(state, sizes, kernel, relative) if facts.signs.semidefinite else None,
        bias_bounds=bounds.bias_bounds(state, sizes, kernel),
        limit=facts.limit,
        largest_step=rates.largest_step(collapse.fastest),
        collapse_time=None if sizes.per_class == 1 else rates.time_to_collapse(sizes, kernel, 1e6),
    )


def decay_limit(problem: Problem) -> Limit | None:
    """The collapse that decay of W and H enforces on a generic start, where decay alone decides (theory 11.1)."""
    decay, kernel, sizes = problem.decay, problem.kernel, problem.sizes
    if not (isinstance(problem.loss, MSE) and isinstance(kernel, BlockKernel) and sizes.balanced):
        return None
    strong = sizes.per_class * limits.eigenvalues(sizes, kernel).mu_class <= decay.W * decay.H
    if not (decay.W > 0 and decay.H > 0) or decay.b > 0 or strong:
        return None
    return regularised_limit(sizes, kernel, decay)


def drifts(problem: Problem) -> bool:
    """Whether only W decays, so that the fitted state moves slowly along the minima (theory 11.1)."""
    decay, kernel = problem.decay, problem.kernel
    block = isinstance(problem.loss, MSE) and isinstance(kernel, BlockKernel) and problem.sizes.balanced
    return block and decay.W > 0 and decay.H == decay.b == 0


def sample_conditions(problem: Problem) -> dict[str, Condition]:
    """What E_K alone says of NC1 for any kernel that acts on samples, blocks or not (theory 5.6, 10 L2).

    Empty where it says nothing: kernels that act on features or move, other losses, decay.
    """
    kernel, sizes = problem.kernel, problem.sizes
    if not problem.plain or kernel.rung not in limits.ON_SAMPLES:
        return {}
    signs = bounds.inertia_of_E(sizes, kernel, problem.state)
    counts = {"negative": float(signs.negative), "C": float(sizes.C)}
    if bounds.nc1_impossible(signs, sizes):
        reason = f"impossible: E has {signs.negative} negative eigenvalues, more than C = {sizes.C}, and is constant"
        return {"NC1": Condition("no", reason, counts)}
    if signs.semidefinite:
        reason = (
            "E >= 0: the features end in the row space of W, where zero loss makes them equal within a class"
        )
        return {"NC1": Condition("yes", f"{reason}, {conditions.IF_FITTED}", counts)}
    reason = f"E has {signs.negative} negative eigenvalues, not more than C = {sizes.C}: neither excluded nor forced"
    return {"NC1": Condition("undetermined", reason, counts)}
