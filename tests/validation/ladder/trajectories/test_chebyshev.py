import numpy as np
import pytest
from ntkflow_validation.ladder.operators.base import KernelOperator, Operator
from ntkflow_validation.ladder.trajectories.chebyshev import FlowField, _error, _step, coefficients, flow

import ntkflow as nf
from ntkflow.errors import SolveError

SIZES = nf.Sizes(C=3, m=4, n=5)
TIMES = np.array([0.3, 0.31, 0.8, 2.3])
BLOCK = nf.BlockKernel(1.5, 0.9, 0.2)
CLASSES = nf.ClassBlockKernel([1.5, 1.2, 2.0], 0.4 * np.eye(3) + 0.1)
J = np.random.default_rng(1).normal(size=(12, 15))
KERNELS = {
    "block": BLOCK,
    "class-block": CLASSES,
    "sample": nf.SampleKernel(J @ J.T / 9),
    "kronecker": nf.KroneckerKernel(nf.SampleKernel(J @ J.T / 9), np.diag([2.0, 1.0, 0.5, 1.0, 0.1])),
    "scheduled": nf.ScheduledKernel((0.0, 1.0), (BLOCK, nf.BlockKernel(4.0, 2.0, 0.5))),
}


@pytest.mark.parametrize("name", KERNELS)
def test_it_agrees_with_the_integrators_of_the_simulator(name):
    state = nf.initial.make("gaussian", SIZES, BLOCK, seed=3)
    exact = nf.solve(nf.Problem(SIZES, KERNELS[name], state), save_at=TIMES - TIMES[0], rtol=1e-9)
    found = flow(KernelOperator(KERNELS[name], SIZES), state, TIMES, tolerance=1e-7)
    for i in range(len(TIMES)):
        for part in ("H", "W", "b"):
            np.testing.assert_allclose(getattr(found[i], part), getattr(exact.state(i), part), atol=2e-5)


@pytest.mark.parametrize("width", [1e-3, 1e-9])
def test_it_does_not_step_over_a_narrow_peak(width):
    knots = (0.0, 0.5, 0.5 + width / 2, 0.5 + width, 1.0)
    kernels = [nf.BlockKernel(1.5 * x, 0.9 * x, 0.2 * x) for x in (0.1, 0.1, 1 / width, 0.1, 0.1)]
    kernel, state = (
        nf.ScheduledKernel(knots, tuple(kernels)),
        nf.initial.make("gaussian", SIZES, BLOCK, seed=3),
    )
    calm = nf.solve(nf.Problem(SIZES, kernels[0], state), save_at=[1.0]).final
    exact = nf.solve(nf.Problem(SIZES, kernel, state), save_at=[1.0], rtol=1e-9).final
    found = flow(KernelOperator(kernel, SIZES), state, np.array([0.0, 1.0]), tolerance=1e-7)[-1]
    np.testing.assert_allclose(found.H, exact.H, atol=2e-5)
    assert np.abs(calm.H - exact.H).max() > 0.1


def test_the_error_follows_the_tolerance():
    state = nf.initial.make("gaussian", SIZES, BLOCK, seed=0)
    exact = nf.solve(nf.Problem(SIZES, BLOCK, state), save_at=TIMES - TIMES[0], rtol=1e-10).state(3)
    errors = [
        np.abs(flow(KernelOperator(BLOCK, SIZES), state, TIMES, tolerance)[3].H - exact.H).max()
        for tolerance in (1e-3, 1e-6)
    ]
    assert errors[1] < 0.05 * errors[0]
    assert errors[0] < 0.05


@pytest.mark.parametrize("share", [0.05, 0.5, 3.0])
def test_the_estimated_error_is_that_of_the_step(share):
    """Within what its leading order is worth; a step whose estimate is too small would be accepted in silence."""
    state = nf.initial.make("gaussian", SIZES, BLOCK, seed=0)
    field, y = FlowField(KernelOperator(BLOCK, SIZES), SIZES), (state.H, state.W, state.b)
    rate = field.rate(y)
    h = share / rate
    exact = nf.solve(nf.Problem(SIZES, BLOCK, state), save_at=[h], rtol=1e-11).final
    fresh = _step(field, 0.0, y, field(0.0, y), h, rate)
    estimate = _error(y, fresh, field(0.0, y), field(h, fresh), h, 1.0)
    sizes = [max(np.linalg.norm(part), np.linalg.norm(now)) for part, now in zip(y, fresh, strict=True)]
    sizes[2] = max(sizes[2], 3**-0.5)
    gaps = (fresh[0] - exact.H, fresh[1] - exact.W, fresh[2] - exact.b)
    true = max(np.linalg.norm(gap) / size for gap, size in zip(gaps, sizes, strict=True))
    assert 0.4 < estimate / true < 4


def test_a_stiff_flow_needs_few_applications():
    class Counted(KernelOperator):
        calls = 0

        def pull(self, W, R, t=0.0):
            Counted.calls += 1
            return super().pull(W, R, t)

    sizes = nf.Sizes(C=3, m=50, n=5)
    kernel = nf.BlockKernel(40.0, 20.0, 10.0)
    state = nf.initial.make("gaussian", sizes, kernel, seed=0)
    flow(Counted(kernel, sizes), state, np.array([0.0, 5.0]))
    # rate times time is about 1e5: a Runge-Kutta method needs some 1e5 applications.
    assert Counted.calls < 6000


@pytest.mark.parametrize("stages", [2, 3, 7, 40])
def test_the_scheme_is_consistent_to_second_order(stages):
    k = coefficients(stages)
    # On y' = t the scheme must give t^2/2 exactly, on y' = 1 it gives t: the abscissa are those of the stages.
    before, now, square = 0.0, k.mu_F[1], [0.0, 0.0]
    for j in range(2, stages + 1):
        before, now = now, k.mu[j] * now + k.nu[j] * before + k.mu_F[j] + k.gamma_F[j]
        square.append(k.mu[j] * square[-1] + k.nu[j] * square[-2] + k.mu_F[j] * k.c[j - 1])
        assert k.c[j] == pytest.approx(now, abs=1e-9)
    assert now == pytest.approx(1)
    assert square[-1] == pytest.approx(0.5)


def test_leaving_the_finite_numbers_is_said():
    class Wrong(Operator):
        sizes = SIZES
        gain = 1.0

        def act(self, G, t=0.0):
            return np.full_like(G, np.nan)

    state = nf.initial.make("gaussian", SIZES, BLOCK, seed=0)
    with pytest.raises(SolveError, match="left the finite numbers"):
        flow(Wrong(), state, np.array([0.0, 1.0]))
