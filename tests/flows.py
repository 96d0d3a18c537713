"""Integration of a problem's raw flow by scipy at tight tolerance, for tests of laws that hold along it."""

from collections.abc import Sequence

from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow.dynamics.packed import RawFlow


def integrate(problem: nf.Problem, times: Sequence[float], rtol: float = 1e-13) -> list[nf.State]:
    """States at `times` of the raw flow, whose kernel may move and whose loss and decay are any."""
    flow = RawFlow.build(problem)
    knots = [t for t in getattr(problem.kernel, "times", ()) if 0 < t < times[-1]]
    states, y, start = [], flow.start(), 0.0
    # Segment by segment: the field has kinks at the knots of a schedule.
    for stop in [*knots, float(times[-1])]:
        inside = [t for t in times if start < t <= stop or t == start == 0]
        ask = inside if inside and inside[-1] == stop else [*inside, stop]
        result = solve_ivp(flow.field, (start, stop), y, "DOP853", ask, rtol=rtol, atol=rtol / 10)
        assert result.success
        states += [flow.state(column) for column in result.y.T[: len(inside)]]
        y, start = result.y[:, -1], stop
    return states
