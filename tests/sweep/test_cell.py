from dataclasses import replace

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.runs import files, simulate
from ntkflow.runs.border.records import document
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.summary import summarise
from ntkflow.sweep import cell, parse_axis
from ntkflow.sweep import grid as grids
from ntkflow.sweep.columns import rows
from ntkflow.sweep.grid import Grid
from ntkflow.sweep.spec import SweepSpec
from tests.sweep.grids import BASE, grid


def test_the_same_configuration_has_the_same_address():
    assert grids.key_of(BASE) == grids.key_of(replace(BASE))
    assert grids.key_of(BASE) == grids.key_of(replace(BASE, t_end=0.5, classes=2))


def test_a_default_given_has_the_address_of_one_left_out():
    assert grids.key_of(BASE) == grids.key_of(replace(BASE, kappa_d=1, kappa_c=0.5, seed=0, scale=1.0))


def test_a_field_at_its_default_adds_nothing():
    # Fields that come later leave the addresses of cells as they are.
    assert grids.key_of(SimulateConfig()) == grids._digest(f'{{"version":"{nf.__version__}"}}')


CHANGES = {
    "classes": 3, "per_class": 3, "features": 4, "kappa_d": 1.1, "kappa_c": 0.6, "kappa_n": 0.2, "init": "relu",
    "scale": 2.0, "seed": 1, "loss": "cross-entropy", "decay_w": 0.1, "decay_h": 0.1, "decay_b": 0.1, "t_end": 0.6,
    "rtol": 1e-7, "engine": "DOP853", "form": "raw", "stop_nc1": 1e-7, "stop_loss": 1e-3, "stationarity": 1e-9,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_any_change_has_another_address(name):
    assert grids.key_of(replace(BASE, **{name: CHANGES[name]})) != grids.key_of(BASE)


def test_an_axis_over_the_number_of_steps_replaces_the_end_time_of_the_base():
    steps = Grid(grid("steps=2,5", base=replace(BASE, step_size=0.01, t_end=0.5)))
    assert [(c.problem, c.config.steps, c.config.t_end) for c in steps] == [(None, 2, None), (None, 5, None)]
    found = cell.run_cell(steps[1].config)
    assert found["row"]["solver.steps"] == 5
    back = Grid(grid("t_end=0.1,0.2", base=steps[0].config))
    assert [(c.config.steps, c.config.t_end) for c in back] == [(None, 0.1), (None, 0.2)]


def test_the_version_is_part_of_the_address(monkeypatch):
    before = grids.key_of(BASE)
    monkeypatch.setattr(grids, "__version__", "9.9.9")
    assert grids.key_of(BASE) != before


def test_a_file_is_addressed_by_its_content(tmp_path):
    sizes, kernel = nf.Sizes(2, 2, 3), nf.BlockKernel(1, 0.5, 0.1)
    keys = []
    for name, seed in (("a.npz", 0), ("b.npz", 0), ("c.npz", 1)):
        files.write_state(
            tmp_path / name, nf.initial.make("gaussian", sizes, kernel, seed), sizes.labels, kernel
        )
        keys.append(grids.key_of(SimulateConfig(state=tmp_path / name)))
    assert keys[0] == keys[1] != keys[2]


def test_every_field_the_configuration_will_ever_have_is_in_the_address():
    assert set(grids.plain_config(BASE)) == set(vars(BASE))


def test_a_cell_that_cannot_be_prepared_says_why_and_has_an_address_of_its_own():
    good, bad, worse = Grid(grid("kappa_d=1,0.2,0.1"))
    assert good.problem is None
    assert "kappa_d >= kappa_c" in str(bad.problem)
    assert len({good.key, bad.key, worse.key}) == 3


def test_a_run_that_fails_gives_its_message_and_never_raises():
    assert "must be one of" in cell.run_cell(replace(BASE, engine="euler"))["error"]["message"]


def test_a_finished_cell_has_plain_values_only():
    content = cell.run_cell(BASE)
    assert set(content) == {"row"}
    assert {type(value) for value in content["row"].values()} == {float, str}
    assert content["row"]["reason"] == "t_end"
    assert content["row"]["final.bias_spread"] > 0
    assert content["row"]["series.W_norm.initial"] > 0


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
            one.get("row", {}).pop("solver.seconds", None)
        np.testing.assert_equal(content, alone)
    assert "must be one of" in together[1]["error"]["message"]
    engines = [content["row"]["solver.engine"] for k, content in enumerate(together) if k != 1]
    assert engines[0] == engines[2] == "lockstep"
    assert "lockstep" not in (engines[1], engines[3])
    monkeypatch.setattr(cell, "solve_many", lambda tasks, keep: 1 / 0)
    assert "error" not in cell.run_cell(configs[0])
    assert cell.gains(configs[0])
    assert not any(map(cell.gains, configs[1:3]))


def test_the_one_cell_of_a_sweep_is_solved_by_itself():
    alone, among = (work(replace(BASE, seed=1))["row"] for work in (cell.run_single, cell.run_cell))
    assert alone["solver.engine"] != "lockstep" == among["solver.engine"]
    assert alone["nc.NC1.final"] == pytest.approx(among["nc.NC1.final"], rel=1e-5)


def test_cells_of_linear_layers_have_the_numbers_of_others_and_their_own():
    base = SimulateConfig(classes=2, per_class=2, features=3, init="aligned", scale=0.6, t_end=20.0)
    axes = (parse_axis("depth=1,2"), parse_axis("decay_layers,decay_w=0.05,5"))
    every = list(Grid(SweepSpec(base, axes)))
    rows = [found["row"] for found in cell.run_cells([c.config for c in every])]
    # Above the threshold the contrast dies; below it the end is p_+ of the theory (18.8).
    assert [row["outcome.contrasts"] for row in rows] == [1, 0, 1, 0]
    assert all(row["outcome.agrees"] == row["predicted.verdict.certain"] == 1 for row in rows)
    for row in (rows[0], rows[2]):
        assert row["series.p_least.final"] == pytest.approx(row["theory.p_high"], rel=1e-4)
    assert "theory.p_high" not in rows[1]
    assert max(row["nc.NC1.final"] for row in rows) < 1e-6
    assert len({one.key for one in every}) == 4
    assert all(one.problem is None for one in every)
    wrong = cell.run_cell(replace(base, depth=2, decay_h=0.1))
    assert wrong["error"]["kind"] == "InputError"


def test_cells_are_written_some_at_a_time_and_none_waits_for_long(monkeypatch):
    written = []
    monkeypatch.setattr(cell, "LOT", 2)
    prepared = simulate.prepare(replace(BASE, t_end=0.01))
    solution = simulate.run(prepared)
    lot = cell._Lot(lambda number, content: written.append((number, "row" in content)))
    lot.add(0, prepared, solution)
    assert not written
    lot.add(1, prepared, replace(solution))
    assert written == [(0, True), (1, True)]
    # What one solution does to the evaluation of all is no loss to any.
    monkeypatch.setattr(cell.Solution, "look_at_ends", lambda solutions: 1 / 0)
    monkeypatch.setattr(cell, "PATIENCE", -1.0)
    lot.add(2, prepared, replace(solution))
    assert written[-1] == (2, True)


def test_the_numbers_of_a_summary_are_those_of_its_document():
    for changes in (
        {},
        {"decay_w": 0.1, "decay_h": 0.1},
        {"learning_rate": 0.1},
        {"step_size": 1e-3, "steps": 3, "t_end": None},
    ):
        prepared = simulate.prepare(replace(BASE, **changes))
        solution = simulate.run(prepared)
        summary, ends = summarise(solution, prepared), cell.ends(solution)
        assert rows.row_of_record(summary, ends) == rows.row_of(document(summary), ends)


def test_cells_of_linear_layers_go_together_and_no_digit_depends_on_others(monkeypatch):
    base = SimulateConfig(classes=2, per_class=2, widths=(3, 3), scale=0.6, t_end=1.0)
    configs = [replace(base, seed=k) for k in range(2)] + [
        replace(base, decay_h=0.1),
        replace(base, loss="cross-entropy"),
    ]
    together = cell.run_cells(configs)
    for config, content in zip(configs, together, strict=True):
        alone = cell.run_cell(config)
        for one in (content, alone):
            one.get("row", {}).pop("solver.seconds", None)
        np.testing.assert_equal(content, alone)
    assert together[2]["error"]["kind"] == "InputError"
    by_itself = cell.run_single(configs[1])["row"]
    for name in ("nc.NC1.final", "series.kappa_n_W.final", "series.NC3_layer1.final"):
        assert together[1]["row"][name] == pytest.approx(by_itself[name], rel=1e-6)
    assert cell.gains(configs[0])
    assert not any(map(cell.gains, configs[2:]))
    monkeypatch.setattr(cell, "solve_layers_many", lambda tasks, keep: 1 / 0)
    assert "row" in cell.run_cell(configs[0])
