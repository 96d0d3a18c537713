from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.evidence.decay_response import decay_responder
from ntkflow_validation.evidence.invariant_budget import budget, distance_from_collapse, interpolated
from ntkflow_validation.metrics.probe import invariant_terms
from ntkflow_validation.pipeline.pipeline import prepare
from ntkflow_validation.training.steps import theory_decay
from ntkflow_validation.training.train import train

from ntkflow.metrics import invariant
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

KERNEL = BlockKernel(2.0, 0.8, 0.3)
SIZES = Sizes(C=3, m=4, n=5)
# The network of theory 15, whose weights and features decay alike.
LINEAR = RunConfig(
    data=DataConfig(name="block", classes=3, per_class=4),
    model=ModelConfig(name="linear", features=5, scale=0.7),
    training=TrainConfig(steps=600, learning_rate=1e-3, reduction="sum", weight_decay=0.8, snapshots=20),
)


def state(seed):
    rng = np.random.default_rng(seed)
    return State(rng.normal(size=(5, 12)), rng.normal(size=(3, 5)), rng.normal(size=3))


def test_decay_explains_the_whole_change_where_the_hypotheses_hold():
    dataset, network = prepare(LINEAR)
    snapshots = list(train(LINEAR, dataset, network))
    respond = decay_responder(network, LINEAR)
    answers = [respond(s.train.variables, dataset.x) for s in snapshots]
    assert all(a.ratio == pytest.approx(1, abs=1e-5) for a in answers)
    kernel = BlockKernel(LINEAR.data.kappa_d, LINEAR.data.kappa_c, LINEAR.data.kappa_n)
    times, states = [s.time for s in snapshots], [s.state for s in snapshots]
    rate = theory_decay(LINEAR.training, 12, 3)
    found = budget(times, states, SIZES, [kernel] * len(times), 4, rate, [a.change for a in answers])
    size = np.linalg.norm(found.first)
    assert np.linalg.norm(found.kernel) == 0
    assert np.linalg.norm(found.decay) > 0.5 * size
    assert np.linalg.norm(found.rest) < 0.01 * size  # finite steps and the trapezoidal rule
    assert np.linalg.norm(found.last) / size == pytest.approx(np.exp(-2 * rate * times[-1]), rel=0.01)
    # Its error is known: leaving out more states makes it larger, and what it says of that is about right.
    thin = [0, *range(2, len(times) - 1, 2), len(times) - 1]
    fewer = [[x[i] for i in thin] for x in (times, states, [a.change for a in answers])]
    coarse = budget(fewer[0], fewer[1], SIZES, [kernel] * len(thin), 4, rate, fewer[2])
    assert np.linalg.norm(coarse.decay - found.decay) == pytest.approx(3 * found.sampling, rel=1e-6)
    assert coarse.sampling > 2 * found.sampling > 0
    assert sum(found.shares().values()) == pytest.approx(1)
    assert found.shares()["decay"] == pytest.approx(1, abs=0.01)
    # Decay of W alone would have left more of E, in another direction.
    assert np.linalg.norm(found.weights_only - found.decay) > 0.1 * size


def test_what_weights_alone_would_do_is_the_integral_of_their_moment():
    """-2 lw W^T W / m over a time in which the state stands still, with the m of the data set and not of the probe."""
    resting = state(0)
    still = np.zeros_like(resting.H)
    found = budget([0.0, 0.5], [resting, resting], SIZES, [KERNEL, KERNEL], 10, 0.3, [still, still])
    np.testing.assert_allclose(
        found.weights_only, -2 * 0.3 * 0.5 * resting.W.T @ resting.W / 10, rtol=1e-12, atol=1e-14
    )


def test_a_kernel_that_moves_under_a_resting_state_has_the_whole_change():
    moved, resting = BlockKernel(3.0, 1.5, 0.4), state(0)
    still = np.zeros_like(resting.H)
    found = budget([0.0, 1.0], [resting, resting], SIZES, [KERNEL, moved], 4, 0.0, [still, still])
    change = invariant_terms(resting, SIZES, moved, 4).E - invariant_terms(resting, SIZES, KERNEL, 4).E
    np.testing.assert_allclose(found.kernel, change, atol=1e-14)
    np.testing.assert_allclose(found.rest, 0, atol=1e-14)
    assert np.linalg.norm(change) > 0.1


