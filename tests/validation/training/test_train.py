from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.datasets import batch_indices
from ntkflow_validation.metrics.compare import observables
from ntkflow_validation.models.base import named_leaves
from ntkflow_validation.pipeline.pipeline import prepare
from ntkflow_validation.precision import full
from ntkflow_validation.runs.measurement_run import measure_snapshot
from ntkflow_validation.training.objective import sum_loss
from ntkflow_validation.training.steps import recipe_clock
from ntkflow_validation.training.train import (
    CHUNK,
    DivergedError,
    accuracy,
    chosen_rate,
    head,
    make_step,
    optimiser,
    prepared_start,
    probe,
    start,
    train,
)

from ntkflow.errors import InputError
from ntkflow.problem.state import class_means

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
    module_outputs, _ = full(network.train_outputs)(
        variables.params, variables.statistics, jnp.asarray(dataset.x)
    )
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


@pytest.mark.parametrize(("decay_on", "of_bias"), [("weights", 0.0), ("all", -0.05)])
def test_decay_spares_the_biases_unless_told(decay_on, of_bias):
    rule = optimiser(TrainConfig(learning_rate=0.5, weight_decay=0.1, decay_on=decay_on), 4)
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    updates, _ = rule.update(jax.tree.map(jnp.zeros_like, params), rule.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], of_bias, rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_steps_as_in_its_library_with_the_decay_of_its_name(name, decay):
    recipe = TrainConfig(
        optimiser=name,
        learning_rate=0.5,
        weight_decay=decay,
        decay_on="all",
        beta1=0.8,
        beta2=0.9,
        epsilon=1e-3,
    )
    settings = {"b1": 0.8, "b2": 0.9, "eps": 1e-3}
    theirs = optax.adamw(0.5, weight_decay=decay, **settings)
    if name == "adam":
        theirs = optax.chain(optax.add_decayed_weights(decay), optax.adam(0.5, **settings))
    points = []
    for rule in (optimiser(recipe, 4), theirs):
        x, gradient = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.1])
        state = rule.init(x)
        for _ in range(3):
            updates, state = rule.update(gradient * x, state, x)
            x = optax.apply_updates(x, updates)
        points.append(x)
    np.testing.assert_allclose(*points, rtol=1e-6)


def test_adam_trains_in_steps_that_have_no_time():
    recipe = TrainConfig(optimiser="adam", learning_rate=0.01, steps=3, snapshots=3)
    config = replace(CONFIG, training=recipe)
    snapshots = list(train(config, *prepare(config)))
    assert [s.step for s in snapshots] == [0, 1, 2, 3]
    assert np.isnan([s.time for s in snapshots]).all()
    with pytest.raises(InputError, match="no time those of the gradient flow"):
        recipe_clock(recipe, 12, 3)
    assert "adam" in config.unpredicted


def test_step_k_is_taken_on_batch_k():
    dataset, network = prepare(CONFIG)
    step, state = make_step(network, CONFIG.training, 4), start(network, CONFIG.training, 4)
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


@pytest.mark.parametrize("observed", ["recalibrated", "running"])
def test_snapshots_observe_the_network_that_is_trained_unless_averages_are_asked_for(observed):
    config = replace(
        CONFIG,
        model=ModelConfig(features=4, width=2, norm="batch"),
        training=replace(CONFIG.training, steps=6, snapshots=3, observed=observed),
    )
    dataset, network = prepare(config)
    whole = list(train(config, dataset, network))
    for snapshot in whole:
        trained, _ = full(network.train_outputs)(*snapshot.train.variables, jnp.asarray(dataset.x))
        gap = np.abs(snapshot.state.logits - np.asarray(trained).T).max()
        assert gap < 1e-5 if observed == "recalibrated" else gap > 1e-2
    (last,) = list(train(config, dataset, network, resume=(whole[-2].step, whole[-2].train)))
    same = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), last.train, whole[-1].train)
    assert all(jax.tree.leaves(same))
    # Whatever is observed, training itself is the same.
    plain = start(network, config.training, dataset.per_class)
    step = make_step(network, config.training, dataset.per_class)
    for k in range(6):
        rows = batch_indices(dataset.labels, 3, 2, CONFIG.seed, k)
        plain = step(plain, jnp.asarray(dataset.x[rows]), jnp.asarray(dataset.labels[rows].astype(np.int32)))
    np.testing.assert_array_equal(head(plain.variables)[0], whole[-1].state.W)


