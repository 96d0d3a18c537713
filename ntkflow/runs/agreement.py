"""Outcome against prediction: to how many digits a finished run agrees with the theory."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ntkflow._types import Floats
from ntkflow.dynamics.packed import relative_speed
from ntkflow.metrics import neural_collapse
from ntkflow.metrics.quantities import conserved_by
from ntkflow.runs.laws import EXACT, LEADING, LIMIT, Law, inside, laws, slack, slowest_rate, step_laws
from ntkflow.theory import decay_conditions, limits, rates, zero_loss
from ntkflow.theory.enforced import Enforced
from ntkflow.theory.exact.decayed import feature_decay_drift, weight_decay_drift
from ntkflow.theory.prediction import Prediction

if TYPE_CHECKING:
    from ntkflow.integrate.solution import Solution

# The limits are those at zero loss; a run that stopped before it says nothing of them.
NEAR_ZERO_LOSS = 1e-4
# A limit is compared once what is left of the way, the speed over the slowest rate, is this small beside the state.
# So many time constants must have passed, since a state is slow at a saddle too.
ARRIVED, PASSED = 1e-6, 5.0
# W W^T = x P and zero loss to this accuracy let x be followed along the minima.
NEAR_COLLAPSE = 1e-2
# The late decay of the loss is read off its last decades above the error of the outputs, where the slowest mode
# has outlived the others: below DEEP of the loss of zero outputs.
LATE, DEEP, SETTLED, STEADY = 1e5, 1e-7, 8.0, 0.05


@dataclass(frozen=True)
class Agreement:
    """One comparison: the relative error of a prediction, and what was compared.

    Attributes:
        quantity: what was predicted.
        error: relative error; of a bound, by how much it was broken, 0 when it held.
        sentence: both sides and the source.
        bound: whether the prediction is an inequality.
        order: 'exact', a law of every run; 'leading order', which leaves out higher ones; or 'limit', which a run
            only approaches.
        tolerance: of what is exact, the error that integration and rounding may leave; None elsewhere.
        neglected: of a leading order, the size of what it leaves out where that is known, in the units of `error`.
    """

    quantity: str
    error: float
    sentence: str
    bound: bool = False
    order: str = LIMIT
    tolerance: float | None = None
    neglected: float | None = None

    @property
    def digits(self) -> float:
        """Number of digits that agree, 0 to 16."""
        if not math.isfinite(self.error):
            return 0.0
        return round(float(min(16.0, max(0.0, -math.log10(max(self.error, 1e-17))))), 1)

    @property
    def failed(self) -> bool:
        """Whether what is exact does not hold: the run or the theory is wrong."""
        return self.tolerance is not None and not self.error <= self.tolerance


@dataclass(frozen=True)
class Waiting:
    """A limit that the run has not come close enough to, so that comparing says nothing about the theory.

    Attributes:
        quantity: what was predicted.
        sentence: how far the run is, and when it would be there.
    """

    quantity: str
    sentence: str


def compare(
    solution: "Solution", prediction: Prediction | None, end: Enforced | None = None
) -> list[Agreement]:
    """All comparisons that make sense for this run: closed forms, then laws, then bounds.

    Args:
        solution: a solved problem.
        prediction: what closed forms say beforehand; None where the problem has none.
        end: where decay takes it, `Decayed.end`; worked out when None.
    """
    # Closed forms, spectra and bounds are those of the flow; of steps only the laws of steps are known.
    if not solution.is_flow:
        return [_checked(law, solution) for law in step_laws(solution.has_momentum)]
    if end is None and solution.problem.decay.any:
        end = decay_conditions.predict_decayed(solution.problem).end
    lines = list(_enforced(solution, end))
    if _fitted(solution):
        lines += _zero_loss(solution, prediction)
        if (rate := _loss_rate(solution, prediction)) is not None:
            lines.append(rate)
    if prediction is not None:
        lines += _bounds(solution, prediction)
        if prediction.algebraic:
            lines += _tail(solution, prediction)
        elif (rate := _fitted_rate(solution)) is not None:
            lines.append(rate)
    return lines + [_checked(law, solution) for law in laws(solution.problem)]


def warnings_of(lines: Iterable[Agreement]) -> list[str]:
    """A sentence for everything exact that does not hold."""
    return [
        f"{line.quantity}: an exact law fails by {line.error:.2g}, where integration and rounding explain "
        f"{line.tolerance:.2g}; do not trust this run, lower rtol or choose another engine ({line.sentence})"
        for line in lines
        if line.failed
    ]


def _checked(law: Law, solution: "Solution") -> Agreement:
    tolerance = law.tolerance(solution) if law.order == EXACT else None
    neglected = None if law.neglected is None else law.neglected(solution)
    moved = f"; E moved by {solution.law.motion:.2g} of its terms" if solution.law is not None else ""
    sentence = law.sentence + (moved if law.quantity.startswith("motion of E") else "")
    return Agreement(law.quantity, law.error(solution), sentence, law.bound, law.order, tolerance, neglected)


def waiting(
    solution: "Solution", prediction: Prediction | None, end: Enforced | None = None
) -> list[Waiting]:
    """The limits that `compare` leaves out because the run ended on the way to them."""
    if not solution.is_flow:
        return []
    limit = end.limit if end is not None else None if prediction is None else prediction.limit
    if limit is None:
        return []
    if end is not None:
        arrived = _arrived(solution, end.slowest)
    else:
        assert prediction is not None
        arrived = _fitted(solution) and (prediction.algebraic or _arrived(solution, slowest_rate(solution)))
    if arrived:
        return []
    name = "W W^T" if end is not None or _fitted(solution) else "limit"
    return [Waiting(name, f"not compared: {_on_the_way(solution, end)}")]


def _on_the_way(solution: "Solution", end: Enforced | None) -> str:
    """Why a limit is not compared, in words."""
    t = float(solution.times[-1])
    if end is None and not _fitted(solution):
        loss = float(solution.series["loss"][-1])
        return f"the run ended at t = {t:.4g} with a loss of {loss:.3g}, and the limit is one of zero loss"
    slowest = end.slowest if end is not None else slowest_rate(solution)
    if not slowest:
        return f"the run ended at t = {t:.4g}, still moving"
    return (
        f"the run ended at t = {t:.4g}; the limit is approached like exp(-{slowest:.3g} t), "
        f"which takes about t = {-np.log(ARRIVED) / slowest:.3g} once the start is forgotten"
    )


def _arrived(solution: "Solution", slowest: float | None) -> bool:
    """Whether the run has come as close to its limit as comparing six digits needs."""
    t, flow, y = float(solution.times[-1]), solution.flow, solution.packed[-1]
    if slowest is None or not slowest > 0:
        # The slowest rate is not known: the run has to be at rest.
        slowest, passed = flow.clock * 1e-3, True
    else:
        passed = slowest * t >= PASSED
    speed = relative_speed(flow.blocks(y), flow.blocks(flow.field(t, y)))
    return passed and speed <= ARRIVED * slowest


def _fitted(solution: "Solution") -> bool:
    """Whether the squared error is small beside that of zero outputs, N/2, and beside its start."""
    problem, loss = solution.problem, solution.series["loss"]
    return problem.undisturbed and bool(loss[-1] <= NEAR_ZERO_LOSS * min(float(loss[0]), problem.sizes.N / 2))


def _zero_loss(solution: "Solution", prediction: Prediction | None) -> Iterator[Agreement]:
    """The limit where it is known, else the equations of zero loss with E from the initial state."""
    if prediction is not None and (prediction.limit is not None or prediction.facts.zero_E):
        yield from _limits(solution, prediction)
        return
    problem = solution.problem
    if not problem.kernel.on_samples:
        return
    if not _arrived(solution, slowest_rate(solution)):
        return
    weights, features = conserved_by(problem).terms(problem.state)
    # The loss may be small where the kernel is slow; what `gaps` sees of R is weighed by K^{-1}.
    if zero_loss.excess(solution.final, problem.sizes, problem.kernel) > NEAR_ZERO_LOSS:
        return
    gaps = zero_loss.gaps(solution.final, weights - features, problem.sizes, problem.kernel)
    yield Agreement(
        "X = W W^T", gaps.weights, "X^2 = A Mc A^T + m W E W^T at zero loss, A = I - b 1^T (theory 5.1)"
    )
    what = "H1^T (H K^-1 H^T) H1 = A^T A - m H1^T E H1 at zero loss (theory 5.1)"
    yield Agreement("class means", gaps.means, what)


def _limits(solution: "Solution", prediction: Prediction) -> Iterator[Agreement]:
    problem = solution.problem
    kernel = problem.equal_blocks
    assert kernel is not None
    # Where W^T 1 fades like 1/sqrt(t) the other parts are there long before (theory 7.3).
    if not prediction.algebraic and not _arrived(solution, slowest_rate(solution)):
        return
    thin, _ = inside(solution, -1)
    expected, known = prediction.limit, "known from the initial state (theory 5.4, 5.5)"
    if expected is None:
        expected, known = (
            limits.zero_invariant(problem.sizes, kernel, thin.b),
            "for E = 0 and the final biases (58)",
        )
    # In an algebraic tail the part along 1 is still on its way when the rest has arrived: it is left out.
    X, seen = thin.W @ thin.W.T, "W W^T"
    if prediction.algebraic:
        P = neural_collapse.centring(problem.sizes.C)
        X, seen = P @ X @ P, "P W W^T P"
    yield _gram(seen, X, expected.X, f"limit {known}")
    yield _gram("H1^T H1", thin.H1.T @ thin.H1, expected.G, f"limit {known}")


def _gram(quantity: str, observed: Floats, predicted: Floats, sentence: str) -> Agreement:
    error = float(np.linalg.norm(observed - predicted) / np.linalg.norm(predicted))
    return Agreement(quantity, error, sentence)


def _bounds(solution: "Solution", prediction: Prediction) -> Iterator[Agreement]:
    """By how much the bounds that hold for all time are broken: 0 when they hold."""
    tr_S = solution.series["tr_S"]
    floor = prediction.floor_tr_S
    if floor > 0:
        broken = max(0.0, float((floor - tr_S).max()) / floor)
        sentence = f"tr S ends at {tr_S[-1]:.4g}, above {floor:.4g} (theory 3.5)"
        yield Agreement("floor of tr S", broken, sentence, True, EXACT, slack(solution))
    if prediction.ceiling is not None and tr_S[0] > 0:
        ceiling = prediction.ceiling.trace_at(solution.times)
        broken = max(0.0, float(((tr_S - ceiling) / ceiling).max()))
        sentence = "E >= 0 guarantees at least a fall like 1/t (theory 3.6)"
        yield Agreement("ceiling of tr S", broken, sentence, True, EXACT, slack(solution))


def _tail(solution: "Solution", prediction: Prediction) -> Iterator[Agreement]:
    """Slopes over the last half of the time against the universal constants, once the loss is small."""
    problem, t, series = solution.problem, solution.times, solution.series
    kernel = problem.equal_blocks
    assert kernel is not None
    # Slopes of powers that rise linearly, over the last half: a value would carry the start along, which a slope forgets.
    late = np.flatnonzero(t >= t[-1] / 2)
    fastest = rates.class_rate(problem.sizes, kernel)
    if len(late) < 2 or t[-1] * fastest < 50 or not _fitted(solution):
        return
    first, sizes = late[0], problem.sizes
    mu = kernel.eigenvalues(sizes).mu_single
    for name, key, power, word, law in (
        ("tail of tr S", "tr_S", -1.0, "1/tr S", 2.0 * sizes.per_class),
        ("tail of the loss", "loss", -0.5, "1/sqrt(loss)", float(np.sqrt(8 * mu))),
        ("tail of NC3", "NC3", -2.0, "1/NC3^2", 2 * mu * (sizes.C - 1) * prediction.x_star),
    ):
        slope = (series[key][-1] ** power - series[key][first] ** power) / (t[-1] - t[first])
        sentence = f"{word} rises by {slope:.6g} per time, the law says {law:.6g} (theory 7.3)"
        yield Agreement(name, abs(float(slope) / law - 1), sentence)


def _enforced(solution: "Solution", end: Enforced | None) -> Iterator[Agreement]:
    """What weight decay makes of the limit, once the run is there, or how it moves along the minima."""
    problem, t = solution.problem, solution.times
    if end is not None and _arrived(solution, end.slowest):
        yield from _end_of_decay(solution, end)
    if not decay_conditions.drifts(problem):
        return
    kernel = problem.equal_blocks
    assert kernel is not None
    # From the middle on, not from the start: first the classes must be fitted, and that is no drift along the minima.
    half = int(np.searchsorted(t, t[-1] / 2))
    before, after = (_contrast(solution, i) for i in (half, -1))
    if before is None or after is None or half == len(t) - 1:
        return
    law = weight_decay_drift if problem.decay.W else feature_decay_drift
    rate, span = problem.decay.W or problem.decay.H, float(t[-1] - t[half])
    expected = law(problem.sizes, kernel, before, rate, span)
    sentence = (
        f"W W^T = x P, x from {before:.6g} to {after:.6g} over the last half, the law says {expected:.6g}"
    )
    error = abs((after - before) / (expected - before) - 1)
    # The outputs lag behind by the decay over the rate at which the class means are fitted.
    m, mu = problem.sizes.per_class, kernel.eigenvalues(problem.sizes)
    neglected = rate / (mu.mu_class * after + m / after)
    yield Agreement(
        "drift of W W^T",
        error,
        f"{sentence}, to first order in the decay (theory 11.1)",
        order=LEADING,
        neglected=neglected,
    )


def _end_of_decay(solution: "Solution", end: Enforced) -> Iterator[Agreement]:
    """The point that decay of W and H leads to: its loss, and its Gram matrices where they are known."""
    source = "where decay of W and H takes a generic start (theory 11.1)"
    loss = float(solution.series["loss"][-1])
    yield Agreement("loss", abs(loss - end.loss) / max(end.loss, 1e-300), f"ends at {loss:.6g}, {source}")
    if end.limit is None:
        return
    thin, _ = inside(solution, -1)
    yield _gram("W W^T", thin.W @ thin.W.T, end.limit.X, source)
    yield _gram("H1^T H1", thin.H1.T @ thin.H1, end.limit.G, source)


def _contrast(solution: "Solution", i: int) -> float | None:
    """x of W W^T = x P at a saved time, None where it has another form or the loss is large."""
    thin, _ = inside(solution, i)
    X, C = thin.W @ thin.W.T, solution.problem.sizes.C
    x = float(np.trace(X)) / (C - 1)
    close = np.linalg.norm(X - x * neural_collapse.centring(C)) <= NEAR_COLLAPSE * np.linalg.norm(X)
    return x if close and solution.series["loss"][i] <= NEAR_COLLAPSE * solution.problem.sizes.N / 2 else None


def _loss_rate(solution: "Solution", prediction: Prediction | None) -> Agreement | None:
    """Late decay of the loss against the slowest rate of the exact spectrum at the point where the run ended."""
    problem, loss, t = solution.problem, solution.series["loss"], solution.times
    thin, _ = inside(solution, -1)
    masses, scale = problem.sizes.masses, problem.sizes.N / 2
    # Outputs are sums of |W| |H| terms and know no more digits than these; below that the loss is noise.
    features = float(np.sum(masses * thin.H1**2) + np.sum(thin.L**2))
    size = max(1.0, float(np.linalg.norm(thin.W)) * np.sqrt(features / (2 * scale)))
    floor = scale * (size * solution.stats.rtol) ** 2
    window = (loss > floor) & (loss <= LATE * max(float(loss[-1]), floor)) & (loss <= DEEP * scale)
    # The slowest mode is not linear (theory 7.3), or not there: W^T 1 = 0 with m = 1 moves nothing along 1.
    hidden = prediction is not None and (
        prediction.algebraic or (prediction.facts.centred and problem.sizes.per_class == 1)
    )
    if window.sum() < 3 or hidden:
        return None
    slowest = slowest_rate(solution)
    if slowest is None or slowest * t[-1] < SETTLED:
        return None
    # sqrt(loss) is the size of R, which is what decays at the spectrum's rates.
    speeds = -np.diff(np.log(loss[window])) / (2 * np.diff(t[window]))
    if np.ptp(speeds[-2:]) > STEADY * abs(speeds[-1]):
        return None
    fitted = float(speeds[-1])
    sentence = f"sqrt(loss) falls at {fitted:.6g}, the slowest rate of the spectrum there is {slowest:.6g} (theory 7.1)"
    return Agreement("decay rate of the loss", abs(fitted / slowest - 1), sentence)


def _fitted_rate(solution: "Solution") -> Agreement | None:
    """Decay rate of NC1 over its last decade against mu_single times the eigenvalue of W W^T that governs it."""
    problem = solution.problem
    kernel = problem.equal_blocks
    assert kernel is not None
    nc1, t = solution.series["NC1_frobenius"], solution.times
    # The last decade and a half, once NC1 has fallen a hundredfold: before, faster directions of H2 are part of it.
    window = (nc1 <= 30 * nc1[-1]) & (nc1 > 0) & (nc1 < 1e-2 * nc1[0])
    if window.sum() < 4:
        return None
    fitted = -float(np.polyfit(t[window], np.log(nc1[window]), 1)[0])
    thin, _ = inside(solution, -1)
    # The directions of which NC1 still consists; each fades by its own eigenvalue of W^T W (theory 7.2).
    U, s, _ = np.linalg.svd(thin.L, full_matrices=False)
    values = np.linalg.norm(thin.W @ U[:, s > 0.5 * s[0]], axis=0) ** 2
    rate = kernel.eigenvalues(problem.sizes).mu_single * float(values.mean())
    before, _ = inside(solution, int(np.flatnonzero(window)[0]))
    first = np.linalg.norm(before.W @ U[:, s > 0.5 * s[0]], axis=0) ** 2
    # A rate that still changes within the window is no rate.
    if abs(float(first.mean()) - float(values.mean())) > STEADY * float(values.mean()):
        return None
    sentence = (
        f"fitted {fitted:.6g} against mu_single w = {rate:.6g}, w the eigenvalue of W^T W there (theory 7.2)"
    )
    return Agreement("decay rate of NC1", abs(fitted / rate - 1), sentence)
