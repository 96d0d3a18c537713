"""summary.json: what was run, what happened, what the theory predicted, and how far they agree."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import __version__
from ntkflow._types import Document
from ntkflow.metrics import neural_collapse
from ntkflow.problem.problem import Problem
from ntkflow.problem.training_clock import Clock
from ntkflow.runs.agreement import Agreement, Waiting, compare, waiting, warnings_of
from ntkflow.runs.border.plain import SizesRow
from ntkflow.runs.border.records import INLINE
from ntkflow.runs.laws import LIMIT, step_laws
from ntkflow.runs.predicted import Number, Predicted, predictions
from ntkflow.theory import bounds, decay_conditions
from ntkflow.theory.prediction import Prediction, predict_flow, predictable

if TYPE_CHECKING:
    from ntkflow.integrate.solution import Solution
    from ntkflow.runs.simulate import Prepared


@dataclass(frozen=True)
class Ends:
    """A number at both ends of a run."""

    initial: Number
    final: Number


@dataclass(frozen=True)
class EigenvaluesRow:
    """Of the block kernel."""

    mu_single: Number
    mu_class: Number
    mu_global: Number


@dataclass(frozen=True)
class BlockConstants:
    """What scalar blocks and balanced classes alone have; None elsewhere.

    Attributes:
        eigenvalues: the three of Table 1.
        alpha: 1 - alpha C = mu_class/mu_global.
        dimensionless: rho_s, rho_g and nu.
    """

    eigenvalues: EigenvaluesRow | None
    alpha: Number = None
    dimensionless: Mapping[str, Number] | None = None


@dataclass(frozen=True)
class Signs:
    """Eigenvalues of E at the start, by sign."""

    positive: int
    negative: int
    zero: int


@dataclass(frozen=True)
class InvariantRow:
    """What became of E.

    Attributes:
        norm_initial, norm_final: its size.
        drift: largest change, relative to its terms.
        constant: whether the flow keeps it.
        law_error: of the exact law by which it moves; None where it does not.
        law_tolerance: what integration and rounding explain of that.
        law_neglected: what the leading order of that law leaves out.
        alignment_initial, alignment_final: cosine of its two terms.
        eigen_signs: at the start; None unless the kernel acts on samples.
    """

    norm_initial: Number
    norm_final: Number
    drift: Number
    constant: bool
    law_error: Number
    law_tolerance: Number = field(default=None, kw_only=True)
    law_neglected: Number = field(default=None, kw_only=True)
    alignment_initial: Number
    alignment_final: Number
    eigen_signs: Signs | None = None


@dataclass(frozen=True)
class AgreementRow:
    """A comparison with the theory, see `ntkflow.runs.agreement.Agreement`; runs of earlier versions say less."""

    quantity: str
    error: Number
    sentence: str
    bound: bool = False
    order: str = LIMIT
    tolerance: Number = None
    neglected: Number = None
    digits: float = 0.0
    failed: bool = False

    @classmethod
    def of(cls, found: Agreement) -> "AgreementRow":
        """With the verdict."""
        return cls(**vars(found), digits=found.digits, failed=found.failed)


@dataclass(frozen=True)
class OptimiserRow:
    """An optimiser of the options, see `ntkflow.Clock`: what it was given and what that is in flow time."""

    loss: str
    reduction: str
    samples: int | None
    classes: int | None
    batch: int | None
    accumulate: int
    loss_scale: float
    learning_rate: Number
    schedule: str | None
    momentum: float
    nesterov: bool
    weight_decay: Number
    decay: str
    decay_on: str
    degree: Number
    # Files of before have none.
    label_smoothing: Number = field(default=None, kw_only=True)
    frozen: str | None
    precision: str | None
    theory_decay: Number
    time_step: Number
    effective_step: Number

    @classmethod
    def of(cls, clock: Clock | None) -> "OptimiserRow | None":
        """As the clock says it; None where the options name none."""
        return None if clock is None else cls(**clock.as_dict())


@dataclass(frozen=True)
class StopRow:
    """Why a run ended, in a word and in a sentence."""

    key: str
    sentence: str


@dataclass(frozen=True)
class SolverRow:
    """What the integration cost, see `ntkflow.integrate.solution.Stats`; steps have no tolerance."""

    engine: str
    because: str
    form: str
    unknowns: int
    stiffness: Number
    steps: int
    evaluations: int
    rtol: Number
    rtol_internal: Number
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """summary.json of a simulation.

    Attributes:
        version: of ntkflow.
        config: tables of the complete configuration.
        sizes: of the problem.
        kernel: what the rung says of itself; which keys these are is the rung's to say.
        constants: of scalar blocks.
        invariant: what became of E.
        loss: at both ends.
        nc: NC1-NC4 at both ends.
        predicted: what was known beforehand.
        optimiser: of the options; None where they name none.
        agreement: how the run compares.
        waiting: limits that it has not come close enough to.
        warnings: exact laws that it breaks, in words.
        stop_reason: why it ended.
        t_end: flow time there.
        solver: what it cost.
    """

    version: str = ""
    config: Document | None = None
    sizes: SizesRow
    kernel: Document
    constants: BlockConstants = field(metadata=INLINE)
    invariant: InvariantRow
    loss: Ends
    nc: Mapping[str, Ends]
    predicted: Predicted | None
    optimiser: OptimiserRow | None = None
    agreement: tuple[AgreementRow, ...]
    waiting: tuple[Waiting, ...] = ()
    warnings: tuple[str, ...] = ()
    stop_reason: StopRow
    t_end: Number
    solver: SolverRow


def summarise(solution: "Solution", prepared: "Prepared") -> Summary:
    """The summary of a run."""
    problem = solution.problem
    flow = solution.is_flow
    prediction = predict_flow(problem) if predictable(problem) else None
    decayed = decay_conditions.predict_decayed(problem) if problem.decay.any else None
    end = None if decayed is None else decayed.end
    lines = compare(solution, prediction, end)
    return Summary(
        version=__version__,
        config=prepared.config.tables(),
        sizes=SizesRow.of(problem.sizes),
        kernel=problem.kernel.as_dict(),
        constants=block_constants(problem),
        invariant=_invariant(solution, prediction),
        loss=_ends(solution, "loss"),
        nc={name: _ends(solution, name) for name in neural_collapse.NAMES},
        predicted=predictions(
            problem, prediction, decayed, None if flow else step_laws(solution.has_momentum)
        ),
        optimiser=OptimiserRow.of(prepared.optimiser),
        agreement=tuple(AgreementRow.of(line) for line in lines),
        waiting=tuple(waiting(solution, prediction, end)),
        warnings=tuple(warnings_of(lines)),
        stop_reason=StopRow(solution.reason.value, solution.reason.sentence),
        t_end=float(solution.times[-1]),
        solver=SolverRow(**vars(solution.stats)),
    )


def _ends(solution: "Solution", name: str) -> Ends:
    values = solution.ends[name]
    return Ends(float(values[0]), float(values[-1]))


def block_constants(problem: Problem) -> BlockConstants:
    """Eigenvalues, alpha and the dimensionless numbers of scalar blocks and balanced classes; None elsewhere."""
    kernel, sizes = problem.equal_blocks, problem.sizes
    if kernel is None:
        return BlockConstants(None)
    values = EigenvaluesRow(*kernel.eigenvalues(sizes))
    return BlockConstants(values, kernel.alpha(sizes), kernel.dimensionless(sizes)._asdict())


def _invariant(solution: "Solution", prediction: Prediction | None) -> InvariantRow:
    series, law = solution.ends, solution.law
    return InvariantRow(
        norm_initial=float(series["E_norm"][0]),
        norm_final=float(series["E_norm"][-1]),
        drift=float(np.max(solution.series["E_drift"])),
        constant=not solution.E_moves,
        law_error=None if law is None else law.error,
        law_tolerance=None if law is None else law.tolerance,
        law_neglected=None if law is None else law.neglected,
        alignment_initial=float(series["E_alignment"][0]),
        alignment_final=float(series["E_alignment"][-1]),
        eigen_signs=_eigen_signs(solution.problem, prediction),
    )


def _eigen_signs(problem: Problem, prediction: Prediction | None) -> Signs | None:
    """How many eigenvalues of E are positive, negative and zero at the start; None unless K acts on samples."""
    if problem.kernel.sample_matrix is None and problem.thin is None:
        return None
    found = (
        bounds.inertia_of_E(problem.sizes, problem.kernel, problem.state)
        if prediction is None
        else prediction.facts.signs
    )
    return Signs(found.positive, found.negative, found.zero)