def test_divergence_is_an_event_with_a_step_and_keeps_what_came_before():
    config = replace(CONFIG, training=TrainConfig(steps=400, learning_rate=1e6, snapshots=5))
    dataset, network = prepare(config)
    seen = []
    with pytest.raises(DivergedError, match="training diverged before step") as caught:
        for snapshot in train(config, dataset, network):
            seen.append(snapshot.step)
    assert seen[0] == 0
    assert caught.value.step <= CHUNK or caught.value.step in (94, 400)


@pytest.mark.parametrize("batch_per_class", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_one_program_on_the_device_does_what_the_loop_does(batch_per_class):
    recipe = replace(
        CONFIG.training, steps=130, batch_per_class=batch_per_class, drop_every=20, nesterov=True
    )
    config = replace(CONFIG, training=recipe)
    dataset, network = prepare(config)
    looped, fused = (list(train(config, dataset, network, fused=fused)) for fused in (False, True))
    assert [s.step for s in looped] == [s.step for s in fused]
    assert np.abs(looped[-1].state.W - looped[0].state.W).max() > 0.05
    for a, b in zip(looped, fused, strict=True):
        np.testing.assert_allclose(a.state.W, b.state.W, atol=1e-5)
        np.testing.assert_allclose(a.state.H, b.state.H, atol=1e-4)


def test_checkpoints_between_snapshots_continue_to_the_last_bit():
    config = replace(CONFIG, training=replace(CONFIG.training, steps=4 * CHUNK, snapshots=3, nesterov=True))
    dataset, network = prepare(config)
    saved = {}
    # Of the loop, whose chunks are short; a program's are ten times as long, and told of one later.
    whole = list(train(config, dataset, network, checkpoint=saved.__setitem__, fused=False))
    assert set(saved) == {CHUNK, 2 * CHUNK, 3 * CHUNK, 4 * CHUNK}
    rest = list(train(config, dataset, network, resume=(3 * CHUNK, saved[3 * CHUNK]), fused=False))
    last, again = (named_leaves(run[-1].train._asdict()) for run in (whole, rest))
    for name in last:
        np.testing.assert_array_equal(last[name], again[name])


def test_the_cross_entropy_is_minimised_and_keeps_its_conserved_sums():
    recipe = TrainConfig(steps=60, learning_rate=0.5, loss="cross-entropy", snapshots=4)
    config = replace(CONFIG, training=recipe)
    dataset, network = prepare(config)
    snapshots = list(train(config, dataset, network))
    assert accuracy(network, snapshots[-1].train.variables, dataset.x, dataset.labels) == 1.0
    # sum_c of softmax(f) - y is zero, so W^T 1 and 1^T b stay (theory 11.7)
    first, last = snapshots[0].state, snapshots[-1].state
    np.testing.assert_allclose(last.W.sum(axis=0), first.W.sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(last.b.sum(), first.b.sum(), atol=1e-5)
    assert np.abs(last.W - first.W).max() > 0.05


def test_frozen_statistics_are_those_of_the_training_set_and_stay():
    config = replace(
        CONFIG,
        model=ModelConfig(name="cnn", features=4, width=2, norm="batch"),
        training=TrainConfig(steps=3, learning_rate=0.1, statistics="frozen", snapshots=2),
    )
    dataset, network = prepare(config)
    variables = prepared_start(network, dataset, config.training).variables
    x = jnp.asarray(dataset.x)
    in_training, _ = full(network.train_outputs)(variables.params, network.initial.statistics, x)
    np.testing.assert_allclose(full(network.outputs)(*variables, x), in_training, atol=1e-4)
    after = list(train(config, dataset, network))[-1].train.variables
    for a, b in zip(*(jax.tree.leaves(v.statistics) for v in (variables, after)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(after.params["head"]["kernel"] != variables.params["head"]["kernel"])


@pytest.mark.parametrize(
    ("settings", "divisor"),
    [
        pytest.param({}, 12 * 3, marks=pytest.mark.slow),
        ({"loss": "cross-entropy"}, 12),
        ({"reduction": "sum"}, 1),
        ({"batch_per_class": 2}, 6 * 3),
    ],
)
def test_a_rate_of_zero_is_a_share_of_the_stability_bound_of_the_whole_ntk(settings, divisor):
    recipe = TrainConfig(learning_rate=0.0, stability=0.2, **settings)
    config = replace(CONFIG, training=recipe)
    dataset, network = prepare(config)
    with pytest.raises(InputError, match="chosen_rate"):
        next(train(config, dataset, network))
    rows = batch_indices(dataset.labels, 3, recipe.batch_per_class, 0, 0)
    params, statistics = network.initial
    jacobian = jax.jacrev(lambda p: network.outputs(p, statistics, jnp.asarray(dataset.x[rows])).ravel())(
        params
    )
    J = np.hstack([np.asarray(leaf).reshape(3 * len(rows), -1) for leaf in jax.tree.leaves(jacobian)])
    bound = 2 * divisor / np.linalg.eigvalsh(J @ J.T)[-1]
    assert chosen_rate(network, dataset, recipe, 0) == pytest.approx(0.2 * bound, rel=1e-3)


def test_snapshots_see_the_probe_only_when_told():
    config = replace(CONFIG, data=replace(CONFIG.data, probe_per_class=2))
    network = prepare(config)[1]
    small, whole = (next(train(c, prepare(c)[0], network)) for c in (config, CONFIG))
    assert small.sizes.as_dict() == {"C": 3, "m": 2, "n": 6, "N": 6}
    np.testing.assert_allclose(small.state.H, whole.state.H[:, [0, 1, 4, 5, 8, 9]], atol=1e-6)
    assert small.time == whole.time


def test_a_last_batch_that_is_not_full_is_observed_like_the_others(monkeypatch):
    dataset, network = prepare(CONFIG)
    whole = probe(network, network.initial, dataset.x)
    monkeypatch.setattr("ntkflow_validation.training.train.PROBE_BATCH", 5)
    np.testing.assert_allclose(probe(network, network.initial, dataset.x), whole, atol=1e-6)


def test_the_same_seed_gives_the_same_start_and_another_seed_another():
    named = [start(prepare(replace(CONFIG, seed=s))[1], CONFIG.training).variables.named() for s in (0, 0, 1)]
    kernel = "params.head.kernel"
    np.testing.assert_array_equal(named[0][kernel], named[1][kernel])
    assert np.any(named[0][kernel] != named[2][kernel])


def test_the_stages_of_a_run_share_what_was_prepared(monkeypatch):
    dataset, network = prepare(CONFIG)
    again = prepare(replace(CONFIG))
    assert (again[0], again[1]) == (dataset, network)
    assert again[1] is network
    assert prepare(replace(CONFIG, seed=CONFIG.seed + 1))[1] is not network
    # Files of another folder may be others.
    monkeypatch.setenv("NTKFLOW_DATA", "elsewhere")
    assert prepare(CONFIG)[1] is not network


def test_classes_of_different_sizes_train_on_all_samples_and_are_observed_by_their_sizes():
    data = DataConfig(classes=3, class_sizes=(6, 2, 4))
    config = replace(CONFIG, data=data, training=TrainConfig(steps=1, snapshots=2, learning_rate=0.3))
    dataset, network = prepare(config)
    first, last = train(config, dataset, network)
    assert first.sizes.counts == (6, 2, 4)
    # One step on the mean over all samples and outputs, and its time.
    assert last.time == pytest.approx(0.3 / 36)
    Y = np.eye(3)[:, dataset.labels]
    H, W, b = first.state.H, first.state.W, first.state.b
    R = W @ H + b[:, None] - Y
    np.testing.assert_allclose(last.state.W, W - 0.3 / 36 * R @ H.T, atol=1e-6)
    np.testing.assert_allclose(last.state.b, b - 0.3 / 36 * R.sum(axis=1), atol=1e-6)
    row = observables(first.state, first.sizes)
    assert row["loss"] == pytest.approx(0.5 * np.sum(R**2))
    centred = class_means(H, first.sizes)
    assert row["M_norm"] == pytest.approx(np.linalg.norm(centred - centred.mean(axis=1, keepdims=True)))


def test_a_head_without_bias_has_none_to_train_and_zeros_to_record():
    config = replace(
        CONFIG, model=replace(CONFIG.model, head_bias=False), training=TrainConfig(steps=1, snapshots=2)
    )
    dataset, network = prepare(config)
    first, last = train(config, dataset, network)
    assert "bias" not in last.train.variables.params["head"]
    assert not last.state.b.any()
    H, W = first.state.H, first.state.W
    R = W @ H - np.eye(3)[:, dataset.labels]
    np.testing.assert_allclose(last.state.W, W - 0.5 / R.size * R @ H.T, atol=1e-6)
    # The outputs' kernel has no part of a bias: entry 1 less on the diagonal than with one.
    found = measure_snapshot(network, first.train.variables, dataset, KernelConfig(quantities=("outputs",)))
    params, statistics = first.train.variables
    jacobian = full(jax.jacobian(lambda p: network.outputs(p, statistics, jnp.asarray(dataset.x))))(params)
    squares = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(jacobian))
    assert found.outputs.constants["d"].value == pytest.approx(squares / R.size, rel=1e-4)
