import jax.numpy as jnp
import numpy as np
import optax
import pytest

from validation.clock import flow_times, learning_rate, loss_scale, snapshot_steps
from validation.config import TrainConfig
from validation.train import optimiser

N, C = 12, 3


def test_mean_loss_divides_time_by_samples_and_outputs():
    times = flow_times(TrainConfig(steps=10, learning_rate=0.5), N, C)
    np.testing.assert_allclose(times, 0.5 / (N * C) * np.arange(11), rtol=1e-14)


def test_sum_loss_has_the_learning_rate_as_its_time_step():
    times = flow_times(TrainConfig(steps=4, learning_rate=1e-3, reduction="sum"), N, C)
    np.testing.assert_allclose(times, 1e-3 * np.arange(5), rtol=1e-14)


def test_sum_over_a_batch_is_a_fraction_of_the_full_sum():
    config = TrainConfig(reduction="sum", batch_per_class=2)
    assert loss_scale(config, N, C) == 2.0  # batches of 6 of 12 samples
    assert loss_scale(TrainConfig(batch_per_class=2), N, C) == N * C


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("warmup", [0, 5])
def test_time_is_the_distance_travelled_under_a_constant_gradient(momentum, warmup):
    config = TrainConfig(steps=30, learning_rate=0.25, momentum=momentum, warmup=warmup, reduction="sum")
    rule, position, distances = optimiser(config), jnp.zeros(1), [0.0]
    state = rule.init(position)
    for _ in range(config.steps):
        updates, state = rule.update(-jnp.ones(1), state, position)
        position = optax.apply_updates(position, updates)
        distances.append(float(position[0]))
    np.testing.assert_allclose(flow_times(config, N, C), distances, rtol=2e-6)


def test_momentum_ends_up_running_one_over_one_minus_beta_times_faster():
    slow, fast = (np.diff(flow_times(TrainConfig(steps=300, momentum=m), N, C))[-1] for m in (0.0, 0.9))
    assert fast / slow == pytest.approx(10.0, rel=1e-10)


def test_warmup_rises_to_the_peak_and_stays():
    config = TrainConfig(learning_rate=0.4, warmup=4)
    np.testing.assert_allclose(learning_rate(config, np.arange(6)), [0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    np.testing.assert_allclose(learning_rate(config, jnp.asarray(1)), 0.2, rtol=1e-6)


@pytest.mark.parametrize(("steps", "count"), [(1, 2), (5, 40), (40, 41), (1000, 40), (20000, 60)])
def test_snapshots_start_and_end_the_run_and_are_dense_early(steps, count):
    chosen = snapshot_steps(steps, count)
    assert chosen[0] == 0
    assert chosen[-1] == steps
    assert all(np.diff(chosen) > 0)
    assert min(count, steps + 1) <= len(chosen) <= 1.2 * count + 2
    if steps >= 1000:
        assert chosen[1:4] == [1, 2, 3]
        assert max(np.diff(chosen)) == chosen[-1] - chosen[-2]
