import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.fields import raw_field, residual, thin_jacobian
from ntkflow.dynamics.packed import ThinFlow
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import ClassBlockKernel, ScheduledKernel
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder

IMBALANCED = nf.Sizes(3, (1, 4, 2), 4)


def test_the_raw_field_is_the_gradient_of_the_loss_in_W_and_b_and_the_kernel_s_image_in_H():
    state, kernel = random_state(IMBALANCED), ladder.make("class-block", IMBALANCED)
    Y = np.eye(3)[:, IMBALANCED.labels]
    R = residual(state.H, state.W, state.b, Y)
    dH, dW, db = raw_field(state.H, state.W, R, kernel, IMBALANCED)

    def loss(W, b):
        return 0.5 * np.sum((W @ state.H + b[:, None] - Y) ** 2)

    step = 1e-6
    for index in np.ndindex(state.W.shape):
        bump = np.zeros_like(state.W)
        bump[index] = step
        slope = (loss(state.W + bump, state.b) - loss(state.W - bump, state.b)) / (2 * step)
        assert dW[index] == pytest.approx(-slope, abs=1e-7)
    np.testing.assert_allclose(db, -R.sum(axis=1))
    image = ladder.dense(kernel, IMBALANCED) @ (state.W.T @ R).ravel()
    np.testing.assert_allclose(dH.ravel(), -image, atol=1e-12)


def scheduled():
    knots = (ladder.make("class-block", IMBALANCED, 0), ladder.make("class-block", IMBALANCED, 1))
    return ScheduledKernel((0.2, 1.0), knots)


KERNELS = {
    "block": nf.BlockKernel(1.3, 0.5, 0.1),
    "no between": nf.BlockKernel(1.3, 0.5, 0.0),
    "kc = kn": nf.BlockKernel(1.3, 0.4, 0.4),
    "class-block": ladder.make("class-block", IMBALANCED),
    "scheduled": scheduled(),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("decay", [Decay(), Decay(0.3, 0.2, 0.1)], ids=["free", "decay"])
@pytest.mark.parametrize("sizes", [IMBALANCED, nf.Sizes(3, 1, 4), nf.Sizes(3, 2, 2)], ids=str)
def test_the_thin_field_composed_is_the_raw_field(name, decay, sizes):
    problem = nf.Problem(sizes, KERNELS[name], random_state(sizes), decay=decay)
    flow, t = ThinFlow.build(problem), 0.7
    y = flow.start()
    got = flow.frame.compose(flow.system.unpack(flow.field(t, y)))
    s, rates = problem.state, decay.rates
    Y = np.eye(3)[:, sizes.labels]
    dH, dW, db = raw_field(s.H, s.W, residual(s.H, s.W, s.b, Y), problem.kernel.at(t), sizes)
    np.testing.assert_allclose(got.W, dW - rates[0] * s.W, atol=1e-11)
    np.testing.assert_allclose(got.H, dH - rates[1] * s.H, atol=1e-11)
    np.testing.assert_allclose(got.b, db - rates[2] * s.b, atol=1e-11)


@pytest.mark.parametrize("name", ["block", "class-block", "scheduled"])
@pytest.mark.parametrize("decay", [Decay(), Decay(0.3, 0.2, 0.1)], ids=["free", "decay"])
def test_the_jacobian_is_the_derivative_of_the_field(name, decay):
    flow = ThinFlow.build(nf.Problem(IMBALANCED, KERNELS[name], random_state(IMBALANCED), decay=decay))
    y, t, step = flow.start(), 0.7, 1e-6
    differences = np.stack(
        [(flow.field(t, y + step * e) - flow.field(t, y - step * e)) / (2 * step) for e in np.eye(y.size)],
        axis=1,
    )
    system = flow.system.at(t)
    np.testing.assert_allclose(thin_jacobian(system, system.unpack(y)), differences, atol=1e-7)


def test_a_constant_system_is_itself_at_all_times():
    flow = ThinFlow.build(nf.Problem(IMBALANCED, KERNELS["class-block"], random_state(IMBALANCED)))
    assert flow.system.at(3.0) is flow.system


def test_the_spectral_radius_covers_all_knots_and_decay():
    calm, wild = ClassBlockKernel([1.0, 1, 1], np.eye(3) / 2), ClassBlockKernel([99.0, 99, 99], 9 * np.eye(3))
    state = random_state(IMBALANCED)

    def radius(kernel, **changes):
        flow = ThinFlow.build(nf.Problem(IMBALANCED, kernel, state, **changes))
        return flow.spectral_radius(flow.start())

    assert radius(ScheduledKernel((0.0, 1.0), (calm, wild))) == pytest.approx(radius(wild))
    assert radius(calm, decay=Decay(W=5.0)) == pytest.approx(radius(calm) + 5)
