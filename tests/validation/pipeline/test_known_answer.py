"""The two-layer linear network on block inputs, through the real training and measuring code (theory 15)."""

from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.metrics.compare import compare
from ntkflow_validation.pipeline.pipeline import prepare
from ntkflow_validation.runs.measurement_run import measure_snapshot
from ntkflow_validation.training.steps import flow_times
from ntkflow_validation.training.train import train

import ntkflow as nf

CONFIG = RunConfig(
    data=DataConfig(name="block", classes=3, per_class=4, kappa_d=1.5, kappa_c=0.9, kappa_n=0.2),
    model=ModelConfig(name="linear", features=5, scale=0.7),
    training=TrainConfig(steps=200, learning_rate=5e-3, reduction="sum", snapshots=12),
)


def trained(**changes):
    config = replace(CONFIG, training=replace(CONFIG.training, **changes))
    dataset, network = prepare(config)
    return config, dataset, network, list(train(config, dataset, network))


def predicted(first, times):
    """States of the flow from the first snapshot under the constants of the inputs, at the times of all of them."""
    problem = nf.Problem(first.sizes, nf.BlockKernel(1.5, 0.9, 0.2), first.state)
    solution = nf.solve(problem, save_at=times - times[0])
    return [solution.state(i) for i in range(len(times))]


def prediction_error(**changes):
    _, _, _, snapshots = trained(**changes)
    first, times = snapshots[0], np.array([s.time for s in snapshots])
    pairs = zip(predicted(first, times), snapshots, strict=True)
    return max(np.abs(state.W - s.state.W).max() for state, s in pairs)


def test_the_measured_constants_are_those_of_the_inputs_before_and_after_training():
    config, dataset, network, snapshots = trained()
    for snapshot in (snapshots[0], snapshots[-1]):
        result = measure_snapshot(network, snapshot.train.variables, dataset, config.kernels)
        values = [result.kappa_d.value, result.kappa_c.value, result.kappa_n.value, result.mu_single.value]
        assert values == pytest.approx([1.5, 0.9, 0.2, 0.6], rel=1e-6)
        assert result.features.block_residual < 1e-6
        assert result.neurons == 5
        assert result.kappa_d.spread_neurons < 1e-6
    assert np.abs(snapshots[-1].state.H - snapshots[0].state.H).max() > 0.1


def test_some_neurons_and_samples_give_the_same_constants():
    _, dataset, network, snapshots = trained(steps=1)
    part = KernelConfig(neurons=2, per_class=3)
    measured = measure_snapshot(network, snapshots[0].train.variables, dataset, part)
    assert measured.features.mean.shape == (9, 9)
    assert measured.kappa_c.value == pytest.approx(0.9, rel=1e-6)


@pytest.mark.parametrize(
    "how", [{}, {"momentum": 0.5}, {"warmup": 50}, {"reduction": "mean", "learning_rate": 0.18}], ids=str
)
def test_the_error_of_the_prediction_shrinks_in_proportion_to_the_step(how):
    # 0.18 / (N C) = 5e-3: the same flow, reached through a loss that is a mean.
    rate = how.get("learning_rate", 5e-3)
    warmup = how.get("warmup", 0)
    coarse = prediction_error(**how)
    fine = prediction_error(**{**how, "learning_rate": rate / 4, "steps": 800, "warmup": 4 * warmup})
    assert coarse < 0.02
    assert coarse / fine == pytest.approx(4.0, rel=0.25)


def test_balanced_batches_follow_the_flow_of_the_whole_set():
    # Their noise averages out along the way: the error still vanishes with the step.
    coarse = prediction_error(batch_per_class=2, reduction="mean", learning_rate=0.18)
    fine = prediction_error(batch_per_class=2, reduction="mean", learning_rate=0.0225, steps=1600)
    assert fine < 0.3 * coarse
    assert fine < 5e-3


def test_every_skill_is_nearly_one():
    _, _, _, snapshots = trained(learning_rate=1e-3, steps=1000)
    times = np.array([s.time for s in snapshots])
    first = snapshots[0]
    scores = compare(times, [s.state for s in snapshots], predicted(first, times), first.sizes)
    assert min(scores.pooled.values()) > 0.999
    assert times[-1] == pytest.approx(
        flow_times(replace(CONFIG.training, learning_rate=1e-3, steps=1000), 12, 3)[-1]
    )
