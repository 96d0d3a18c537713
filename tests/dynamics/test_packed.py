import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.packed import Flow, RawFlow, ThinFlow, collapse_rate, relative_speed
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import ScheduledKernel
from ntkflow.problem.losses import CrossEntropy, LossPair
from tests import oracle
from tests.flows import integrate
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder

SIZES = nf.Sizes(3, 3, 5)
IMBALANCED = nf.Sizes(3, (1, 4, 2), 4)


def march(flow, times):
    from scipy.integrate import solve_ivp

    result = solve_ivp(flow.field, (0, times[-1]), flow.start(), "DOP853", times, rtol=1e-12, atol=1e-13)
    return [flow.state(y) for y in result.y.T]


@pytest.mark.parametrize("sizes", [SIZES, IMBALANCED], ids=["balanced", "imbalanced"])
@pytest.mark.parametrize("name", ["block", "class-block"])
def test_thin_and_raw_flows_agree_under_decay(name, sizes):
    problem = nf.Problem(sizes, ladder.make(name, sizes), random_state(sizes), decay=Decay(0.3, 0.1, 0.2))
    times = np.array([0.1, 0.5, 1.5])
    for thin, raw in zip(march(ThinFlow.build(problem), times), integrate(problem, times), strict=True):
        assert oracle.distance(thin, raw) < 1e-10


@pytest.mark.parametrize("name", ["block", "class-block"])
def test_thin_and_raw_flows_agree_under_a_kernel_that_moves(name):
    knots = (
        ladder.make(name, IMBALANCED, 0),
        nf.BlockKernel(0.9, 0.6, 0.3),
        ladder.make(name, IMBALANCED, 0),
    )
    if name == "class-block":
        knots = tuple(ladder.make(name, IMBALANCED, seed) for seed in range(3))
    problem = nf.Problem(IMBALANCED, ScheduledKernel((0.0, 0.4, 1.0), knots), random_state(IMBALANCED))
    times = np.array([0.1, 0.4, 1.0])
    thin, raw = march(ThinFlow.build(problem), times), integrate(problem, times)
    constant = integrate(nf.Problem(IMBALANCED, knots[0], problem.state), times)
    for a, b in zip(thin, raw, strict=True):
        assert oracle.distance(a, b) < 1e-8
    assert oracle.distance(raw[-1], constant[-1]) > 1e-3


@pytest.mark.parametrize("name", ladder.NAMES)
def test_a_schedule_of_equal_kernels_is_the_constant_kernel(name):
    kernel, state = ladder.make(name, SIZES), random_state(SIZES)
    times = [0.1, 1.0]
    moving = nf.Problem(SIZES, ScheduledKernel((0.0, 0.3, 0.7), (kernel,) * 3), state)
    for a, b in zip(
        integrate(moving, times), integrate(nf.Problem(SIZES, kernel, state), times), strict=True
    ):
        assert oracle.distance(a, b) < 1e-11


@pytest.mark.parametrize("name", ["block", "kronecker"])
def test_cross_entropy_keeps_the_column_sums_of_W_and_the_sum_of_b(name):
    problem = nf.Problem(SIZES, ladder.make(name, SIZES), random_state(SIZES), CrossEntropy())
    final = integrate(problem, [3.0])[0]
    np.testing.assert_allclose(final.W.sum(axis=0), problem.state.W.sum(axis=0), atol=1e-11)
    assert final.b.sum() == pytest.approx(problem.state.b.sum(), abs=1e-11)
    assert np.linalg.norm(final.W - problem.state.W) > 0.1


def test_a_user_s_squared_error_is_the_built_in_one():
    state, kernel = random_state(SIZES), ladder.make("block", SIZES)
    mine = LossPair(lambda F, Y: 0.5 * np.sum((F - Y) ** 2), lambda F, Y: F - Y)
    plain, user = nf.Problem(SIZES, kernel, state), nf.Problem(SIZES, kernel, state, mine)
    a, b = RawFlow.build(plain), RawFlow.build(user)
    np.testing.assert_array_equal(a.field(0.0, a.start()), b.field(0.0, b.start()))
    assert a.loss(a.start()) == pytest.approx(b.loss(b.start()), rel=1e-14)


def test_the_thin_form_is_refused_where_it_does_not_exist():
    state = random_state(SIZES)
    with pytest.raises(nf.InputError, match="block kernel with the cross-entropy loss"):
        ThinFlow.build(nf.Problem(SIZES, ladder.make("block", SIZES), state, CrossEntropy()))
    with pytest.raises(nf.InputError, match="the kronecker kernel with the mse loss"):
        ThinFlow.build(nf.Problem(SIZES, ladder.make("kronecker", SIZES), state))


@pytest.mark.parametrize("name", ladder.NAMES)
def test_raw_flows_of_every_rung_are_flows(name):
    problem = nf.Problem(SIZES, ladder.make(name, SIZES), random_state(SIZES))
    flow = RawFlow.build(problem)
    assert isinstance(flow, Flow)
    y = flow.start()
    assert oracle.distance(flow.state(y), problem.state) == 0
    thin, frame = flow.thin(y)
    assert oracle.distance(frame.compose(thin), problem.state) < 1e-12
    Y = np.eye(3)[:, SIZES.labels]
    assert flow.loss(y) == pytest.approx(0.5 * np.sum((problem.state.logits - Y) ** 2))
    jacobian = np.stack(
        [(flow.field(0.0, y + 1e-6 * e) - flow.field(0.0, y - 1e-6 * e)) / 2e-6 for e in np.eye(y.size)],
        axis=1,
    )
    assert flow.spectral_radius(y) > 0.3 * np.abs(np.linalg.eigvals(jacobian)).max()


def test_the_thin_state_of_a_raw_flow_has_one_factor_per_within_class_rate():
    problem = nf.Problem(IMBALANCED, ladder.make("class-block", IMBALANCED), random_state(IMBALANCED))
    flow = RawFlow.build(problem)
    _, frame = flow.thin(flow.start())
    assert set(frame.column_class) == {c for c, count in enumerate(IMBALANCED.counts) if count > 1}
    for q, c in enumerate(frame.column_class):
        assert np.all(frame.Q[IMBALANCED.labels != c, q] == 0)


def test_the_clock_is_that_of_the_class_means():
    kernel = ladder.make("block", SIZES)
    problem = nf.Problem(SIZES, kernel, random_state(SIZES))
    assert collapse_rate(problem) == pytest.approx(np.sqrt(3 * kernel.eigenvalues(SIZES).mu_class))


def test_biases_are_slow_or_fast_against_one_over_C():
    """They may be zero, or begin there, while everything else rests."""
    now = (np.ones((2, 3)), np.ones((4, 2)), np.zeros(4))
    change = (np.zeros((2, 3)), np.zeros((4, 2)), np.full(4, 1e-3))
    assert relative_speed(now, change) == pytest.approx(2e-3 * 2, rel=1e-12)
    large = (*now[:2], np.full(4, 10.0))
    assert relative_speed(large, change) == pytest.approx(1e-4, rel=1e-12)
