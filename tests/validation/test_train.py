from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkflow.errors import InputError
from validation.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from validation.datasets import batch_indices
from validation.models.base import named_leaves
from validation.pipeline import prepare
from validation.train import accuracy, head, make_step, optimiser, probe, start, sum_loss, train

CONFIG = RunConfig(
    data=DataConfig(classes=3, per_class=4),
    model=ModelConfig(name="mlp", features=6, width=8, depth=1),
    training=TrainConfig(
        steps=20, learning_rate=0.1, momentum=0.5, weight_decay=1e-3, batch_per_class=2, snapshots=6
    ),
)


def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit():
    dataset, network = prepare(CONFIG)
    whole = list(train(CONFIG, dataset, network))
    middle = whole[len(whole) // 2]
    rest = list(train(CONFIG, dataset, network, resume=(middle.step, middle.train)))
    assert [s.step for s in rest] == [s.step for s in whole if s.step > middle.step]
    last, again = named_leaves(whole[-1].train._asdict()), named_leaves(rest[-1].train._asdict())
    assert last.keys() == again.keys()
    for name in last:
        np.testing.assert_array_equal(last[name], again[name])


def test_snapshots_hold_the_states_the_theory_speaks_of():
    dataset, network = prepare(CONFIG)
    snapshot = list(train(CONFIG, dataset, network))[-1]
    variables = snapshot.train.variables
    assert snapshot.sizes.as_dict() == {"C": 3, "m": 4, "n": 6, "N": 12}
    module_outputs, _ = network.train_outputs(variables.params, variables.statistics, jnp.asarray(dataset.x))
    np.testing.assert_allclose(snapshot.state.logits, np.asarray(module_outputs).T, atol=1e-5)
    loss = float(sum_loss(module_outputs, jnp.asarray(dataset.labels.astype(np.int32))))
    R = snapshot.state.logits - np.repeat(np.eye(3), 4, axis=1)
    assert loss == pytest.approx(np.sum(R**2) / 2, rel=1e-5)
    assert accuracy(network, variables, dataset.x, dataset.labels) > 0.9
    assert np.isnan(accuracy(network, variables, dataset.x[:0], dataset.labels[:0]))


def test_networks_stay_float32_and_training_reduces_the_loss():
    dataset, network = prepare(CONFIG)
    snapshots = list(train(CONFIG, dataset, network))
    assert all(leaf.dtype == np.float32 for leaf in snapshots[-1].train.variables.named().values())
    first, last = (
        np.sum((s.state.logits - np.repeat(np.eye(3), 4, axis=1)) ** 2) for s in (snapshots[0], snapshots[-1])
    )
    assert last < 0.5 * first


def test_decay_spares_the_biases():
    rule = optimiser(TrainConfig(learning_rate=0.5, weight_decay=0.1))
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    updates, _ = rule.update(jax.tree.map(jnp.zeros_like, params), rule.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(updates["bias"], 0)


def test_step_k_is_taken_on_batch_k():
    dataset, network = prepare(CONFIG)
    step, state = make_step(network, CONFIG.training), start(network, CONFIG.training)
    for k in range(CONFIG.training.steps):
        chosen = batch_indices(dataset.labels, 3, 2, CONFIG.seed, k)
        state = step(
            state, jnp.asarray(dataset.x[chosen]), jnp.asarray(dataset.labels[chosen].astype(np.int32))
        )
    last = list(train(CONFIG, dataset, network))[-1]
    np.testing.assert_array_equal(head(state.variables)[0], last.state.W)


def test_batch_statistics_move_in_training_and_do_not_couple_samples_when_measured():
    config = replace(
        CONFIG,
        model=ModelConfig(features=4, width=2, norm="batch"),
        training=TrainConfig(steps=2, snapshots=2),
    )
    dataset, network = prepare(config)
    variables = list(train(config, dataset, network))[-1].train.variables
    moved = [
        np.any(a != b)
        for a, b in zip(
            jax.tree.leaves(variables.statistics), jax.tree.leaves(network.initial.statistics), strict=True
        )
    ]
    assert moved
    assert all(moved)
    alone = np.hstack([probe(network, variables, dataset.x[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(alone, probe(network, variables, dataset.x)[:, :4], atol=1e-5)


def test_divergence_names_the_learning_rate():
    config = replace(CONFIG, training=TrainConfig(steps=60, learning_rate=1e6, snapshots=5))
    dataset, network = prepare(config)
    with pytest.raises(InputError, match=r"training\.learning_rate = 1000000\.0: training diverged"):
        list(train(config, dataset, network))


def test_the_same_seed_gives_the_same_start_and_another_seed_another():
    named = [start(prepare(replace(CONFIG, seed=s))[1], CONFIG.training).variables.named() for s in (0, 0, 1)]
    kernel = "params.head.kernel"
    np.testing.assert_array_equal(named[0][kernel], named[1][kernel])
    assert np.any(named[0][kernel] != named[2][kernel])
