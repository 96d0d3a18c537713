"""One layer is the flow of features under the constant kernel K0, whose engines are far faster than explicit steps."""

from dataclasses import replace

import numpy as np

from ntkflow._types import Floats, Times
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.integrate.layers.law import LawOfLayers
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.stopping import Reason, Stop
from ntkflow.integrate.task import Task
from ntkflow.problem.decay import Decay
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State
from ntkflow.progress import Progress


def is_flat(problem: LayeredProblem) -> bool:
    """Whether this is the flow of features: one layer without biases of its own."""
    return problem.L == 1 and not problem.state.c


def solve_flat(
    problem: LayeredProblem,
    form: str,
    t_end: float,
    stop: Stop,
    save_at: Times | None,
    rtol: float,
    max_steps: int,
    progress: Progress | None,
) -> LayeredSolution:
    """As `solve_layers`, by the engines of `nf.solve`."""
    task = flat_task(problem, t_end, stop, save_at, rtol, max_steps)
    return as_layers(run_alone(task, progress), problem, form)


def flat_task(
    problem: LayeredProblem, t_end: float, stop: Stop, save_at: Times | None, rtol: float, max_steps: int
) -> Task:
    """The same flow, of features."""
    s = problem.state
    decay = Decay(problem.decay.W, problem.decay.of_layers(1)[0], problem.decay.b)
    flat = Problem(problem.sizes, problem.kernel, State(s.H, s.W, s.b), problem.loss, decay)
    return Task.of(flat, t_end=t_end, stop=stop, save_at=save_at, rtol=rtol, max_steps=max_steps)


def as_layers(found: Solution, problem: LayeredProblem, form: str) -> LayeredSolution:
    """A solution of features as one of a layer."""
    flow, packed = _packed(found, problem, form)
    gaps = _gaps(found, flow, packed)
    reason = found.reason
    if not reason.failed and found.law is not None and found.law.failed:
        reason = Reason.INACCURATE
    # Packed as the layers are, whatever coordinates the engine had.
    stats = replace(found.stats, form=flow.form)
    return LayeredSolution(problem, found.times, packed, reason, stats, flow, gaps)


def _gaps(found: Solution, flow: LayeredFlow, packed: Floats) -> Floats:
    """How far Q_1 = m E is from its law: where it moves the largest gap over the engine's steps, at all times but the first."""
    if found.law is None:
        law = LawOfLayers(flow)
        return np.array([law.gaps(y) for y in packed])
    gaps = np.full((len(packed), 1), found.law.error)
    gaps[0] = 0.0
    return gaps


def _packed(found: Solution, problem: LayeredProblem, form: str) -> tuple[LayeredFlow, Floats]:
    """The packed system of the layers and the saved states in it; of thin ones without going through all samples."""
    if problem.thin is None or not problem.squared_error:
        flow = LayeredFlow.build(problem, form)
        states = [found.state(i) for i in range(len(found))]
        return flow, np.array([flow.pack(LayeredState(now.H, (), now.W, now.b)) for now in states])
    # Taking features apart anew costs as much as a third of the steps where samples are many.
    flow = LayeredFlow.build(problem, form, found.thin(0))
    rows = []
    for i in range(len(found)):
        now, _ = found.thin(i)
        Z = np.concatenate([now.H1, now.L], axis=1)
        rows.append(np.concatenate([part.ravel() for part in (Z, now.W, now.b)]))
    return flow, np.array(rows)
