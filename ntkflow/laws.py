"""Exact laws of a problem's flow, whatever its initial state: said beforehand, checked along every run.

What is constant, what only falls, how E moves when something pulls on it. Every rung of the kernel ladder and
every modification has some (theory 3, 10, 11); closed limits and rates are rarer, see `ntkflow.prediction`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ntkflow.conserved import conserved
from ntkflow.kernels import BlockKernel
from ntkflow.losses import MSE, CrossEntropy
from ntkflow.problem import Problem

if TYPE_CHECKING:
    from ntkflow.solution import Solution


# The law of discrete steps, which `ntkflow.discrete` follows step by step.
STEP_LAW = (
    "m dE = eta^2 [H R^T R H^T - W^T R K R^T W] in every step, decay and minibatches included; exact for plain "
    "steps, to leading order in the step with momentum (theory 11.3-11.5)"
)


@dataclass(frozen=True, eq=False)
class Law:
    """One law.

    Attributes:
        quantity: what it is about.
        sentence: what it says, with its source.
        error: its relative error along a run; of an inequality by how much it was broken.
        bound: whether it is an inequality.
    """

    quantity: str
    sentence: str
    error: Callable[["Solution"], float]
    bound: bool = False


def laws(problem: Problem) -> tuple[Law, ...]:
    """The laws of the problem's gradient flow, most general first."""
    return tuple(_laws(problem))


def _laws(problem: Problem) -> Iterator[Law]:
    decay = problem.decay
    yield _of_E(problem)
    if not decay.any:
        sentence = "the loss never rises: dL/dt is minus a sum of squares (theory 2)"
        yield Law("loss", sentence, lambda run: _rise(run.series["loss"]), bound=True)
    if isinstance(problem.loss, CrossEntropy) and not (decay.W or decay.b):
        yield Law(
            "W^T 1", "W^T 1 and 1^T b are constant: softmax residuals sum to zero (theory 11.7)", _column_sums
        )
    if (
        isinstance(problem.loss, MSE)
        and isinstance(problem.kernel, BlockKernel)
        and problem.sizes.N > problem.sizes.C
    ):
        sentence = (
            "deviations from the class means only shrink: H2^T H2 falls in the Loewner order (theory 3.4)"
        )
        yield Law("spread within classes", sentence, _spread, bound=True)
    if problem.plain and isinstance(problem.kernel, BlockKernel) and problem.sizes.balanced:
        sentence = "V = |b - 1/C|^2 + (N/mu_global) |g|^2 never rises (theory 3.3)"
        yield Law("V of biases and mean", sentence, _bias_and_mean, bound=True)


def _of_E(problem: Problem) -> Law:
    lw, lh, _ = problem.decay.rates
    if problem.kernel.rung == "scheduled":
        pull = ", and decay pulls on it" if lw or lh else ""
        sentence = (
            f"m dE/dt = H K^-1 K' K^-1 H^T{pull}, to the accuracy of the quadrature (theory 11.1, 11.2)"
        )
        return Law("motion of E", sentence, lambda run: run.gap_to_law or 0.0)
    if lw == lh > 0:
        return Law("motion of E", f"E(t) = exp(-{2 * lw:.4g} t) E(0) exactly (theory 11.1)", _shrinking)
    if lw or lh:
        sentence = (
            "dE/dt = -2 lw E + (2/m)(lh - lw) H K^-1 H^T, to the accuracy of the quadrature (theory 11.1)"
        )
        return Law("motion of E", sentence, lambda run: run.gap_to_law or 0.0)
    return Law("invariant", _conserved_sentence(problem), lambda run: float(np.max(run.series["E_drift"])))


def _conserved_sentence(problem: Problem) -> str:
    quantities = conserved(problem.kernel, problem.sizes)
    count, pieces = len(quantities.names), len(quantities.symmetries.blocks)
    numbers = "1 number is" if count == 1 else f"{count} numbers are"
    return {
        "kronecker": f"{numbers} constant: Pi E Pi for the {pieces} eigenspaces Pi of A (theory 10, L3)",
        "matrix-block": f"{numbers} constant: tr(x E) for the x that commute with A_d, A_c and A_n (theory 10, L4)",
        "tensor": f"{numbers} constant: tr E, and what symmetry the kernel has beyond it (theory 10, L5)",
    }.get(
        problem.kernel.rung,
        f"the {count} entries of the symmetric matrix E are constant, for any loss (eq. 26)",
    )


def _rise(values: np.ndarray) -> float:
    """Largest rise above an earlier value, relative to the first."""
    rise = float(np.max(values - np.minimum.accumulate(values)))
    return rise / float(values[0]) if values[0] > 0 else rise


def _shrinking(run: "Solution") -> float:
    """Largest |E(t) - exp(-2 l t) E(0)| over the size of E's terms."""
    quantities, rate = conserved(run.problem.kernel, run.problem.sizes), 2 * run.problem.decay.W
    start, gap, scale = quantities.values(run.state(0)), 0.0, 0.0
    for i, t in enumerate(run.times):
        state = run.state(i)
        gap = max(gap, quantities.norm(quantities.values(state) - np.exp(-rate * t) * start))
        scale = max(scale, quantities.scale(state))
    return gap / scale if scale else 0.0


def _column_sums(run: "Solution") -> float:
    """Largest change of W^T 1 and 1^T b over the sizes of W and b."""
    first, size, change = run.state(0), 0.0, 0.0
    for i in range(len(run)):
        now = run.state(i)
        size = max(size, float(np.linalg.norm(now.W) + np.linalg.norm(now.b)))
        moved = (now.W - first.W).sum(axis=0)
        change = max(change, float(np.linalg.norm(moved)), abs(float((now.b - first.b).sum())))
    return change / size if size else 0.0


def _spread(run: "Solution") -> float:
    """Rise of tr S along the run, or of the largest eigenvalue of the change of H2^T H2 from start to end."""
    trace = _rise(run.series["tr_S"])
    (start, first), (end, last) = run.thin(0), run.thin(-1)
    if first.Q is not last.Q or not start.L.size:
        return trace
    before, after = start.L.T @ start.L, end.L.T @ end.L
    largest = float(np.linalg.eigvalsh(after - before)[-1])
    return max(trace, largest / float(np.linalg.norm(before, 2)))


def _bias_and_mean(run: "Solution") -> float:
    """Largest rise of V over V(0) + 1/C, the size of b at the end."""
    V = run.series["V"]
    return float(np.max(V - np.minimum.accumulate(V))) / (float(V[0]) + 1 / run.problem.sizes.C)
