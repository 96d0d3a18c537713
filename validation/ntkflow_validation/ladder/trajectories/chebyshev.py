"""The flow under any operator: a stabilised explicit integrator whose cost grows like the root of the stiffness.

The flow is a gradient flow in a constant metric, so its rates are real, and Runge-Kutta-Chebyshev steps of
s stages are stable up to 0.65 s^2 over the largest rate: a matrix-free operator needs a few hundred
applications where an explicit method of fixed order needs tens of thousands. Order 2; coefficients of
Sommeijer, Shampine and Verwer (1997), J. Comput. Appl. Math. 88, 315. Not in the paper.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ntkflow._types import Times
from ntkflow.errors import SolveError
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow_validation.ladder.operators.base import Operator
from ntkflow_validation.metrics.objective import PLAIN, Objective

DAMPING = 2 / 13
TOLERANCE = 1e-5
MAX_STEPS = 100_000
# A step with more stages than this is shortened instead: internal stability is lost near 1/sqrt(eps).
MAX_STAGES = 250

Parts = tuple[np.ndarray, ...]


class Coefficients(NamedTuple):
    """One s-stage scheme; index j runs from 0 to s."""

    mu: list[float]
    nu: list[float]
    mu_F: list[float]
    gamma_F: list[float]
    c: list[float]


@lru_cache(maxsize=MAX_STAGES)
def coefficients(s: int) -> Coefficients:
    """Of the second-order Chebyshev scheme with s >= 2 stages."""
    w0 = 1 + DAMPING / s**2
    T, dT, ddT = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
    for _ in range(2, s + 1):
        T.append(2 * w0 * T[-1] - T[-2])
        dT.append(2 * T[-2] + 2 * w0 * dT[-1] - dT[-2])
        ddT.append(4 * dT[-2] + 2 * w0 * ddT[-1] - ddT[-2])
    w1 = dT[s] / ddT[s]
    b = [0.0, 0.0, *(ddT[j] / dT[j] ** 2 for j in range(2, s + 1))]
    b[0] = b[1] = b[2]
    a = [1 - b[j] * T[j] for j in range(s + 1)]
    c = [0.0, 0.0, *(w1 * ddT[j] / dT[j] for j in range(2, s + 1))]
    c[1] = c[2] / (4 * w0)
    mu, nu, mu_F, gamma_F = [0.0] * 2, [0.0] * 2, [0.0, b[1] * w1], [0.0] * 2
    for j in range(2, s + 1):
        mu.append(2 * b[j] * w0 / b[j - 1])
        nu.append(-b[j] / b[j - 2])
        mu_F.append(2 * b[j] * w1 / b[j - 1])
        gamma_F.append(-a[j - 1] * mu_F[j])
    return Coefficients(mu, nu, mu_F, gamma_F, c)


@dataclass(frozen=True, eq=False)
class FlowField:
    """(dH, dW, db)/dt under an operator. Source: eq. (19).

    Attributes:
        operator: the rung.
        sizes: of the samples.
        objective: what is minimised.
        decay: rates of W, H and b.
    """

    operator: Operator
    sizes: Sizes
    objective: Objective = PLAIN
    decay: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __call__(self, t: float, y: Parts) -> Parts:
        """The derivative at (H, W, b)."""
        H, W, b = y
        R = self.objective.of_outputs(W @ H + b[:, None], self.sizes)
        moves = -self.operator.pull(W, R, t), -(R @ H.T), -self.objective.of_biases(R)
        if not any(self.decay):
            return moves
        lw, lh, lb = self.decay
        return moves[0] - lh * H, moves[1] - lw * W, moves[2] - lb * b

    def rate(self, y: Parts) -> float:
        """An upper bound of the largest rate near zero loss: |H H^T + 1 1^T| + |W|^2 gain. Source: theory 7.1.

        Held biases, and the cross-entropy, which curves half as much at most, only lower it.
        """
        H, W, _ = y
        return float(
            np.linalg.norm(H @ H.T, 2)
            + self.sizes.N
            + np.linalg.norm(W @ W.T, 2) * self.operator.gain
            + max(self.decay)
        )


def flow(
    operator: Operator,
    state: State,
    times: Times,
    tolerance: float = TOLERANCE,
    objective: Objective = PLAIN,
    decay: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> list[State]:
    """States at `times`, of which the first is the start.

    Args:
        operator: the rung; its time runs from 0 at the start. Steps end at its knots.
        state: where to start.
        times: increasing.
        tolerance: error of a step relative to the size of H, W and b each.
        objective: what is minimised.
        decay: rates of W, H and b.

    Raises:
        SolveError: the solution left the finite numbers.
    """
    y: Parts = (state.H, state.W, state.b)
    found, offsets = [state], np.asarray(times) - times[0]
    h = 0.0
    for begin, end in itertools.pairwise(offsets):
        knots = [knot for knot in operator.knots if begin < knot < end]
        for first, last in itertools.pairwise([float(begin), *knots, float(end)]):
            # Each interval has its own rates, and a step of before knows nothing of what comes after a knot.
            here = operator.between(first, last)
            y, h = _advance(
                FlowField(here, here.sizes, objective, decay),
                y,
                last - first,
                0.0 if operator.knots else h,
                tolerance,
            )
        found.append(State(*y))
    return found


def _advance(field: FlowField, y: Parts, end: float, h: float, tolerance: float) -> tuple[Parts, float]:
    """The state after the time `end`, in the field's own clock, and the step to go on with."""
    t, F, rate = 0.0, field(0.0, y), field.rate(y)
    if not all(np.isfinite(part).all() for part in F):
        raise SolveError(f"the flow left the finite numbers near t = {t:.6g}")
    h = h or _first_step(y, F, tolerance, rate)
    for _ in range(MAX_STEPS):
        step = min(h, end - t, 0.6 * MAX_STAGES**2 / rate)
        if t + 1.0001 * step >= end:
            step = end - t
        with np.errstate(over="ignore", invalid="ignore"):
            fresh = _step(field, t, y, F, step, rate)
            F_fresh = field(t + step, fresh)
            error = _error(y, fresh, F, F_fresh, step, tolerance)
        if not math.isfinite(error):
            h, factor = step / 10, 0.0
        else:
            factor = min(5.0, max(0.1, 0.8 * max(error, 1e-12) ** (-1 / 3)))
            h = step * factor if step == h or factor < 1 else max(h, step * factor)
        if math.isfinite(error) and error <= 1:
            t, y, F = t + step, fresh, F_fresh
            if t >= end:
                return y, h
            rate = field.rate(y)
        if h < 1e-14 * max(end, 1e-300):
            break
    raise SolveError(f"the flow left the finite numbers near t = {t:.6g}")


