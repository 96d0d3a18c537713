from dataclasses import replace
from pathlib import Path

import numpy as np
from ntkflow_validation.regimes import convolutional
from ntkflow_validation.regimes.cells import BASE, LAZY, RAW, SMALL, Scale, cells


def test_sixty_runs_and_those_that_matter_first():
    found = cells(Scale())
    assert len({c.name for c in found}) == len(found) == 60
    assert all(c.gamma == SMALL and c.inputs != "collapsed" for c in found[:24])
    first, lazy, last = found[:24], found[24:39], found[39:]
    assert all(c.gamma == LAZY and c.inputs in RAW for c in lazy)
    assert {(c.inputs, c.width) for c in found[-3:]} == {("fashion-mnist", 1024)}
    for part in (first, lazy, last):
        assert [c.cost for c in part] == sorted(c.cost for c in part)


def test_a_run_is_the_one_of_the_theory():
    model = cells(Scale())[0].recipe.model
    assert (model.features, model.depth, model.parametrisation) == (12, 2, "ntk")
    assert not model.hidden_bias
    assert not model.readout_bias
    training = cells(Scale())[0].recipe.training
    assert not training.momentum
    assert not training.weight_decay
    assert not training.batch_per_class


def test_a_digest_tells_settings_apart_and_not_folders():
    cell = next(c for c in cells(Scale()) if c.inputs == "equalised")
    assert "/" not in str(cell.settings)
    other = cells(Scale(base=replace(BASE, training=replace(BASE.training, snapshots=23))))
    assert cell.digest not in {c.digest for c in other}
    assert len({c.digest for c in cells(Scale())}) == 60


def test_convolutional_networks_are_those_of_the_file_of_expectations():
    found = convolutional.cells(3)
    assert len({c.name for c in found}) == len({c.digest for c in found}) == 30
    assert not {c.digest for c in found} & {c.digest for c in cells(Scale())}
    assert [c.cost for c in found] == sorted(c.cost for c in found)
    for c in found:
        model, training = c.recipe.model, c.recipe.training
        assert (model.name, model.features, model.parametrisation, model.norm) == ("cnn", 12, "ntk", "none")
        assert model.readout == {"flat": "linear", "pooled": "pool"}[c.network]
        assert not model.hidden_bias
        assert not model.readout_bias
        assert (training.steps, training.stability) == {SMALL: (1000, 0.1), LAZY: (4000, 0.5)}[c.gamma]
        assert (model.width, c.gamma) != (64, LAZY)


def test_made_inputs_are_a_file_and_others_a_name(tmp_path):
    np.savez(
        tmp_path / "equalised-seed0.npz", X=np.zeros((120, 4), np.float32), y=np.repeat(np.arange(10), 12)
    )
    made = next(c for c in cells(Scale()) if c.inputs == "equalised" and c.seed == 0)
    data = made.config(tmp_path).data
    assert (Path(data.name).parent, data.classes, data.per_class) == (tmp_path.resolve(), 10, 12)
    raw = cells(Scale())[0]
    assert raw.config(tmp_path) is raw.recipe
