"""summary.json: what was run, what happened, what the theory predicted, and how far they agree."""

from typing import TYPE_CHECKING

import numpy as np

from ntkflow import __version__, collapse, invariant
from ntkflow._types import Json
from ntkflow.agreement import compare
from ntkflow.balance import balance
from ntkflow.kernels import BlockKernel
from ntkflow.prediction import predict, predictable

if TYPE_CHECKING:
    from ntkflow.simulate import Prepared
    from ntkflow.solution import Solution


def summarise(solution: "Solution", prepared: "Prepared") -> Json:
    """The summary of a run, plain values only."""
    problem = solution.problem
    scalar = isinstance(problem.kernel, BlockKernel) and problem.sizes.balanced
    prediction = predict(problem) if predictable(problem) and solution.law_error is None else None
    return {
        "version": __version__,
        "config": prepared.config.tables(),
        "sizes": problem.sizes.as_dict(),
        "kernel": problem.kernel.as_dict(),
        **(
            _block_constants(solution)
            if scalar
            else {"eigenvalues": None, "alpha": None, "dimensionless": None}
        ),
        "invariant": _invariant(solution),
        "loss": _ends(solution, "loss"),
        "nc": {name: _ends(solution, name) for name in collapse.NAMES},
        "predicted": None if prediction is None else prediction.as_dict(),
        "agreement": [] if prediction is None else [line.as_dict() for line in compare(solution, prediction)],
        "stop_reason": {"key": solution.reason.value, "sentence": solution.reason.sentence},
        "t_end": float(solution.times[-1]),
        "solver": solution.stats.as_dict(),
    }


def _ends(solution: "Solution", name: str) -> Json:
    values = solution.series[name]
    return {"initial": float(values[0]), "final": float(values[-1])}


def _block_constants(solution: "Solution") -> Json:
    problem = solution.problem
    kernel = problem.kernel
    assert isinstance(kernel, BlockKernel)
    return {
        "eigenvalues": kernel.eigenvalues(problem.sizes)._asdict(),
        "alpha": kernel.alpha(problem.sizes),
        "dimensionless": kernel.dimensionless(problem.sizes)._asdict(),
    }


def _invariant(solution: "Solution") -> Json:
    series = solution.series
    return {
        "norm_initial": float(series["E_norm"][0]),
        "norm_final": float(series["E_norm"][-1]),
        "drift": float(np.max(series["E_drift"])),
        "constant": not moves(solution),
        "law_error": _law_error(solution),
        "alignment_initial": float(series["E_alignment"][0]),
        "alignment_final": float(series["E_alignment"][-1]),
        "eigen_signs": _eigen_signs(solution),
    }


def moves(solution: "Solution") -> bool:
    """Whether E moves in truth, so that `drift` is no error: decay, a moving kernel, or discrete steps."""
    problem = solution.problem
    return problem.decay.any or problem.kernel.rung == "scheduled" or solution.law_error is not None


def _law_error(solution: "Solution") -> float | None:
    """Where E moves: the largest gap to the exact law of its motion (theory 11.1-11.5), relative to E's terms."""
    if solution.law_error is not None or not moves(solution):
        return solution.law_error
    states = [solution.state(i) for i in range(len(solution))]
    return balance(solution.problem, solution.times, states).error


def _eigen_signs(solution: "Solution") -> Json | None:
    problem = solution.problem
    if problem.kernel.thin(problem.sizes) is None:
        return None
    start = invariant.terms(problem.state, problem.sizes, problem.kernel)
    return invariant.eigen_signs(start.E, start.scale)
