from dataclasses import replace

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.runs import files
from ntkflow.runs.config import SimulateConfig
from ntkflow.sweep import cell
from tests.sweep.grids import BASE, grid


def test_the_same_configuration_has_the_same_address():
    assert cell.key_of(BASE) == cell.key_of(replace(BASE))
    assert cell.key_of(BASE) == cell.key_of(replace(BASE, t_end=0.5, classes=2))


def test_a_default_given_has_the_address_of_one_left_out():
    assert cell.key_of(BASE) == cell.key_of(replace(BASE, kappa_d=1, kappa_c=0.5, seed=0, scale=1.0))


CHANGES = {
    "classes": 3, "per_class": 3, "features": 4, "kappa_d": 1.1, "kappa_c": 0.6, "kappa_n": 0.2, "init": "relu",
    "scale": 2.0, "seed": 1, "loss": "cross-entropy", "decay_w": 0.1, "decay_h": 0.1, "decay_b": 0.1, "t_end": 0.6,
    "rtol": 1e-7, "engine": "DOP853", "form": "raw", "stop_nc1": 1e-7, "stop_loss": 1e-3, "stationarity": 1e-9,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_any_change_has_another_address(name):
    assert cell.key_of(replace(BASE, **{name: CHANGES[name]})) != cell.key_of(BASE)


def test_an_axis_over_the_number_of_steps_replaces_the_end_time_of_the_base():
    steps = cell.cells(grid("steps=2,5", base=replace(BASE, step_size=0.01, t_end=0.5)))
    assert [(c.problem, c.config.steps, c.config.t_end) for c in steps] == [(None, 2, None), (None, 5, None)]
    found = cell.run_cell(steps[1].config)
    assert found["summary"]["solver"]["steps"] == 5
    back = cell.cells(grid("t_end=0.1,0.2", base=steps[0].config))
    assert [(c.config.steps, c.config.t_end) for c in back] == [(None, 0.1), (None, 0.2)]


def test_the_version_is_part_of_the_address(monkeypatch):
    before = cell.key_of(BASE)
    monkeypatch.setattr(cell, "__version__", "9.9.9")
    assert cell.key_of(BASE) != before


def test_a_file_is_addressed_by_its_content(tmp_path):
    sizes, kernel = nf.Sizes(2, 2, 3), nf.BlockKernel(1, 0.5, 0.1)
    keys = []
    for name, seed in (("a.npz", 0), ("b.npz", 0), ("c.npz", 1)):
        files.write_state(
            tmp_path / name, nf.initial.make("gaussian", sizes, kernel, seed), sizes.labels, kernel
        )
        keys.append(cell.key_of(SimulateConfig(state=tmp_path / name)))
    assert keys[0] == keys[1] != keys[2]


def test_every_field_the_configuration_will_ever_have_is_in_the_address():
    assert set(cell.plain_config(BASE)) == set(vars(BASE))


def test_a_cell_that_cannot_be_prepared_says_why_and_has_an_address_of_its_own():
    good, bad, worse = cell.cells(grid("kappa_d=1,0.2,0.1"))
    assert good.problem is None
    assert "kappa_d >= kappa_c" in str(bad.problem)
    assert len({good.key, bad.key, worse.key}) == 3


def test_a_run_that_fails_gives_its_message_and_never_raises():
    assert "must be one of" in cell.run_cell(replace(BASE, engine="euler"))["error"]["message"]


def test_a_finished_cell_has_plain_values_only():
    content = cell.run_cell(BASE)
    assert set(content) == {"config", "summary", "ends"}
    files.dump_json(content)
    assert content["ends"]["final"]["bias_spread"] > 0
    assert content["ends"]["series"]["W_norm"]["initial"] > 0


def test_cells_run_together_are_those_run_alone_and_one_bad_one_costs_no_other(monkeypatch):
    wide = replace(BASE, features=24, per_class=12, init="relu", t_end=0.01)
    configs = [
        replace(BASE, seed=1),
        replace(BASE, engine="euler"),
        replace(BASE, t_end=None, step_size=1e-3, steps=3),
        replace(BASE, seed=2),
        wide,
    ]
    together = cell.run_cells(configs)
    for config, content in zip(configs, together, strict=True):
        alone = cell.run_cell(config)
        for one in (content, alone):
            one.get("summary", {"solver": {}})["solver"].pop("seconds", None)
        np.testing.assert_equal(content, alone)
    assert "must be one of" in together[1]["error"]["message"]
    engines = [content["summary"]["solver"]["engine"] for k, content in enumerate(together) if k != 1]
    assert engines[0] == engines[2] == "lockstep"
    assert "lockstep" not in (engines[1], engines[3])
    monkeypatch.setattr(cell, "solve_many", lambda tasks, keep: 1 / 0)
    assert "error" not in cell.run_cell(configs[0])
    assert cell.gains(configs[0])
    assert not any(map(cell.gains, configs[1:3]))
