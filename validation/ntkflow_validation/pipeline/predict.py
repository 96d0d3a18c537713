"""From an observed state and a measured kernel to the trajectory that the theory predicts."""

from dataclasses import dataclass

import numpy as np

from ntkflow._types import Times
from ntkflow.errors import InputError
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import solve
from ntkflow.problem.kernels.base import Kernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State


@dataclass(frozen=True, eq=False)
class Prediction:
    """A solution on the clock of the training run.

    Attributes:
        times: flow times of the run, increasing, the first is that of the starting snapshot.
        solution: its times start at 0.
    """

    times: Times
    solution: Solution

    def state(self, i: int) -> State:
        """Predicted state at `times[i]`."""
        return self.solution.state(i)


def predict(state: State, sizes: Sizes, kernel: Kernel, times: Times, rtol: float = 1e-8) -> Prediction:
    """Run the theory from an observed state, with a constant kernel, to later observation times.

    Args:
        state: the observed state at times[0].
        sizes: its sizes; those of the data set.
        kernel: the measured kernel, such as `Measurement.block()`.
        times: flow times of the snapshots, increasing.
        rtol: tolerance of the integration, far below any difference to a real network.

    Raises:
        InputError: fewer than two times, or they do not increase.
    """
    times = np.asarray(times, dtype=np.float64)
    if times.size < 2 or np.any(np.diff(times) <= 0):
        raise InputError(
            "times", times[:4], "must be at least two, increasing", "start from an earlier snapshot"
        )
    # A first trial step may overflow and be rejected; a result that is not finite is an error of `solve`.
    with np.errstate(over="ignore", invalid="ignore"):
        solution = solve(Problem(sizes, kernel, state), save_at=times - times[0], rtol=rtol)
    return Prediction(times, solution)