def _step(field: FlowField, t: float, y: Parts, F: Parts, h: float, rate: float) -> Parts:
    s = max(2, math.ceil(1 + math.sqrt(1 + 1.54 * h * rate)))
    k = coefficients(s)
    before, now = y, _sum((1.0, h * k.mu_F[1]), (y, F))
    for j in range(2, s + 1):
        change = field(t + h * k.c[j - 1], now)
        weights = (1 - k.mu[j] - k.nu[j], k.mu[j], k.nu[j], h * k.mu_F[j], h * k.gamma_F[j])
        before, now = now, _sum(weights, (y, now, before, change, F))
    return now


def _error(y: Parts, fresh: Parts, F: Parts, F_fresh: Parts, h: float, tolerance: float) -> float:
    """Largest over H, W, b of the local error over tolerance times its size; biases against 1/C."""
    gaps = _sum((0.8, -0.8, 0.4 * h, 0.4 * h), (y, fresh, F, F_fresh))
    floor = 1 / math.sqrt(len(y[2]))
    scales = [max(float(np.linalg.norm(a)), float(np.linalg.norm(b))) for a, b in zip(y, fresh, strict=True)]
    scales[2] = max(scales[2], floor)
    return max(
        float(np.linalg.norm(gap)) / (tolerance * scale)
        for gap, scale in zip(gaps, scales, strict=True)
        if scale
    )


def _first_step(y: Parts, F: Parts, tolerance: float, rate: float) -> float:
    sizes = [float(np.linalg.norm(part)) for part in y]
    sizes[2] = max(sizes[2], 1 / math.sqrt(len(y[2])))
    speeds = [float(np.linalg.norm(f)) / size for f, size in zip(F, sizes, strict=True) if size]
    found: float = min(tolerance ** (1 / 3) / max(*speeds, 1e-300), 10 / rate)
    return found


def _sum(weights: Sequence[float], parts: Sequence[Parts]) -> Parts:
    return tuple(
        sum(w * x for w, x in zip(weights, blocks, strict=True)) for blocks in zip(*parts, strict=True)
    )
