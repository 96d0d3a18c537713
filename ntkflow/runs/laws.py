"""Exact laws of a problem's flow, whatever its initial state: said beforehand, checked along every run.

What is constant, what only falls, how E moves when something pulls on it. Every rung of the kernel ladder and
every modification has some (theory 3, 10, 11); closed limits and rates are rarer, see `ntkflow.theory.prediction`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from ntkflow._types import Floats
from ntkflow.dynamics.packed import ThinFlow
from ntkflow.integrate.law_check import LawCheck
from ntkflow.metrics.quantities import conserved_by
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import ThinState
from ntkflow.problem.thin import Frame
from ntkflow.theory import spectrum

if TYPE_CHECKING:
    from ntkflow.integrate.solution import Solution

# Kinds of statements: a law that holds for every run; one that leaves out higher orders; what a run only approaches.
EXACT, LEADING, LIMIT = "exact", "leading order", "limit"
# The error that integration and rounding may leave, in units of rtol, and at any rate.
SLACK, LEAST = 10.0, 1e-9
# Spectra of kernels without blocks take an eigenvalue problem of size C N, those with blocks C of size C + r.
MOST_MODES = 400
_SLOWEST: WeakKeyDictionary["Solution", float | None] = WeakKeyDictionary()
_RISES: WeakKeyDictionary["Solution", float] = WeakKeyDictionary()


def slack(run: "Solution") -> float:
    """The error that integration and rounding may leave in a law that looks at saved states."""
    rtol = run.stats.rtol
    return max(LEAST, SLACK * rtol) if math.isfinite(rtol) else LEAST


@dataclass(frozen=True, eq=False)
class Law:
    """One law.

    Attributes:
        quantity: what it is about.
        sentence: what it says, with its source.
        error: its relative error along a run; of an inequality by how much it was broken.
        bound: whether it is an inequality.
        order: `EXACT` or `LEADING`.
        tolerance: the error that integration and rounding may leave along a run.
        neglected: what a leading order leaves out along a run, relative to E's terms; None of an exact law.
    """

    quantity: str
    sentence: str
    error: Callable[["Solution"], float]
    bound: bool = False
    order: str = EXACT
    tolerance: Callable[["Solution"], float] = slack
    neglected: Callable[["Solution"], float | None] | None = None

    def __repr__(self) -> str:
        return f"Law({self.quantity}: {self.sentence})"


def step_laws(momentum: bool) -> tuple[Law, ...]:
    """The laws of discrete steps, which `ntkflow.integrate.descent` follows step by step.

    Args:
        momentum: whether the steps have momentum.
    """
    if not momentum:
        plain = (
            "m dE = eta^2 [H R^T R H^T - W^T R K R^T W] in every step and what decay takes, minibatches included, "
            "exactly (theory 11.3, 11.5)"
        )
        return (_motion(plain),)
    exact = (
        "dE is a sum over the velocities of all steps before, decay and minibatches included, exactly: without decay, for "
        "the heavy ball, m dE = eta^2 [q(v) + 2 sum_j beta^j q(v_j steps before)], q(v) = v_W^T v_W - v_H K^-1 v_H^T"
    )
    leading = "m dE = eta_eff [H R^T R H^T - W^T R K R^T W] per flow time, to leading order in the step (theory 11.4)"
    neglected = Law(
        "motion of E, leading order",
        leading,
        lambda run: _checked(run).neglected or 0.0,
        order=LEADING,
        neglected=lambda run: _checked(run).neglected,
    )
    return _motion(exact), neglected


def _motion(sentence: str) -> Law:
    """The law by which E moves, checked along with the run."""
    return Law(
        "motion of E",
        sentence,
        lambda run: _checked(run).error,
        tolerance=lambda run: _checked(run).tolerance,
    )


def _checked(run: "Solution") -> LawCheck:
    assert run.law is not None
    return run.law


def laws(problem: Problem) -> tuple[Law, ...]:
    """The laws of the problem's gradient flow, most general first."""
    return problem.once(_in_order)


def _in_order(problem: Problem) -> tuple[Law, ...]:
    return tuple(_laws(problem))


def _laws(problem: Problem) -> Iterator[Law]:
    decay = problem.decay
    yield _of_E(problem)
    if not decay.any:
        sentence = "the loss never rises: dL/dt is minus a sum of squares (theory 2)"
        yield Law("loss", sentence, lambda run: _rise(run.series["loss"]), bound=True)
    if problem.cross_entropy and not (decay.W or decay.b):
        yield Law(
            "W^T 1", "W^T 1 and 1^T b are constant: softmax residuals sum to zero (theory 11.7)", _column_sums
        )
    if _spread_falls(problem):
        sentence = (
            "deviations from the class means only shrink: H2^T H2 falls in the Loewner order (theory 3.4)"
        )
        yield Law("spread within classes", sentence, _spread, bound=True)
    if problem.plain and problem.equal_blocks is not None:
        sentence = "V = |b - 1/C|^2 + (N/mu_global) |g|^2 never rises (theory 3.3)"
        yield Law("V of biases and mean", sentence, _bias_and_mean, bound=True)


def _spread_falls(problem: Problem) -> bool:
    """Whether deviations from the class means can only shrink, and there are some."""
    return problem.squared_error and problem.blocks is not None and problem.sizes.N > problem.sizes.C


