"""Rungs without a measured kernel, where their answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.kernels.methods.arc_cosine import arc_cosine
from ntkflow_validation.ladder.given import FadingOperator
from ntkflow_validation.ladder.operators.base import KernelOperator
from ntkflow_validation.ladder.predictions import by_flow
from ntkflow_validation.ladder.rungs import SPECS, build
from ntkflow_validation.ladder.trajectories.chebyshev import flow
from ntkflow_validation.models import build as network
from ntkflow_validation.training.readout import linear_readout
from scipy.integrate import solve_ivp

from ntkflow.errors import InputError
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from tests.validation.ladder.networks import CONFIG, NONLINEAR, measured

DECAY = 0.4


def rung(name, found):
    return build(next(spec for spec in SPECS if spec.name == name), found)


@pytest.fixture(scope="module")
def decayed():
    training = replace(NONLINEAR.training, weight_decay=DECAY, decay_on="all")
    return measured(replace(NONLINEAR, training=training), with_kernel=False)


def test_two_linear_layers_are_solved_as_they_stand(decayed):
    built = rung("two-linear-layers", decayed)
    readout, a = linear_readout(decayed.network, decayed.train_state.variables, decayed.x)
    np.testing.assert_allclose(readout.V @ a + readout.c[:, None], decayed.state.H, atol=1e-5)
    np.testing.assert_array_equal(readout.W, decayed.state.W)
    shapes = [readout.W.shape, readout.V.shape, readout.c.shape, decayed.state.b.shape]
    ends = np.cumsum([np.prod(shape) for shape in shapes])

    def parts(y):
        return [p.reshape(shape) for p, shape in zip(np.split(y, ends[:-1]), shapes, strict=True)]

    def moves(_, y):
        W, V, c, b = parts(y)
        H = V @ a + c[:, None]
        R = W @ H + b[:, None] - decayed.sizes.Y
        pulled = W.T @ R
        found = (R @ H.T, pulled @ a.T, pulled.sum(axis=1), R.sum(axis=1))
        return -np.concatenate([(p + DECAY * q).ravel() for p, q in zip(found, parts(y), strict=True)])

    y0 = np.concatenate([p.ravel() for p in (readout.W, readout.V, readout.c, decayed.state.b)])
    W, V, c, b = parts(solve_ivp(moves, (0, 0.5), y0, rtol=1e-8, atol=1e-10).y[:, -1])
    last = by_flow(built, decayed.state, np.array([0.0, 0.2, 0.5])).states[-1]
    np.testing.assert_allclose(last.H, V @ a + c[:, None], atol=2e-4)
    np.testing.assert_allclose(last.W, W, atol=2e-4)
    np.testing.assert_allclose(last.b, b, atol=2e-4)
    assert np.linalg.norm(last.H - decayed.state.H) > 0.1 * np.linalg.norm(decayed.state.H)


def test_an_operator_that_fades_is_the_same_however_time_is_cut():
    sizes = Sizes(C=2, m=3, n=3)
    rng = np.random.default_rng(0)
    start = State(rng.normal(size=(3, 6)), rng.normal(size=(2, 3)), np.zeros(2))
    inner = KernelOperator(BlockKernel(1.0, 0.6, 0.2), sizes)
    fading, G = FadingOperator(inner, 2.0, sizes), rng.normal(size=(3, 6))
    np.testing.assert_allclose(fading.act(G, 0.5), np.exp(-1.0) * inner.act(G))
    np.testing.assert_allclose(fading.between(0.3, 1.0).between(0.1, 0.2).act(G, 0.1), fading.act(G, 0.5))
    whole = flow(fading, start, np.array([0.0, 0.8]))[-1]
    cut = flow(fading, start, np.array([0.0, 0.1, 0.35, 0.8]))[-1]
    np.testing.assert_allclose(cut.H, whole.H, atol=1e-4)
    assert np.abs(flow(inner, start, np.array([0.0, 0.8]))[-1].H - whole.H).max() > 1e-2


def test_the_fading_kernel_has_the_degree_of_the_features(decayed):
    assert "homogeneous" in rung("fading-sample", decayed).refused
    model = replace(NONLINEAR.model, depth=2, hidden_bias=False, readout_bias=False)
    training = replace(NONLINEAR.training, weight_decay=DECAY)
    found = measured(replace(NONLINEAR, model=model, training=training))
    built = rung("fading-sample", found)
    assert built.operator.rate == pytest.approx(2 * 2 * DECAY)
    assert built.decay == pytest.approx((DECAY, 3 * DECAY, 0.0))
    # What the network says of itself.
    assert found.shrinking == pytest.approx(3, rel=1e-3)
    assert "sample itself" in rung("fading-sample", measured(CONFIG)).refused


def test_the_infinitely_wide_network_needs_its_inputs_alone():
    model = replace(NONLINEAR.model, parametrisation="ntk", hidden_bias=False)
    found = measured(replace(NONLINEAR, model=model), with_kernel=False)
    built = rung("infinite-width", found)
    K = arc_cosine(found.x.astype(np.float64), model.depth, False, True)
    np.testing.assert_allclose(built.operator.kernel.K, K, rtol=1e-6)
    assert built.constants == 0
    assert "NTK parametrisation" in rung("infinite-width", measured(CONFIG, with_kernel=False)).refused


def test_a_pooled_network_has_no_readout(decayed):
    pooled = network(ModelConfig("cnn", features=4, width=2, readout="pool"), (8, 8, 1), 3, 0)
    with pytest.raises(InputError, match="no linear readout"):
        linear_readout(pooled, pooled.initial, np.zeros((2, 8, 8, 1), np.float32))
    linear = network(ModelConfig("cnn", features=4, width=2), (8, 8, 1), 3, 0)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    readout, a = linear_readout(linear, linear.initial, x)
    assert (readout.V.shape, a.shape) == ((4, 16), (16, 2))
