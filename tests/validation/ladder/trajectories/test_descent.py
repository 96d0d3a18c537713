from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.ladder.comparing import compare_window
from ntkflow_validation.ladder.measured import Measured
from ntkflow_validation.ladder.operators.base import KernelOperator
from ntkflow_validation.ladder.rungs import SPECS, build
from ntkflow_validation.ladder.score.windows import Window
from ntkflow_validation.ladder.trajectories.chebyshev import flow
from ntkflow_validation.ladder.trajectories.descent import (
    DECAY,
    MINIBATCH,
    MOMENTUM,
    STEP,
    Recipe,
    clock_of,
    descend,
    recipe_of,
)
from ntkflow_validation.pipeline.pipeline import prepare
from ntkflow_validation.training.train import train

import ntkflow as nf
from ntkflow.errors import SolveError
from tests.validation.ladder.networks import CONFIG, measured

SIZES = nf.Sizes(C=3, m=4, n=5)
KERNEL = nf.BlockKernel(1.5, 0.9, 0.2)
STATE = nf.initial.make("gaussian", SIZES, KERNEL, seed=0)


@pytest.mark.parametrize(("beta", "nesterov"), [(0.0, False), (0.6, False), (0.6, True)])
def test_it_takes_the_steps_of_the_simulator(beta, nesterov):
    decay = (0.02, 0.03, 0.0)
    problem = nf.Problem(SIZES, KERNEL, STATE, decay=nf.Decay(0.02, 0.03, 0.0))
    theirs = nf.descend(problem, 30, 2e-3, beta, nesterov, every=10)
    recipe = Recipe((0, 10, 20, 30), np.full(30, 2e-3), beta, nesterov, decay)
    ours = descend(KernelOperator(KERNEL, SIZES), STATE, recipe)
    for a, b in zip(ours, theirs.states, strict=True):
        np.testing.assert_allclose(a.H, b.H, atol=1e-12)
        np.testing.assert_allclose(a.W, b.W, atol=1e-12)
        np.testing.assert_allclose(a.b, b.b, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.6])
def test_an_operator_that_moves_is_that_of_the_time_of_each_step(beta):
    kernel = nf.ScheduledKernel((0.0, 0.02, 0.09), (KERNEL, nf.BlockKernel(4.0, 2.0, 0.5), KERNEL))
    eta = 2e-3
    recipe = Recipe((0, 10, 30), np.full(30, eta), beta)
    ours = descend(KernelOperator(kernel, SIZES), STATE, recipe)[-1]
    frozen = descend(KernelOperator(KERNEL, SIZES), STATE, recipe)[-1]
    if beta == 0:
        theirs = nf.descend(nf.Problem(SIZES, kernel, STATE), 30, eta).final
        np.testing.assert_allclose(ours.H, theirs.H, atol=1e-12)
    times = recipe.times
    assert times[0] == 0
    # The clock of training: with momentum the first steps take less flow time than the later ones.
    assert times[-1] == pytest.approx(eta * sum((1 - beta ** (k + 1)) / (1 - beta) for k in range(29)))
    assert np.abs(ours.H - frozen.H).max() > 1e-2


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_with_everything_it_is_the_training_of_the_linear_network(reduction):
    # Momentum, decay, warm-up, minibatches, from the middle of a run: nothing is left but float32.
    recipe = replace(
        CONFIG.training,
        momentum=0.7,
        nesterov=True,
        weight_decay=0.05,
        warmup=10,
        batch_per_class=2,
        drop_every=12,
    )
    if reduction == "mean":
        # The mean over a batch of 6 samples and 3 outputs: the same training with a larger rate and less decay.
        recipe = replace(
            recipe, reduction="mean", learning_rate=18 * recipe.learning_rate, weight_decay=0.05 / 18
        )
    config = replace(CONFIG, training=recipe)
    dataset, network = prepare(config)
    snapshots = [s for s in train(config, dataset, network) if s.step >= 5]
    first = snapshots[0]
    kernel = Mock(spec=Measurement)  # steps need none
    found = Measured(network, first.train, dataset, config, first.step, first.state, first.sizes, kernel, ())
    assert found.shrinking == pytest.approx(1, abs=1e-5)
    steps = [s.step for s in snapshots]
    whole = recipe_of(config, steps, found.share, found.momentum, found.shrinking)
    assert whole.modifications == (STEP, MOMENTUM, DECAY, MINIBATCH)
    states = descend(KernelOperator(KERNEL, SIZES), first.state, whole)
    moved = np.linalg.norm(snapshots[-1].state.H - first.state.H)

    def error(states):
        return np.linalg.norm(states[-1].H - snapshots[-1].state.H) / moved

    assert error(states) < 1e-4
    # Each of them matters here: leaving it out shows.
    for kept in ((STEP,), (STEP, MOMENTUM), (STEP, MOMENTUM, DECAY), (STEP, MOMENTUM, MINIBATCH)):
        assert error(descend(KernelOperator(KERNEL, SIZES), first.state, whole.only(kept))) > 1e-3
    assert error(descend(KernelOperator(KERNEL, SIZES), first.state, whole, seed=99)) > 1e-3
    assert error(descend(KernelOperator(KERNEL, SIZES), first.state, replace(whole, velocity=None))) > 1e-3


def test_without_momentum_steps_take_the_same_flow_time():
    recipe = replace(CONFIG.training, momentum=0.7, warmup=10)
    config = replace(CONFIG, training=recipe)
    steps = [4, 30]
    plain = recipe_of(config, steps, 1.0, None, 0.0).only((STEP,))
    assert plain.eta.sum() == pytest.approx(np.diff(clock_of(config, steps))[0])
    assert plain.beta == 0


def test_the_clock_without_its_schedule_keeps_the_nominal_rate():
    config = replace(CONFIG, training=replace(CONFIG.training, warmup=10, drop_every=20))
    flat = replace(CONFIG, training=replace(CONFIG.training, warmup=0, drop_every=0))
    np.testing.assert_array_equal(clock_of(config, [0, 30], scheduled=False), clock_of(flat, [0, 30]))
    assert clock_of(config, [0, 30])[1] < clock_of(flat, [0, 30])[1]


def test_a_part_of_the_samples_has_a_faster_clock_and_no_batches():
    config = replace(CONFIG, training=replace(CONFIG.training, batch_per_class=2))
    part, whole = (recipe_of(config, [0, 10], share, None, 0.0) for share in (0.5, 1.0))
    np.testing.assert_allclose(part.eta, 2 * whole.eta)
    assert part.batches is None
    assert whole.batches(0).shape == (10, 6)


def test_a_step_that_is_too_large_is_said():
    with pytest.raises(SolveError, match="between steps 0 and 400"):
        descend(KernelOperator(KERNEL, SIZES), STATE, Recipe((0, 400), np.full(400, 50.0)))


@pytest.mark.parametrize(("warmup", "expected"), [(30, ["nominal rate"]), (0, [])])
def test_a_schedule_is_noticed_however_small_the_rate(warmup, expected):
    recipe = replace(CONFIG.training, learning_rate=1e-10, warmup=warmup)
    found = measured(replace(CONFIG, training=recipe))
    window = Window("early", (0, 3, 6), True)
    times = clock_of(found.config, window.steps)
    block = next(s for s in SPECS if s.name == "block")
    states = flow(build(block, found).operator, found.state, times)
    result = compare_window(window, found, times, states, [block], lambda *_: None, 0)
    assert [m for s in result.scored for m in s.key[1] if m == "nominal rate"] == expected
