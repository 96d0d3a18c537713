"""Which tasks go in lockstep: small systems as they are, and larger ones of generic states on their leaves of constant E."""

import numpy as np

from ntkflow.dynamics.packed import ThinFlow
from ntkflow.integrate.task import Task
from ntkflow.integrate.together.symmetric import Symmetric
from ntkflow.problem.thin import Frame

# Of larger systems the products are large enough for one run by itself to be as fast.
MOST_FEATURES, MOST_UNKNOWNS = 20, 2000
# On leaves: up to here a member costs a third to four fifths of a solve. Its matrices grow as C^4, and a solve's do not: 13
# classes with 64 coordinates take three quarters of one, 14 with 24 as long, and 20 with 64 longer.
MOST_GENERIC, SHARE_OF_SQUARE = 256, 1 / 4


def small(task: Task) -> bool:
    """Whether a task has a thin form of at most 20 feature coordinates, or is as good as one class."""
    if task.form == "raw":
        return False
    flow = task.flow
    if not isinstance(flow, ThinFlow):
        return False
    few = flow.system.n <= MOST_FEATURES and flow.system.size <= MOST_UNKNOWNS
    return few or Symmetric.of(task) is not None


def generic(task: Task) -> bool:
    """Whether a task has so many feature coordinates that L is better left to E, and a law that allows it."""
    flow = task.flow
    if task.engine != "auto" or task.form == "raw" or task.knots or task.problem.decay.any:
        return False
    if not isinstance(flow, ThinFlow) or not isinstance(flow.frame, Frame):
        return False
    # Where speeds decide, and where every step is saved, less is won than the L behind it costs.
    if task.times is None or task.stop.nc1 is not None or task.stop.stationarity is not None:
        return False
    system = flow.system
    rates = system.rates
    if system.schedule or not len(rates) or not np.ptp(rates) == 0 < rates[0]:
        return False
    sized = MOST_FEATURES < system.n <= MOST_GENERIC and system.n >= SHARE_OF_SQUARE * system.C**2
    return sized and Symmetric.of(task) is None
