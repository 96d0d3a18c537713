import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ntkflow_validation.config.config import TrainConfig
from ntkflow_validation.training.steps import (
    flow_times,
    inertia_step,
    learning_rate,
    loss_scale,
    snapshot_steps,
    theory_decay,
    total_steps,
)
from ntkflow_validation.training.train import optimiser

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


def test_the_cross_entropys_mean_is_over_samples_only():
    config = TrainConfig(steps=10, learning_rate=0.5, loss="cross-entropy")
    np.testing.assert_allclose(flow_times(config, N, C), 0.5 / N * np.arange(11), rtol=1e-14)
    assert loss_scale(TrainConfig(loss="cross-entropy", reduction="sum", batch_per_class=2), N, C) == 2.0


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(
    "schedule", [{}, {"warmup": 5}, {"drop_every": 4, "batch_per_class": 2, "warmup": 3}]
)
def test_time_is_the_distance_travelled_under_a_constant_gradient(momentum, nesterov, schedule):
    if nesterov and momentum == 0:
        return
    config = TrainConfig(
        steps=30, learning_rate=0.25, momentum=momentum, nesterov=nesterov, reduction="sum", **schedule
    )
    rule, position, distances = optimiser(config, N // C), jnp.zeros(1), [0.0]
    state = rule.init(position)
    for _ in range(config.steps):
        updates, state = rule.update(-jnp.ones(1), state, position)
        position = optax.apply_updates(position, updates)
        distances.append(float(position[0]))
    expected = flow_times(config, N, C) * loss_scale(config, N, C)
    np.testing.assert_allclose(expected, distances, rtol=2e-6)


def test_the_rate_falls_tenfold_after_so_many_epochs():
    config = TrainConfig(learning_rate=1.0, drop_every=2, batch_per_class=3)
    rates = learning_rate(config, np.arange(20), per_class=12)  # 4 steps an epoch
    np.testing.assert_allclose(rates, [1.0] * 8 + [0.1] * 8 + [0.01] * 4, rtol=1e-12)
    np.testing.assert_allclose(learning_rate(config, jnp.asarray(8), per_class=12), 0.1, rtol=1e-6)
    # the paper's: 400 epochs of 451 steps, 120 epochs at each rate
    paper = TrainConfig(epochs=400, drop_every=120, batch_per_class=12, momentum=0.9, nesterov=True)
    assert total_steps(paper, 5412) == 400 * 451
    edges = learning_rate(paper, np.array([0, 120 * 451 - 1, 120 * 451, 240 * 451, 360 * 451]), 5412)
    np.testing.assert_allclose(edges / paper.learning_rate, [1, 1, 0.1, 0.01, 0.001])


def test_epochs_become_steps_and_are_rounded_up():
    assert total_steps(TrainConfig(steps=7), 12) == 7
    assert total_steps(TrainConfig(epochs=5), 12) == 5
    assert total_steps(TrainConfig(epochs=3, batch_per_class=5), 12) == 8  # 7.2
    assert len(flow_times(TrainConfig(epochs=3, batch_per_class=5), 36, 3)) == 9


def test_decay_in_the_theorys_units_shrinks_E_as_the_papers_setting_does():
    config = TrainConfig(
        epochs=400, learning_rate=1e-2, drop_every=120, batch_per_class=12, momentum=0.9, nesterov=True,
        weight_decay=5e-4,
    )  # fmt: skip
    t = flow_times(config, 54120, 10)[-1]
    assert 2 * theory_decay(config, 54120, 10) * t == pytest.approx(601 * 1e-2, rel=1e-3)


@pytest.mark.parametrize("nesterov", [False, True])
def test_inertia_is_the_second_order_of_a_decaying_mode(nesterov):
    """x' = -rate x - (eta_eff/2) rate^2 x predicts the decay of the iterates up to the square of the step."""
    rate, errors = 1.0, []
    for eta in (2e-3, 1e-3):
        config = TrainConfig(learning_rate=eta, momentum=0.6, nesterov=nesterov, reduction="sum")
        b = config.momentum
        # v+ = b v + rate x, x+ = x - eta v+ (Nesterov: x - eta (rate x + b v+)), as a map of (x, v)
        own, carried = (1 + b, b * b) if nesterov else (1, b)
        step = np.array([[1 - eta * rate * own, -eta * carried], [rate, b]])
        root = np.abs(np.linalg.eigvals(step)).max()
        observed = -np.log(root) / (eta / (1 - b))
        errors.append(abs(observed - rate - inertia_step(config, N, C) / 2 * rate**2))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_momentum_ends_up_running_one_over_one_minus_beta_times_faster():
    slow, fast = (np.diff(flow_times(TrainConfig(steps=300, momentum=m), N, C))[-1] for m in (0.0, 0.9))
    assert fast / slow == pytest.approx(10.0, rel=1e-10)


def test_warmup_rises_to_the_peak_and_stays():
    config = TrainConfig(learning_rate=0.4, warmup=4)
    np.testing.assert_allclose(learning_rate(config, np.arange(6), 4), [0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    np.testing.assert_allclose(learning_rate(config, jnp.asarray(1), 4), 0.2, rtol=1e-6)


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


@pytest.mark.parametrize(
    ("steps", "count", "expected"), [(6, 4, [0, 2, 4, 6]), (2, 9, [0, 1, 2]), (1, 2, [0, 1])]
)
def test_even_snapshots_are_a_constant_number_of_steps_apart(steps, count, expected):
    assert snapshot_steps(steps, count, "even") == expected
