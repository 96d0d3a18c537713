"""summary.json: what was run, what happened, what the theory predicted, and how far they agree."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.metrics import neural_collapse
from ntkflow.problem.problem import Problem
from ntkflow.runs.agreement import compare, waiting, warnings_of
from ntkflow.runs.border.reading import NOTHING, NUMBER
from ntkflow.runs.laws import Law, laws, step_laws
from ntkflow.theory import bounds, decay_conditions
from ntkflow.theory.conditions import Condition
from ntkflow.theory.decay_conditions import Decayed
from ntkflow.theory.held_biases import held_limit
from ntkflow.theory.limit_point import Limit
from ntkflow.theory.prediction import Prediction, predict, predictable, sample_conditions

if TYPE_CHECKING:
    from ntkflow.integrate.solution import Solution
    from ntkflow.runs.simulate import Prepared

# Each step moves E by its own law, by O(eta) in all: what E decides for the flow, it decides for steps in the limit.
STEPS = "of the flow, the limit of small steps: "
_ENDS = {"initial": NUMBER, "final": NUMBER}
# What readers of summary.json rely on.
SHAPE = {
    "sizes": {"C": int, "m": object, "n": int, "N": int},
    "kernel": {"kappa_d?": object, "kappa_c?": object, "kappa_n?": object},
    "eigenvalues": (NOTHING, {"mu_single": NUMBER, "mu_class": NUMBER, "mu_global": NUMBER}),
    "loss": _ENDS,
    "invariant": {
        **dict.fromkeys(("norm_initial", "norm_final", "alignment_initial", "alignment_final"), NUMBER),
        **{"drift": NUMBER, "law_error": NUMBER, "constant": bool},
    },
    "nc": dict.fromkeys(("NC1", "NC2", "NC3", "NC4"), _ENDS),
    "predicted": (
        NOTHING,
        {
            "conditions": {"*": {"verdict": str, "sentence": str}},
        },
    ),
    "agreement": [{"quantity": str, "sentence": str, "error": NUMBER}],
    "solver": {"engine": str, "form": str, "steps": int, "seconds": float, "because": str},
    "stop_reason": {"sentence": str},
    "t_end": NUMBER,
    "warnings?": [str],
}


def summarise(solution: "Solution", prepared: "Prepared") -> Json:
    """The summary of a run, plain values only."""
    problem = solution.problem
    flow = solution.is_flow
    prediction = predict(problem) if predictable(problem) else None
    decayed = decay_conditions.predict_decayed(problem) if problem.decay.any else None
    end = None if decayed is None else decayed.end
    lines = compare(solution, prediction, end)
    return {
        "version": __version__,
        "config": prepared.config.tables(),
        "sizes": problem.sizes.as_dict(),
        "kernel": problem.kernel.as_dict(),
        **block_constants(problem),
        "invariant": _invariant(solution),
        "loss": _ends(solution, "loss"),
        "nc": {name: _ends(solution, name) for name in neural_collapse.NAMES},
        "predicted": predictions(
            problem, prediction, decayed, None if flow else step_laws(solution.has_momentum)
        ),
        "optimiser": None if prepared.optimiser is None else prepared.optimiser.as_dict(),
        "agreement": [line.as_dict() for line in lines],
        "waiting": [line.as_dict() for line in waiting(solution, prediction, end)],
        "warnings": warnings_of(lines),
        "stop_reason": {"key": solution.reason.value, "sentence": solution.reason.sentence},
        "t_end": float(solution.times[-1]),
        "solver": solution.stats.as_dict(),
    }


def predictions(
    problem: Problem,
    prediction: Prediction | None,
    decayed: Decayed | None = None,
    of_steps: Sequence[Law] | None = None,
) -> Json:
    """Plain values of all that is known beforehand.

    Args:
        problem: what is to be solved.
        prediction: closed forms, where the problem is `predictable`; None elsewhere.
        decayed: what decay makes of the run; None without decay.
        of_steps: the laws of discrete steps, which have the flow's answers in their limit alone; None for the flow.
    """
    known = [
        {"quantity": law.quantity, "sentence": law.sentence, "bound": law.bound, "order": law.order}
        for law in (laws(problem) if of_steps is None else of_steps)
    ]
    if of_steps is None and prediction is not None:
        return {**prediction.as_dict(), "laws": known}
    limit: Limit | None = None
    if decayed is not None:
        answers, limit = decayed.conditions, None if decayed.end is None else decayed.end.limit
    else:
        answers = sample_conditions(problem) if prediction is None else prediction.conditions
        limit = held_limit(problem)
    if of_steps is not None:
        answers, limit = in_the_limit_of_steps(answers), None
    verdict = answers["NC1"].verdict
    return {
        "nc1_possible": None if verdict == "undetermined" else verdict == "yes",
        "conditions": {name: answer.as_dict() for name, answer in answers.items()},
        "decay": None if decayed is None or of_steps is not None else decayed.as_dict(problem),
        "limit": None if limit is None else limit.as_dict(),
        "laws": known,
    }


def in_the_limit_of_steps(answers: Mapping[str, Condition]) -> dict[str, Condition]:
    """The flow's answers as what they are for discrete steps, with momentum and batches or without."""
    return {
        name: replace(answer, sentence=f"{STEPS}{answer.sentence}")
        if answer.verdict != "undetermined"
        else answer
        for name, answer in answers.items()
    }


def _ends(solution: "Solution", name: str) -> Json:
    values = solution.series[name]
    return {"initial": float(values[0]), "final": float(values[-1])}


def block_constants(problem: Problem) -> Json:
    """Eigenvalues, alpha and the dimensionless numbers of scalar blocks and balanced classes; None elsewhere."""
    kernel, sizes = problem.equal_blocks, problem.sizes
    if kernel is None:
        return {"eigenvalues": None, "alpha": None, "dimensionless": None}
    return {
        "eigenvalues": kernel.eigenvalues(sizes)._asdict(),
        "alpha": kernel.alpha(sizes),
        "dimensionless": kernel.dimensionless(sizes)._asdict(),
    }


def _invariant(solution: "Solution") -> Json:
    series = solution.series
    return {
        "norm_initial": float(series["E_norm"][0]),
        "norm_final": float(series["E_norm"][-1]),
        "drift": float(np.max(series["E_drift"])),
        "constant": not solution.E_moves,
        **_law(solution),
        "alignment_initial": float(series["E_alignment"][0]),
        "alignment_final": float(series["E_alignment"][-1]),
        "eigen_signs": _eigen_signs(solution.problem),
    }


def _law(solution: "Solution") -> Json:
    law = solution.law
    if law is None:
        return {"law_error": None, "law_tolerance": None, "law_neglected": None}
    return {"law_error": law.error, "law_tolerance": law.tolerance, "law_neglected": law.neglected}


def _eigen_signs(problem: Problem) -> Json | None:
    """How many eigenvalues of E are positive, negative and zero at the start; None unless K acts on samples."""
    if problem.kernel.sample_matrix is None and problem.thin is None:
        return None
    found = bounds.inertia_of_E(problem.sizes, problem.kernel, problem.state).as_dict()
    return {name: found[name] for name in ("positive", "negative", "zero")}
