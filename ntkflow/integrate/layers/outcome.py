"""What became of a run of linear layers, beside what was foretold: collapsed, lost rank, died (theory 18.8)."""

import numpy as np

from ntkflow._types import Floats, Json
from ntkflow.integrate.layers.series import LEARNED
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.stopping import Reason
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.state import class_means
from ntkflow.theory.layers.decay import decayed
from ntkflow.theory.layers.verdict import COLLAPSES, DIES, KEEPS, LOSES, OPEN

UNFINISHED = "unfinished"
# NC1 of the last layer, tr S/tr(P G), below which deviations are gone; what falls by less in the second half of a run stays.
GONE, STAYS = 1e-4, 0.9
FITTED = 0.99


def outcome_of(solution: LayeredSolution, foretold: Json) -> Json:
    """How the run ended, how many contrasts it fits, and whether that was foretold.

    Args:
        solution: the run.
        foretold: `Verdict.as_dict` of its start.

    Returns:
        `outcome`: collapses, loses rank, dies, keeps deviations, or unfinished where a contrast or the deviations are still on
        their way; `contrasts`; `agrees`: None for what is unfinished or was not foretold.
    """
    found, rank = _outcome(solution)
    agrees: bool | None = None
    if foretold["outcome"] != OPEN and found != UNFINISHED:
        same = found == foretold["outcome"] and foretold["rank"] in (None, rank)
        agrees = same and rank >= foretold["at_least"]
    return {"outcome": found, "contrasts": rank, "agrees": agrees}


def _outcome(solution: LayeredSolution) -> tuple[str, int]:
    problem, C = solution.problem, solution.problem.sizes.C
    p = _fitted(solution)
    lost = decayed(problem)
    if lost is not None:
        # Between the roots of m p^a (1 - p) = lb x a contrast is on its way up, below the lower one on its way down.
        alive = (
            p > max(0.5 * (lost.p_high or 0.0), lost.p_low or 0.0)
            if lost.p_high
            else np.zeros(len(p), dtype=bool)
        )
        dead = p < (0.5 * lost.p_low if lost.p_low else 1e-3)
    else:
        # Decay without a closed form leaves a share of each contrast that is known at rest only.
        decays = problem.decay.any
        alive = p > (LEARNED if decays else FITTED)
        rests = solution.reason in (Reason.STATIONARY, Reason.NC1)
        # Nothing but rest says that a contrast will never be learned.
        dead = ~alive & rests
        if decays and not rests:
            return UNFINISHED, int(alive.sum())
    rank = int(alive.sum())
    if not np.all(alive | dead):
        return UNFINISHED, rank
    if rank < C - 1:
        return (LOSES if rank else DIES), rank
    return _of_deviations(solution), rank


def _of_deviations(solution: LayeredSolution) -> str:
    last = solution.ends["NC1_tirer"][-1]
    if not last > GONE:
        return COLLAPSES
    if solution.reason is Reason.STATIONARY:
        return KEEPS
    middle = solution.at("NC1_tirer", float(solution.times[-1]) / 2)
    return KEEPS if last > STAYS * middle else UNFINISHED


def _fitted(solution: LayeredSolution) -> Floats:
    """Singular values of W H[L] on class contrasts at the end."""
    sizes, end = solution.problem.sizes, solution.final
    P = centring(sizes.C)
    H1 = class_means(end.layers[-1], sizes)
    result: Floats = np.linalg.svd(P @ end.W @ H1 @ P, compute_uv=False)[: sizes.C - 1]
    return result
