"""Biases that are held: every form and engine against the N x N equations written out here, with b fixed."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import softmax

import ntkflow as nf
from ntkflow.dynamics.fields import ThinSystem, thin_jacobian
from ntkflow.dynamics.packed import ThinFlow, collapse_rate
from ntkflow.dynamics.saddle import Saddle
from ntkflow.errors import InputError
from ntkflow.problem.kernels import ClassBlockKernel, KroneckerKernel, SampleKernel, ScheduledKernel
from ntkflow.problem.losses import CrossEntropy
from tests.metrics.test_quantities import random_state

SIZES = nf.Sizes(3, (2, 3, 1), 4)
BLOCK = nf.BlockKernel(1.3, 0.6, 0.2)
KNOT, END = 0.2, 0.4
B = np.array([[0.7, 0.1, 0.2], [0.1, 0.9, 0.3], [0.2, 0.3, 0.5]])


def sample_kernel(seed=0):
    A = np.random.default_rng(seed).standard_normal((SIZES.N, SIZES.N))
    return SampleKernel(A @ A.T / SIZES.N + np.eye(SIZES.N))


KERNELS = {
    "block": BLOCK,
    "class-block": ClassBlockKernel(np.array([1.5, 1.6, 1.4]), B),
    "sample": sample_kernel(),
    "schedule": ScheduledKernel((0.0, KNOT), (BLOCK, nf.BlockKernel(2.0, 0.9, 0.1))),
    "sample-schedule": ScheduledKernel((0.0, KNOT), (sample_kernel(), sample_kernel(1))),
}


def matrix_at(kernel, t):
    if not isinstance(kernel, ScheduledKernel):
        return kernel.matrix(SIZES)
    first, last = (k.matrix(SIZES) for k in kernel.at_knots)
    share = min(t / kernel.times[-1], 1.0)
    return (1 - share) * first + share * last


def expected(problem):
    """(H, W) at END of dH = -W^T R K - lh H, dW = -R H^T - lw W with b as it stands."""
    state, n, N = problem.state, SIZES.n, SIZES.N
    Y, b = np.eye(SIZES.C)[:, SIZES.labels], state.b[:, None]

    def field(t, y):
        H, W = y[: n * N].reshape(n, N), y[n * N :].reshape(SIZES.C, n)
        F = W @ H + b
        R = (F if problem.squared_error else softmax(F, axis=0)) - Y
        dH, dW = -W.T @ R @ matrix_at(problem.kernel, t) - problem.decay.H * H, -R @ H.T - problem.decay.W * W
        return np.concatenate([dH.ravel(), dW.ravel()])

    y, start = np.concatenate([state.H.ravel(), state.W.ravel()]), 0.0
    for stop in (KNOT, END):
        y = solve_ivp(field, (start, stop), y, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
        start = stop
    return y


def held(kernel=BLOCK, **changes):
    return nf.Problem(SIZES, kernel, random_state(SIZES), train_bias=False, **changes)


def check(solution, problem, tolerance=1e-7):
    final = solution.final
    assert np.array_equal(final.b, problem.state.b)
    found = np.concatenate([final.H.ravel(), final.W.ravel()])
    np.testing.assert_allclose(found, expected(problem), atol=tolerance)


ENGINES = ("DOP853", "LSODA", "BDF", "Radau", "structured", "diffrax")
QUICK = {("structured", "schedule"), ("structured", "sample"), ("DOP853", "block"), ("LSODA", "class-block")}


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        pytest.param(engine, name, marks=() if (engine, name) in QUICK else pytest.mark.slow)
        for engine in ENGINES
        for name in sorted(KERNELS)
    ],
)
def test_every_engine_on_the_thin_form(engine, name):
    problem = held(KERNELS[name], decay=nf.Decay(W=0.3, H=0.2))
    check(nf.solve(problem, save_at=[END], engine=engine, form="thin", rtol=1e-8), problem)


@pytest.mark.parametrize("name", ["block", "sample-schedule"])
def test_the_raw_form(name):
    problem = held(KERNELS[name])
    check(nf.solve(problem, save_at=[END], form="raw"), problem)


def test_cross_entropy():
    problem = held(loss=CrossEntropy(), decay=nf.Decay(W=0.1))
    check(nf.solve(problem, save_at=[END]), problem)


@pytest.mark.parametrize("form", ["thin", "raw"])
def test_kernels_on_features(form):
    sizes = nf.Sizes(3, 2, 4)
    A = np.diag([1.0, 2.0, 0.5, 1.5])
    problem = nf.Problem(sizes, KroneckerKernel(BLOCK, A), random_state(sizes), train_bias=False)
    final = nf.solve(problem, save_at=[0.5], form=form).final
    H, W, b, K = problem.state.H, problem.state.W, problem.state.b, BLOCK.matrix(sizes)

    def field(_, y):
        H, W = y[:24].reshape(4, 6), y[24:].reshape(3, 4)
        R = W @ H + b[:, None] - sizes.Y
        return np.concatenate([(-A @ W.T @ R @ K).ravel(), (-R @ H.T).ravel()])

    y0 = np.concatenate([H.ravel(), W.ravel()])
    want = solve_ivp(field, (0, 0.5), y0, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    np.testing.assert_allclose(np.concatenate([final.H.ravel(), final.W.ravel()]), want, atol=1e-7)
    assert np.array_equal(final.b, b)


def test_held_biases_are_shifted_targets():
    problem = held()
    b = problem.state.b[:, None]
    shifted = nf.LossPair(lambda F, Y: float(np.sum((F - Y + b) ** 2)) / 2, lambda F, Y: F - (Y - b))
    zero = nf.State(problem.state.H, problem.state.W, 0 * problem.state.b)
    other = replace(problem, state=zero, loss=shifted)
    one, two = (nf.solve(p, save_at=[END], form="raw").final for p in (problem, other))
    np.testing.assert_allclose(one.H, two.H, atol=1e-12)
    np.testing.assert_allclose(one.W, two.W, atol=1e-12)


def test_the_jacobian_of_held_biases():
    flow = ThinFlow.build(held(decay=nf.Decay(W=0.3)))
    y = flow.start()
    steps = 1e-6 * np.eye(y.size)
    columns = [(flow.field(0, y + h) - flow.field(0, y - h)) / 2e-6 for h in steps]
    np.testing.assert_allclose(
        thin_jacobian(flow.system, flow.unpack(y)), np.stack(columns, axis=1), atol=1e-7
    )


def test_systems_hold_biases_at_every_time_of_a_schedule():
    flow = ThinFlow.build(held(KERNELS["schedule"]))
    assert isinstance(flow.system, ThinSystem)
    assert not any(flow.system.at(t).train_bias for t in (0.0, 0.3, 2.0))
    assert not flow.system.between(0.1, 0.4).train_bias


def test_the_saddle_without_a_bias_is_left_along_the_sum_over_classes():
    sizes = nf.Sizes(3, 2, 4)
    state = nf.State(np.zeros((4, 6)), np.zeros((3, 4)), np.zeros(3))
    problem = nf.Problem(sizes, BLOCK, state, train_bias=False)
    saddle, mu = Saddle.of_problem(problem, collapse_rate(problem)), BLOCK.eigenvalues(sizes)
    assert saddle.growing == pytest.approx(np.sqrt(2 * mu.mu_global), rel=1e-6)
    assert saddle.falling == pytest.approx(np.sqrt(2 * mu.mu_class), rel=1e-12)
    trained = replace(problem, train_bias=True)
    assert Saddle.of_problem(trained, collapse_rate(trained)) == Saddle.of(
        trained.decay, collapse_rate(trained)
    )


def test_steps_hold_the_biases_and_keep_their_law():
    problem = held(decay=nf.Decay(W=0.1))
    descent = nf.descend(problem, steps=5, eta=0.01, momentum=0.5, batch_per_class=1)
    assert np.array_equal(descent.final.b, problem.state.b)
    assert not descent.law.failed
    one, state = nf.descend(held(), steps=1, eta=0.01).final, problem.state
    R = state.logits - SIZES.Y
    np.testing.assert_allclose(one.W, state.W - 0.01 * R @ state.H.T, atol=1e-14)
    np.testing.assert_allclose(one.H, state.H - 0.01 * state.W.T @ R @ BLOCK.matrix(SIZES), atol=1e-14)


def test_no_decay_of_biases_that_are_held():
    with pytest.raises(InputError, match="no meaning for biases that are held"):
        held(decay=nf.Decay(b=0.1))
    with pytest.raises(InputError, match="train_bias = 'no': must be True or False"):
        replace(held(), train_bias="no")


@pytest.mark.parametrize("train_bias", [True, False])
def test_runs_come_back_as_they_were(tmp_path, train_bias):
    problem = replace(held(), train_bias=train_bias)
    solution = nf.solve(problem, save_at=[0.0, 0.1])
    solution.save(tmp_path / "run", figures=False)
    found = nf.load(tmp_path / "run")
    assert found.problem.train_bias is train_bias
    assert f"train_bias = {str(train_bias).lower()}" in (tmp_path / "run" / "config.toml").read_text()