def _of_E(problem: Problem) -> Law:
    lw, lh, _ = problem.decay.rates
    if problem.kernel.moves:
        pull = ", and decay pulls on it" if lw or lh else ""
        return _motion(f"m dE/dt = H K^-1 K' K^-1 H^T{pull}, integrated with the run (theory 11.1, 11.2)")
    if lw == lh > 0:
        return _motion(f"E(t) = exp(-{2 * lw:.4g} t) E(0) exactly (theory 11.1)")
    if lw or lh:
        return _motion("dE/dt = -2 lw E + (2/m)(lh - lw) H K^-1 H^T, integrated with the run (theory 11.1)")
    return Law("invariant", _conserved_sentence(problem), lambda run: float(np.max(run.series["E_drift"])))


def _conserved_sentence(problem: Problem) -> str:
    quantities = conserved_by(problem)
    count, pieces = quantities.symmetries.count, len(quantities.symmetries.blocks)
    numbers = "1 number is" if count == 1 else f"{count} numbers are"
    if problem.kernel.on_samples:
        return f"the {count} entries of the symmetric matrix E are constant, for any loss (eq. 26)"
    # Of a rung of one's own all that is known is through which matrices it acts on features.
    own = (
        f"{numbers} constant: tr(x E) for the x that commute with the kernel's action on features (theory 10)"
    )
    return {
        "kronecker": f"{numbers} constant: Pi E Pi for the {pieces} eigenspaces Pi of A (theory 10, L3)",
        "matrix-block": f"{numbers} constant: tr(x E) for the x that commute with A_d, A_c and A_n (theory 10, L4)",
        "tensor": f"{numbers} constant: tr E, and what symmetry the kernel has beyond it (theory 10, L5)",
    }.get(problem.kernel.rung, own)


def _rise(values: Floats) -> float:
    """Largest rise above an earlier value, relative to the first."""
    rise = float(np.max(values - np.minimum.accumulate(values)))
    return rise / float(values[0]) if values[0] > 0 else rise


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
    if run not in _RISES:
        _RISES[run] = float(_rises(ends[None])[0]) if (ends := _ends_within(run)) is not None else 0.0
    return max(trace, _RISES[run])


def _ends_within(run: "Solution") -> Floats | None:
    """L at both ends, (2, k, r), where it is told in the same frame; None where it is not, or empty."""
    flow = run.flow
    if isinstance(flow, ThinFlow) and isinstance(flow.frame, Frame):
        # In the coordinates of the subspace, in which L^T L is the same.
        _, L, _, _ = flow.unpack_many(run.packed[[0, -1]])
    else:
        (start, first), (end, last) = run.thin(0), run.thin(-1)
        if first.Q is not last.Q:
            return None
        L = np.stack([start.L, end.L])
    return L if L.size else None


def _rises(ends: Floats) -> Floats:
    """The largest eigenvalue of the change of L^T L from start to end over that at the start, of (K, 2, k, r)."""
    grams = ends.swapaxes(2, 3) @ ends
    before, after = grams[:, 0], grams[:, 1]
    # Of a Gram matrix the largest eigenvalue is the norm.
    largest = np.linalg.eigvalsh(np.stack([after - before, before], axis=1))[..., -1]
    result: Floats = largest[:, 0] / largest[:, 1]
    return result


def look_at_spread(runs: Sequence["Solution"]) -> None:
    """Find what the law of the spread within classes asks for of many runs, those of equal shape at once."""
    groups: dict[tuple[int, ...], list[tuple[Solution, Floats]]] = defaultdict(list)
    for run in runs:
        if _spread_falls(run.problem) and (ends := _ends_within(run)) is not None:
            groups[ends.shape].append((run, ends))
    for some in groups.values():
        found = _rises(np.stack([ends for _, ends in some]))
        _RISES.update(zip([run for run, _ in some], found.tolist(), strict=True))


def _bias_and_mean(run: "Solution") -> float:
    """Largest rise of V over V(0) + 1/C, the size of b at the end."""
    V = run.series["V"]
    return float(np.max(V - np.minimum.accumulate(V))) / (float(V[0]) + 1 / run.problem.sizes.C)


def inside(run: "Solution", i: int) -> tuple[ThinState, Frame]:
    """Thin state at a saved time and its frame, in the coordinates of the subspace where it lives in one: for what Gram matrices
    of features and weights tell, which are the same there.
    """
    flow = run.flow
    if isinstance(flow, ThinFlow) and isinstance(flow.frame, Frame):
        return flow.unpack(run.packed[i]), flow.frame
    return run.thin(i)


def slowest_rate(solution: "Solution") -> float | None:
    """Slowest rate at the final state that is not zero; None where it would take too long. Worked out once."""
    if solution not in _SLOWEST:
        _SLOWEST[solution] = _slowest_rate(solution)
    return _SLOWEST[solution]


def _slowest_rate(solution: "Solution") -> float | None:
    sizes, kernel = solution.problem.sizes, solution.problem.kernel
    coefficients = kernel.thin(sizes)
    if coefficients is not None:
        thin, frame = inside(solution, -1)
        if sizes.C + thin.L.shape[1] > MOST_MODES:
            return None
        return spectrum.of_thin(thin, frame, coefficients, solution.problem.train_bias).slowest
    if sizes.C * sizes.N > MOST_MODES:
        return None
    final, train_bias = solution.final, solution.problem.train_bias
    return spectrum.at_zero_loss(sizes, kernel, final.H, final.W, train_bias).slowest