def test_a_state_that_moves_by_itself_has_the_rest():
    one, two = state(0), state(1)
    still = np.zeros_like(one.H)
    found = budget([0.0, 1.0], [one, two], SIZES, [KERNEL, KERNEL], 4, 0.0, [still, still])
    np.testing.assert_allclose(found.rest, found.last - found.first, atol=1e-14)
    assert found.shares() == {"kernel": 0.0, "decay": 0.0, "rest": pytest.approx(1)}


def test_kernels_between_measured_steps_lie_between_and_at_them_are_the_measured():
    kernels = {0: KERNEL, 9: BlockKernel(4.0, 2.0, 0.5)}
    assert interpolated(kernels, 9) == kernels[9]
    assert interpolated(kernels, 50) == kernels[9]
    half = interpolated(kernels, 2)  # log 3 is not half of log 10
    assert half.kappa_d == pytest.approx(2 + 2 * np.log(3) / np.log(10))
    assert half.kappa_n == pytest.approx(0.3 + 0.2 * np.log(3) / np.log(10))


@pytest.mark.parametrize(
    ("model", "degree"),
    [
        (ModelConfig(name="mlp", width=6, depth=1, features=5), 2),
        (ModelConfig(name="mlp", width=6, depth=2, features=5), 3),
        (ModelConfig(name="cnn", width=2, norm="batch", readout="pool", features=5), 0),
    ],
)
def test_features_shrink_with_their_degree_and_not_behind_a_normalisation(model, degree):
    config = replace(LINEAR, data=DataConfig(classes=3, per_class=4), model=model)
    dataset, network = prepare(config)
    answer = decay_responder(network, config)(network.initial, dataset.x)
    assert answer.ratio == pytest.approx(degree, abs=0.02)  # normalisation adds a small number to variances
    if degree:
        assert answer.cosine == pytest.approx(1, abs=1e-5)


def test_the_negative_part_of_the_first_invariant_is_followed_by_the_same_parts():
    moved, resting = BlockKernel(9.0, 1.5, 0.4), state(0)
    still = np.zeros_like(resting.H)
    found = budget([0.0, 1.0], [resting, resting], SIZES, [KERNEL, moved], 4, 0.0, [still, still])
    parts = found.on_negative()
    assert parts["first"] == pytest.approx(-1)
    # mu_single grew from 1.2 to 7.5, so the variability of the features weighs less: E is less negative.
    assert parts["kernel"] > 0.5
    assert parts["first"] + parts["kernel"] == pytest.approx(parts["last"])
    assert (parts["decay"], parts["rest"]) == (0, pytest.approx(0, abs=1e-12))
    tame = State(0.01 * resting.H[:3], np.eye(3), resting.b)
    assert budget([0.0], [tame], Sizes(3, 4, 3), [KERNEL], 4, 0.0, [tame.H]).on_negative() == {}


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_the_distance_from_collapse_vanishes_at_collapse_of_any_scale_and_only_there(scale):
    P = np.eye(3) - 1 / 3
    frame = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 3)))[0]
    W = scale * P @ frame.T
    # Means dual to W and a common mean outside its rows, which only b sees.
    H1 = frame @ P / scale + 0.3 * np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0][:, :1]
    collapsed = State(np.repeat(H1, 4, axis=1), W, np.full(3, 1 / 3))
    found = invariant.terms(collapsed, SIZES, KERNEL)
    assert np.linalg.norm(found.E) > 0.01
    assert distance_from_collapse(found, W) < 1e-12
    spread_out = state(3)
    noisy = State(collapsed.H + 0.1 * spread_out.H, W, collapsed.b)
    assert distance_from_collapse(invariant.terms(noisy, SIZES, KERNEL), W) > 0.01
