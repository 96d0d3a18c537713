"""Gradient descent of linear layers in discrete steps on the sum loss, with the exact law of Q_1 .. Q_L (theory 18.3)."""

import time
from itertools import count

import numpy as np
from threadpoolctl import threadpool_limits

from ntkflow import checks
from ntkflow._types import Vector
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.errors import SolveError
from ntkflow.integrate.layers.ends import Ends
from ntkflow.integrate.layers.law import LawOfLayers
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.solution import Stats
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.progress import Progress
from ntkflow.theory.layers.rates import largest_rate

ENGINE = "gradient descent"
# A loss that grew by this factor has left the basin the steps started in.
DIVERGED = 1e3


def descend_layers(
    problem: LayeredProblem,
    steps: int,
    step_size: float,
    *,
    form: str = "auto",
    every: int = 1,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> LayeredSolution:
    """Full-batch gradient descent of every layer, W and the biases: theta -> theta - eta dL/dtheta, decay included.

    A step of V_1 moves V_1 X by -eta U_1^T R K0, so that the packed system takes exactly the steps that a network of these
    layers takes. Flow time is eta times the steps. Each changes Q_l by exactly eta^2 (V'_{l+1}^T V'_{l+1} - V'_l V'_l^T), V' the
    gradients, and under decay by the flow's law besides: `gaps` of the solution are what is left, rounding.

    Args:
        problem: sizes, K0, initial layers.
        steps: how many.
        step_size: eta, on the sum loss.
        form: 'thin', 'raw' or 'auto'.
        every: save each of so many steps; the first and last are saved anyway.
        stop: conditions that end the run earlier; None for none.
        progress: called with ("steps", done, in all).

    Raises:
        InputError: an argument is out of its range.
        SolveError: the steps diverged.
    """
    steps, every = checks.whole("steps", steps, 1), checks.whole("every", every, 1)
    eta = checks.positive("step_size", step_size, "give a step > 0")
    checks.choice("form", form, ("auto", "thin", "raw"))
    began = time.perf_counter()
    flow = LayeredFlow.build(problem, form)
    law, ends = LawOfLayers(flow), Ends(flow, stop or Stop(None, None, None))
    y, reason, done = flow.start.copy(), Reason.T_END, 0
    highest = DIVERGED * max(flow.loss(y) + flow.penalty(y), 1.0)
    kept: list[tuple[int, Vector, list[float]]] = [(0, y.copy(), law.gaps(y))]
    with threadpool_limits(1, user_api="blas"), np.errstate(over="ignore", invalid="ignore"):
        for done in count(1):
            by = flow.field(0.0, y)
            law.step(y, by, eta)
            y = y + eta * by
            if not flow.loss(y) <= highest:
                raise SolveError(
                    f"descent diverged at step {done}: the loss passed {highest:.3g}; lower the step, stability needs less than "
                    f"about 2/rho = {2 / largest_rate(problem):.3g}"
                )
            gaps = law.gaps(y)
            found = ends.reached(y, eta * done)
            last = found is not None or done == steps
            if last or done % every == 0:
                kept.append((done, y, gaps))
            if progress is not None:
                progress("steps", done, steps)
            if last:
                reason = found or Reason.T_END
                break
    rho = largest_rate(problem)
    stats = Stats(
        ENGINE, f"steps of eta = {eta:.4g} on all samples, eta rho = {eta * rho:.2g}", flow.form, len(y), rho * eta * done,
        done, done, float("nan"), float("nan"), time.perf_counter() - began,
    )  # fmt: skip
    return LayeredSolution(
        problem,
        eta * np.array([step for step, _, _ in kept], dtype=float),
        np.array([state for _, state, _ in kept]),
        reason,
        stats,
        flow,
        np.array([gap for _, _, gap in kept]),
    )
