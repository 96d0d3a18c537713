"""Times at which a run is saved when the caller names none: evenly in the logarithm of time."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ntkflow._types import Times
from ntkflow.dynamics.packed import Flow
from ntkflow.problem.kernels import Kernel
from ntkflow.rounding import whole_up

PER_DECADE = 30
# With many knots the decades after each are saved less densely, to stay near this number in all.
MOST = 3000
# States of large problems are saved less often, to stay below this.
SAVED_BYTES = 2**30


def knots_of(kernel: Kernel) -> tuple[float, ...]:
    """Positive times at which a moving kernel changes its slope; none for a constant one."""
    return tuple(t for t in kernel.knots if t > 0)


def own_grid(flow: Flow, t_end: float, knots: Sequence[float] = (), radius: float | None = None) -> Times:
    """`log_grid` for a run of a flow from its start, whose spectral radius there may be known."""
    y0 = flow.start()
    radius = flow.spectral_radius(y0) if radius is None else radius
    # A hundredth of the fastest time constant: before that nothing can be seen to move on a log axis of time.
    return log_grid(1e-2 / max(radius, 1 / t_end), t_end, y0.nbytes, knots)


def log_grid(first: float, t_end: float, nbytes: int, knots: Sequence[float] = ()) -> Times:
    """Increasing times up to t_end, dense after 0 and after every knot, where fast modes are stirred anew.

    Args:
        first: first time after 0 or a knot; a fraction of the fastest time constant.
        t_end: last time.
        nbytes: bytes of one saved state.
        knots: times below t_end at which the field has a kink, increasing.
    """
    ends = [0.0, *knots, t_end]
    spans = [(a, b - a) for a, b in pairwise(ends)]
    decades = [math.log10(span / _first(first, span)) for _, span in spans]
    # Twice, because the list of states is copied into one array in the end.
    room = max(2 * sum(decades), SAVED_BYTES / (2 * nbytes))
    # Whichever binds first: what is pleasant to look at, how many in all, what memory holds.
    density = min(PER_DECADE, max(MOST, PER_DECADE * decades[0]) / sum(decades), room / sum(decades))
    parts = [
        begin + _even(_first(first, span), span, max(2, whole_up(density * width)))
        for (begin, span), width in zip(spans, decades, strict=True)
    ]
    grid = np.concatenate(parts)
    grid[-1] = t_end
    return np.unique(grid)


def _even(first: float, last: float, count: int) -> Times:
    """`numpy.geomspace`, for two numbers in a quarter of the time."""
    times = 10.0 ** np.linspace(math.log10(first), math.log10(last), count)
    times[0], times[-1] = first, last
    return times


def _first(first: float, span: float) -> float:
    return min(first, span / 10)
