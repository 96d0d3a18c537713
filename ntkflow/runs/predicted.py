"""`predicted` of summary.json and of `ntkflow theory`: all that is known of a run beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ntkflow._types import ClassMatrix
from ntkflow.problem.flow_units import loss_scale
from ntkflow.problem.problem import Problem
from ntkflow.runs.border.records import INLINE
from ntkflow.runs.laws import Law, laws
from ntkflow.theory.bounds import BiasBounds, Ceiling
from ntkflow.theory.conditions import Condition
from ntkflow.theory.decay_conditions import Decayed, drifts, separate, thresholds
from ntkflow.theory.enforced import Enforced
from ntkflow.theory.held_biases import held_limit
from ntkflow.theory.limit_point import Limit
from ntkflow.theory.prediction import Prediction, sample_conditions
from ntkflow.theory.spectrum import Mode

# Each step moves E by its own law, by O(eta) in all: what E decides for the flow, it decides for steps in the limit.
STEPS = "of the flow, the limit of small steps: "
# NaN and infinities are null in a file.
Number = float | None
Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Answer:
    """Of one of NC1-NC4.

    Attributes:
        verdict: "yes", "no" or "undetermined".
        sentence: why.
        numbers: on which it rests.
    """

    verdict: str
    sentence: str
    numbers: Mapping[str, Number] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Condition) -> "Answer":
        """As the theory gives it."""
        return cls(found.verdict, found.sentence, found.numbers)


@dataclass(frozen=True)
class LimitRow:
    """A limit: Gram matrices, and the metrics there; see `ntkflow.theory.limit_point.Limit`."""

    X: Matrix
    G: Matrix
    MtM: Matrix
    b: tuple[float, ...]
    trace_S: Number
    NC1: Number
    NC2: Number
    NC3: Number
    NC4: bool | None
    hypotheses: str

    @classmethod
    def of(cls, found: Limit | None) -> "LimitRow | None":
        """As the theory gives it."""
        if found is None:
            return None
        X, G, MtM = (_rows(matrix) for matrix in (found.X, found.G, found.MtM))
        rest = (found.trace_S, found.NC1, found.NC2, found.NC3, found.NC4, found.hypotheses)
        return cls(X, G, MtM, tuple(found.b.tolist()), *rest)


def _rows(matrix: ClassMatrix) -> Matrix:
    return tuple(tuple(row) for row in matrix.tolist())


@dataclass(frozen=True)
class ClosedForms:
    """What is known of the paper's flow alone; see `ntkflow.theory.prediction.Prediction`, whose numbers these are."""

    x_star: Number
    rates: tuple[Mode, ...]
    rates_e: Number
    origin: tuple[Mode, ...]
    stiffness_ratio: Number
    floor_tr_S: Number
    floor_share: Number
    nc1_floors: Mapping[str, Number]
    least_loss: Number
    norm_E: float
    zero_E: bool
    fits: bool
    ceiling: Ceiling | None
    bias_bounds: BiasBounds
    # Elsewhere a limit may be known as well: its key does not tell that these forms are there.
    limit: LimitRow | None = field(default=None, kw_only=True)
    largest_step: Number
    collapses: bool
    collapse_time: Number
    algebraic_tail: bool

    @classmethod
    def of(cls, found: Prediction) -> "ClosedForms":
        """As the theory gives them."""
        facts = found.facts
        return cls(
            x_star=found.x_star,
            rates=tuple(found.collapse.modes),
            rates_e=found.rates_e,
            origin=tuple(found.origin.modes),
            stiffness_ratio=found.collapse.stiffness_ratio,
            floor_tr_S=found.floor_tr_S,
            floor_share=found.floor_share,
            nc1_floors=found.nc1_floors,
            least_loss=facts.least_loss,
            norm_E=facts.norm_E,
            zero_E=facts.zero_E,
            fits=facts.can_fit,
            ceiling=found.ceiling,
            bias_bounds=found.bias_bounds,
            limit=LimitRow.of(found.limit),
            largest_step=found.largest_step,
            collapses=found.collapses,
            collapse_time=found.collapse_time,
            algebraic_tail=found.algebraic,
        )


@dataclass(frozen=True)
class EndRow:
    """Where decay takes a generic start; see `ntkflow.theory.enforced.Enforced`. Its limit stands beside it."""

    rank: int
    loss: Number
    rho: Number
    NC1: Number
    NC2: Number
    NC3: Number
    NC4: bool | None
    merged: tuple[tuple[int, ...], ...]
    slowest: Number

    @classmethod
    def of(cls, found: Enforced | None) -> "EndRow | None":
        """As the theory gives it."""
        if found is None:
            return None
        metrics = (found.NC1, found.NC2, found.NC3, found.NC4)
        return cls(found.rank, found.loss, found.rho, *metrics, found.merged, found.slowest)


@dataclass(frozen=True)
class Threshold:
    """The rate of decay from which the classes of one size merge, or where `dies` says so are gone."""

    m: int
    classes: int
    rate: Number
    dies: bool = False


