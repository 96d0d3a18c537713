"""The saddle W = H = 0 beside the Jacobian of the flow there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.dynamics.fields import thin_jacobian
from ntkflow.dynamics.packed import ThinFlow, collapse_rate
from ntkflow.dynamics.saddle import Saddle
from ntkflow.problem.decay import Decay
from ntkflow.problem.state import ThinState
from tests import strategies


@st.composite
def problems(draw):
    C = draw(st.integers(2, 4))
    sizes = nf.Sizes(C, draw(st.tuples(*[st.integers(1, 9)] * C)), C + 1)
    kernel, rng = draw(strategies.kernels()), np.random.default_rng(draw(st.integers(0, 1000)))
    if draw(st.booleans()):
        blocks = nf.ClassBlockKernel.from_block(kernel, C)
        kernel = nf.ClassBlockKernel(blocks.kappa_d * rng.uniform(1, 1.5, C), blocks.B)
    decay = Decay(*rng.uniform(0, 3, 2), draw(st.sampled_from([0.0, 1.0])))
    return nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, None, 1), decay=decay)


@given(problems())
def test_the_rate_at_which_it_is_left_is_the_largest_eigenvalue_there(problem):
    flow, sizes = ThinFlow.build(problem), problem.sizes
    s = flow.initial
    b = sizes.masses / (sizes.N + problem.decay.b)
    jacobian = thin_jacobian(flow.system, ThinState(0 * s.H1, 0 * s.L, 0 * s.W, b))
    largest = float(np.linalg.eigvals(jacobian).real.max())
    found = Saddle.of_problem(problem, collapse_rate(problem))
    if largest < 1e-6:
        assert found is None or found.growing < 1e-5
    else:
        assert found.growing == pytest.approx(largest, rel=1e-6)


def test_an_origin_that_attracts_is_where_the_run_ends_and_no_saddle():
    """Fast though class means move at a collapsed point, here decay is stronger than what unequal classes let grow."""
    sizes, kernel = nf.Sizes(2, (1, 6), 3), nf.BlockKernel(1.2, 0.2, 0.0)
    start = nf.initial.make("gaussian", sizes, None, 1)
    problem = nf.Problem(sizes, kernel, start, decay=Decay(2.0, 2.0))
    assert Saddle.of_problem(problem, collapse_rate(problem)) is None
    solution = nf.solve(problem, t_end=60.0, stop=nf.Stop(nc1=None, loss=None, stationarity=None))
    assert solution.reason is nf.Reason.T_END
    assert np.linalg.norm(solution.state(-1).W) < 1e-12
