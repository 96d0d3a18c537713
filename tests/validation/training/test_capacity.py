"""How many networks a device holds is told before they are trained."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jax
import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.memory import device_memory
from ntkflow_validation.sweep.together import require_room_for
from ntkflow_validation.training import capacity
from ntkflow_validation.training.capacity import Needs, needs
from ntkflow_validation.training.together import Member, train_together
from ntkflow_validation.training.train import prepare, start

from ntkflow.errors import InputError
from tests.emulated import emulated, plain

CONFIG = RunConfig(
    data=DataConfig(classes=3, per_class=4),
    model=ModelConfig(name="mlp", features=6, width=8, depth=1),
    training=TrainConfig(steps=4, learning_rate=0.1, momentum=0.5, batch_per_class=2, snapshots=2),
)


def told(**training):
    config = replace(CONFIG, training=replace(CONFIG.training, **training))
    dataset, network = prepare(config)
    state = jax.tree.leaves(start(network, config.training))
    return [needs(network, config, dataset.input_shape, 12, shared) for shared in (True, False)], state


def test_samples_are_counted_once_or_for_each_and_states_before_and_after_a_step():
    (shared, apart), state = told()
    data = 12 * 8 * 8 * 4
    assert shared.common == data
    assert (apart.common, apart.each) == (0, shared.each + data)
    assert shared.each >= 2 * sum(leaf.nbytes for leaf in state)
    # Twice the samples of a step, and what it holds of them.
    (larger, _), _ = told(batch_per_class=4)
    assert larger.each >= shared.each + 6 * 8 * 8 * 4
    assert shared.of(5) == data + 5 * shared.each
    assert shared.most(shared.of(5)) == 5
    assert shared.most(shared.of(5) - 1) == 4
    assert Needs(10, 1).most(3) == 0


def test_more_than_the_device_holds_are_refused_before_the_first_step(monkeypatch):
    dataset, network = prepare(CONFIG)
    (shared, _), _ = told()
    rates = [replace(CONFIG, training=replace(CONFIG.training, learning_rate=r)) for r in (0.1, 0.2, 0.3)]
    members = [Member(config, dataset, network) for config in rates]
    monkeypatch.setattr(capacity, "training_memory", lambda sharing=1: shared.of(2) // sharing)
    with pytest.raises(InputError, match=r"members = 3: need about .* GiB of .* GiB; train 2 at once"):
        next(train_together(members))
    assert all(np.isfinite(one.state.W).all() for one in next(train_together(members[:2])))
    # A sweep says it before it begins, with the number to give; workers on a CPU share its memory.
    with ThreadPoolExecutor(1) as pool:
        require_room_for(rates, 2, pool)
        with pytest.raises(InputError, match=r"together = 3: .*; use --together 2"):
            require_room_for(rates, 8, pool)
    with (
        ThreadPoolExecutor(2) as pool,
        pytest.raises(InputError, match=r"together = 2: .*; use --together 1"),
    ):
        require_room_for(rates, 2, pool)
    # One is not refused.
    monkeypatch.setattr(capacity, "training_memory", lambda sharing=1: 1)
    assert len(next(train_together(members[:1]))) == 1


def test_a_machine_tells_how_much_it_has():
    with plain("gpu"):
        most = capacity.training_memory()
        assert most > 2**28
        assert capacity.training_memory(4) == most // 4
    # Workers have an accelerator's memory shared out to them.
    with emulated("gpu"):
        assert capacity.training_memory(4) == capacity.training_memory() == device_memory()