@dataclass(frozen=True)
class DecayRow:
    """What decay does.

    Attributes:
        rates: of W, H and b.
        end: where it takes a generic start; None where no result covers the problem.
        E_forgotten_at_rate: at which E forgets its start; None where it does not, or by no known rate.
        E_forgotten_exactly: whether that holds at all times.
        drifts: whether x falls or grows slowly once the classes are fitted.
        thresholds: of merging, by the size of the classes.
        of_the_mean_loss: what the rates are as the weight decay of an optimiser with the mean loss.
    """

    rates: Mapping[str, float]
    end: EndRow | None
    E_forgotten_at_rate: Number
    E_forgotten_exactly: bool | None
    drifts: bool
    thresholds: tuple[Threshold, ...]
    of_the_mean_loss: Mapping[str, float]

    @classmethod
    def of(cls, found: Decayed, problem: Problem) -> "DecayRow":
        """As the theory gives it."""
        scale = loss_scale(problem.loss.name, "mean", problem.sizes.N, problem.sizes.C)
        rates = problem.decay.as_dict()
        rate, exactly = found.forgotten or (None, None)
        return cls(
            rates,
            EndRow.of(found.end),
            rate,
            exactly,
            drifts(problem),
            tuple(Threshold(*row, separate(problem)) for row in thresholds(problem)),
            {name: value / scale for name, value in rates.items()},
        )


@dataclass(frozen=True)
class Disturbed:
    """What is known where the closed forms do not hold.

    Attributes:
        decay: what it does; None without decay, and of discrete steps.
        limit: where one is known nevertheless.
    """

    decay: DecayRow | None
    limit: LimitRow | None = None


@dataclass(frozen=True)
class LawRow:
    """One law of the flow, or of the steps; see `ntkflow.runs.laws.Law`."""

    quantity: str
    sentence: str
    bound: bool
    order: str

    @classmethod
    def of(cls, law: Law) -> "LawRow":
        """In words."""
        return cls(law.quantity, law.sentence, law.bound, law.order)


@dataclass(frozen=True)
class Predicted:
    """All that is known beforehand.

    Attributes:
        nc1_possible: whether NC1 can be reached; None where that is open.
        conditions: the answers for NC1-NC4.
        closed: closed forms of the paper's flow; None of any other.
        disturbed: what is known of another; None of the paper's.
        laws: what holds at all times.
    """

    nc1_possible: bool | None
    conditions: Mapping[str, Answer]
    closed: ClosedForms | None = field(metadata=INLINE)
    disturbed: Disturbed | None = field(metadata=INLINE)
    laws: tuple[LawRow, ...] = ()

    @property
    def limit(self) -> LimitRow | None:
        """Gram matrices of the end, where they are known."""
        known = self.closed or self.disturbed
        return None if known is None else known.limit

    @property
    def decay(self) -> DecayRow | None:
        """What decay does; None without."""
        return None if self.disturbed is None else self.disturbed.decay


def predictions(
    problem: Problem,
    prediction: Prediction | None,
    decayed: Decayed | None = None,
    of_steps: Sequence[Law] | None = None,
) -> Predicted:
    """Everything that is known beforehand.

    Args:
        problem: what is to be solved.
        prediction: closed forms, where the problem is `predictable`; None elsewhere.
        decayed: what decay makes of the run; None without decay.
        of_steps: the laws of discrete steps, which have the flow's answers in their limit alone; None for the flow.
    """
    known = tuple(LawRow.of(law) for law in (laws(problem) if of_steps is None else of_steps))
    if of_steps is None and prediction is not None:
        possible = prediction.conditions["NC1"].verdict != "no"
        return Predicted(possible, _answers(prediction.conditions), ClosedForms.of(prediction), None, known)
    limit: Limit | None = None
    if decayed is not None:
        answers, limit = decayed.conditions, None if decayed.end is None else decayed.end.limit
    else:
        answers = sample_conditions(problem) if prediction is None else prediction.conditions
        limit = held_limit(problem)
    if of_steps is not None:
        answers, limit = in_the_limit_of_steps(answers), None
    verdict = answers["NC1"].verdict
    decay = None if decayed is None or of_steps is not None else DecayRow.of(decayed, problem)
    return Predicted(
        None if verdict == "undetermined" else verdict == "yes",
        _answers(answers),
        None,
        Disturbed(decay, LimitRow.of(limit)),
        known,
    )


def _answers(found: Mapping[str, Condition]) -> dict[str, Answer]:
    return {name: Answer.of(answer) for name, answer in found.items()}


def in_the_limit_of_steps(answers: Mapping[str, Condition]) -> dict[str, Condition]:
    """The flow's answers as what they are for discrete steps, with momentum and batches or without."""
    return {
        name: replace(answer, sentence=f"{STEPS}{answer.sentence}")
        if answer.verdict != "undetermined"
        else answer
        for name, answer in answers.items()
    }
