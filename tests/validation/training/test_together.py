"""Networks trained as one program against the same ones trained alone."""

from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.training.together import Member, train_together
from ntkflow_validation.training.train import CHUNK, DivergedError, prepare, start, train

from ntkflow.errors import InputError
from tests.emulated import emulated

CONFIG = RunConfig(
    data=DataConfig(classes=3, per_class=4),
    model=ModelConfig(name="mlp", features=6, width=8, depth=1),
    training=TrainConfig(
        steps=60,
        learning_rate=0.1,
        momentum=0.5,
        weight_decay=1e-3,
        batch_per_class=2,
        snapshots=4,
        warmup=5,
        drop_every=9,
    ),
)


def variants(config=CONFIG):
    yield config
    yield replace(config, training=replace(config.training, learning_rate=0.3))
    yield replace(config, model=replace(config.model, init="uniform"))
    yield replace(config, seed=3)


def member(config, **more):
    return Member(config, *prepare(config), **more)


def alone(config, **more):
    return list(train(config, *prepare(config), **more))


@pytest.mark.parametrize(
    ("batch_per_class", "emulation"),
    [
        (2, ()),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((0, ()), (0, ("gpu",)), (2, ("gpu",)))),
    ],
)
def test_each_has_the_numbers_that_it_has_alone(batch_per_class, emulation):
    config = replace(CONFIG, training=replace(CONFIG.training, batch_per_class=batch_per_class))
    with emulated(*emulation):
        found = list(train_together([member(c) for c in variants(config)]))
    for k, one in enumerate(variants(config)):
        expected = alone(one)
        assert [row[k].step for row in found] == [s.step for s in expected]
        for row, snapshot in zip(found, expected, strict=True):
            assert row[k].time == snapshot.time
            for part in ("H", "W", "b"):
                np.testing.assert_allclose(
                    getattr(row[k].state, part), getattr(snapshot.state, part), rtol=1e-4, atol=1e-5
                )
        assert np.abs(expected[-1].state.W - expected[0].state.W).max() > 0.01


@pytest.mark.slow
def test_one_that_diverges_costs_the_others_nothing():
    bad = replace(CONFIG, training=replace(CONFIG.training, learning_rate=1e30))
    rows = list(train_together([member(CONFIG), member(bad)]))
    expected = alone(CONFIG)
    assert isinstance(rows[-1][1], DivergedError)
    assert rows[0][1].step == 0
    np.testing.assert_allclose(rows[-1][0].state.W, expected[-1].state.W, rtol=1e-4, atol=1e-5)
    # Nobody left: it ends.
    assert len(list(train_together([member(bad)]))) < len(expected)


def test_they_go_on_from_a_checkpoint_to_the_last_bit(monkeypatch):
    # Chunks of the loop are short.
    monkeypatch.setattr("ntkflow_validation.training.together.on_accelerator", lambda: False)
    kept = [{}, {}]
    configs = list(variants())[:2]
    whole = list(
        train_together([member(c, checkpoint=k.__setitem__) for c, k in zip(configs, kept, strict=True)])
    )
    assert set(kept[0]) == {CHUNK}
    rest = list(
        train_together([member(c, resume=(CHUNK, k[CHUNK])) for c, k in zip(configs, kept, strict=True)])
    )
    for a, b in zip(whole[-1], rest[-1], strict=True):
        np.testing.assert_array_equal(a.state.W, b.state.W)


def test_what_cannot_be_one_program_is_refused():
    other = replace(CONFIG, model=replace(CONFIG.model, width=9))
    with pytest.raises(InputError, match="learning rate, initialisation and seed alone"):
        list(train_together([member(CONFIG), member(other)]))
    slower = replace(CONFIG, training=replace(CONFIG.training, momentum=0.1))
    with pytest.raises(InputError, match="learning rate, initialisation and seed alone"):
        list(train_together([member(CONFIG), member(slower)]))
    with pytest.raises(InputError, match="same step"):
        list(
            train_together(
                [member(CONFIG), member(CONFIG, resume=(3, start(prepare(CONFIG)[1], CONFIG.training)))]
            )
        )
    with pytest.raises(InputError, match="at least one"):
        list(train_together([]))
