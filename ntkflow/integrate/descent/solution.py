"""A descent seen as a solution, so that metrics, summaries and figures need not know the difference."""

import numpy as np

from ntkflow.dynamics.packed import RawFlow
from ntkflow.integrate.descent.descent import Descent
from ntkflow.integrate.solution import Solution, Stats


def as_solution(descent: Descent, seconds: float) -> Solution:
    """The descent's states at their flow times; `law` says how well E followed the law of its steps.

    Args:
        descent: what was run.
        seconds: wall time it took.
    """
    flow = RawFlow.build(descent.problem)
    packed = np.stack([np.concatenate([s.H.ravel(), s.W.ravel(), s.b]) for s in descent.states])
    radius = flow.spectral_radius(packed[0])
    momentum = descent.momentum
    name = "gradient descent" if momentum.beta == 0 else "Nesterov" if momentum.nesterov else "heavy ball"
    batches = "all samples" if descent.batch_per_class is None else f"{descent.batch_per_class} per class"
    steps = int(descent.steps[-1])
    stats = Stats(
        engine=name,
        because=f"steps of eta = {momentum.eta:.4g} on {batches}, eta rho = {momentum.eta * radius:.2g} at the start",
        form="raw",
        unknowns=packed.shape[1],
        stiffness=radius * float(descent.times[-1]),
        steps=steps,
        evaluations=steps,
        rtol=float("nan"),
        rtol_internal=float("nan"),
        seconds=seconds,
    )
    return Solution(
        descent.problem,
        descent.times,
        packed,
        descent.reason,
        stats,
        flow,
        law=descent.law,
        discrete=True,
        # None where an option is at rest, as the configuration has it.
        settings={
            "step_size": momentum.eta,
            "steps": steps,
            "momentum": momentum.beta or None,
            "nesterov": momentum.nesterov or None,
            "batch_per_class": descent.batch_per_class,
            "batch_seed": None if descent.batch_per_class is None else descent.seed,
        },
    )
