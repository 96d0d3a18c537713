import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from ntkflow_validation.config.config import FIRST, RunConfig
from ntkflow_validation.config.presets import preset
from ntkflow_validation.runs.documents import Line
from ntkflow_validation.runs.ends import final_norms
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.sweep import (
    Pair,
    TrainingSweep,
    find_records,
    paper_rates,
    run_sweep,
    sweep_from_tables,
)
from ntkflow_validation.sweep import cell as cell_module
from ntkflow_validation.sweep.estimate import Speed, estimate, in_words, seconds_of
from ntkflow_validation.sweep.grid import CONTENT, PAPER_PAIRS, key_of
from ntkflow_validation.sweep.presets import SWEEPS, sweep_preset
from ntkflow_validation.sweep.records import Content, Record
from ntkflow_validation.sweep.running import tabulate_sweep
from ntkflow_validation.sweep.select import rows_where
from ntkflow_validation.sweep.settings import SETTINGS, changed, flat
from ntkflow_validation.training.steps import total_steps

from ntkflow import __version__
from ntkflow.errors import InputError
from ntkflow.sweep import parse_axis
from ntkflow.sweep.spec import digest

# A linear network on block inputs: steps without convolutions.
BASE = RunConfig.from_dict(
    {
        "data": {"name": "block", "classes": 2, "per_class": 3},
        "model": {"name": "linear", "features": 3},
        "training": {"steps": 8, "learning_rate": 0.1, "snapshots": 4},
        "kernels": {"count": 2, "while_training": True},
    }
)
GRID = TrainingSweep(BASE, rates=(0.01, 0.1, 1e30), inits=("lecun-normal", "uniform"))


def run_here(sweep, directory, **options):
    with ThreadPoolExecutor(1) as executor:
        return run_sweep(sweep, directory, executor, **options)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sweep") / "s"
    return run_here(GRID, directory, keep_runs=True), directory


def test_the_papers_rates_are_thirty_or_the_last_twenty():
    rates = paper_rates(Pair("resnet20", "mnist"))
    assert len(rates) == 30
    assert rates[0] == pytest.approx(1e-4)
    assert rates[-1] < 10**0.25
    # The rates that the captions of figures 13-20 name, to the digits they give.
    assert {0.131, 0.049, 0.094, 0.068} < {round(rate, 3) for rate in rates}
    assert paper_rates(Pair("vgg16", "cifar10")) == rates[-20:]
    assert len(SWEEPS["paper"].cells) == 3 * (2 * 30 + 7 * 20)
    assert len({cell.key for cell in SWEEPS["paper"].cells}) == 600
    assert all(cell.problem is None for cell in SWEEPS["paper"].cells)


def test_the_grid_has_every_combination_once_and_names_it():
    sweep = TrainingSweep(
        BASE, (), (0.1, 0.2), ("uniform",), 2, (parse_axis("training.steps=3,4", SETTINGS),)
    )
    points = [cell.point for cell in sweep.cells]
    assert len(points) == 8
    assert points[1] == {
        "model.name": "linear", "data.name": "block", "model.init": "uniform",
        "training.learning_rate": 0.1, "seed": 0, "training.steps": 4,
    }  # fmt: skip
    assert [cell.run.training.steps for cell in sweep.cells] == [3, 4] * 4
    assert [cell.run.seed for cell in sweep.cells] == [0, 0, 1, 1] * 2
    assert {cell.key for cell in sweep.cells} == {key_of(cell.run) for cell in sweep.cells}


def test_another_architecture_decides_its_own_sizes():
    base = preset("digits")
    other = changed(base, {"model.name": "resnet20", "data.name": "mnist"})
    assert (other.model.features, other.model.width, other.model.norm) == (64, 16, "batch")
    assert changed(other, {"model.width": 4}).model.features == 16
    assert changed(base, {"seed": 3}).seed == 3
    assert flat(changed(base, {"training.momentum": 0.5}))["training.momentum"] == 0.5


def test_a_sweep_writes_a_record_for_every_training_and_a_table(done):
    table, directory = done
    assert table.swept == ("model.name", "data.name", "model.init", "training.learning_rate", "seed")
    assert list(table.columns["status"]) == ["done"] * 6
    # A training that leaves the finite numbers is a result, not a failure.
    assert list(table.columns["result"]) == ["complete", "complete", "diverged"] * 2
    run = RunDirectory.open(sorted((directory / "runs").iterdir())[0])
    record = next(r for r in find_records([directory]) if r.config == run.config)
    assert list(record.rows) == run.metrics()
    row = next(i for i, cell in enumerate(GRID.cells) if cell.run == run.config)
    assert table.columns["NC1"][row] == pytest.approx(run.metrics()[-1].values["NC1"])
    assert table.columns["start.loss"][row] == pytest.approx(run.metrics()[0].loss)
    assert (directory / "table.csv").is_file()


def test_finished_trainings_are_not_run_again_and_runs_are_removed_unless_kept(done, tmp_path, monkeypatch):
    directory = tmp_path / "s"
    shutil.copytree(done[1], directory)
    monkeypatch.setattr(cell_module, "_train", lambda task: pytest.fail(f"{task.key} was run again"))
    again = run_here(GRID, directory)
    assert {k: list(map(str, v)) for k, v in again.columns.items()} == {
        k: list(map(str, v)) for k, v in done[0].columns.items()
    }
    assert not (directory / "runs").exists()


def test_an_interrupted_training_goes_on_where_it_was(done, tmp_path, monkeypatch):
    directory = tmp_path / "s"
    shutil.copytree(done[1], directory)
    key = next(cell.key for cell in GRID.cells if cell.run.training.learning_rate == 0.1)
    before = json.loads((directory / "cells" / f"{key}.json").read_text())
    (directory / "cells" / f"{key}.json").unlink()
    run = RunDirectory.open(directory / "runs" / key[:16])
    (run.path / "snapshots" / "step_0000008.npz").unlink()
    run.write_training(replace(run.training(), result=None, step=None, message=None))
    kept = (run.path / "snapshots" / "step_0000000.npz").stat().st_mtime_ns
    run_here(GRID, directory, keep_runs=True)
    after = json.loads((directory / "cells" / f"{key}.json").read_text())
    assert (run.path / "snapshots" / "step_0000000.npz").stat().st_mtime_ns == kept
    assert after["metrics"] == before["metrics"]


def test_a_training_that_fails_is_recorded_with_its_error_and_tried_again(tmp_path, monkeypatch):
    real = cell_module._train

    def train(task):
        if task.config["training"]["learning_rate"] == 0.1:
            raise OSError("no luck today")
        return real(task)

    monkeypatch.setattr(cell_module, "_train", train)
    sweep = replace(GRID, rates=(0.01, 0.1), inits=())
    table = run_here(sweep, tmp_path / "s")
    assert table.failed == ["no luck today"]
    monkeypatch.undo()
    assert run_here(sweep, tmp_path / "s").failed == []


def test_impossible_cells_fail_alone_and_a_sweep_of_nothing_else_is_refused(tmp_path):
    axis = parse_axis("training.batch_per_class=0,9", SETTINGS)
    sweep = TrainingSweep(BASE, axes=(axis,))
    table = run_here(sweep, tmp_path / "s")
    assert list(table.columns["status"]) == ["done", "failed"]
    assert "exceeds data.per_class" in table.failed[0]
    with pytest.raises(InputError, match="exceeds data"):
        run_here(
            TrainingSweep(BASE, axes=(parse_axis("training.batch_per_class=8,9", SETTINGS),)), tmp_path / "t"
        )
    assert not (tmp_path / "t").exists()


def test_the_specification_replays_and_another_grid_is_refused(done, tmp_path):
    from ntkflow.runs.files import read_toml

    again = sweep_from_tables(read_toml(done[1] / "sweep.toml"))
    assert [cell.key for cell in again.cells] == [cell.key for cell in GRID.cells]
    assert again.identity() == GRID.identity()
    with pytest.raises(InputError, match="holds another sweep"):
        run_here(replace(GRID, seeds=2), done[1])


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["init=uniform"], [3, 4, 5]),
        (["learning_rate=0.01"], [0, 3]),
        (["training.learning_rate<0.05", "model.init!=uniform"], [0]),
        (["result=diverged"], [2, 5]),
        (["config.training.steps >= 8", "seed=0", "result=complete", "learning_rate>0.05"], [1, 4]),
    ],
)
def test_rows_are_found_by_any_field(done, conditions, expected):
    assert list(np.flatnonzero(rows_where(done[0], conditions))) == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("init", "is not a condition"),
        ("inut=uniform", "did you mean"),
        ("init<a", "is text"),
        ("NC1=low", "a number"),
    ],
)
def test_conditions_that_mean_nothing_are_refused(done, condition, message):
    with pytest.raises(InputError, match=message):
        rows_where(done[0], [condition])


def test_the_table_can_be_read_while_the_sweep_is_under_way(done):
    table = tabulate_sweep(replace(GRID, rates=(0.01, 0.5)), done[1])
    assert list(table.columns["status"]) == ["done", "missing"] * 2
    assert table.failed == []


def test_moments_at_the_end_are_those_of_the_papers_pane_i():
    from ntkflow_validation.runs.rundir import StoredSnapshot

    import ntkflow as nf

    sizes = nf.Sizes(2, 3, 4)
    state = nf.initial.make("relu", sizes, nf.BlockKernel(1, 0.5, 0.1), seed=1)
    found = final_norms(StoredSnapshot(0, 0.0, state, sizes))
    H1 = state.H.reshape(4, 2, 3).mean(axis=2)
    total = state.H @ state.H.T / 3
    assert found["H1H1_norm"] == pytest.approx(np.linalg.norm(H1 @ H1.T))
    assert found["H2H2_norm"] == pytest.approx(np.linalg.norm(total - H1 @ H1.T))
    g = state.H.mean(axis=1)
    assert found["gg_norm"] == pytest.approx(np.linalg.norm(np.outer(g, g)))


def test_epochs_of_a_record_count_passes_through_the_data():
    config = changed(BASE, {"data.per_class": 6, "training.batch_per_class": 2})
    rows = (Line(0, 0.0, {"loss": 1.0}), Line(6, 1.0, {"loss": 0.5, "NC1": 0.5}))
    record = Record(config, Content(None, rows, (), {}), Path("run"))
    np.testing.assert_allclose(record.epochs, [0, 2])
    np.testing.assert_array_equal(record.series("NC1"), [np.nan, 0.5])
    assert record.last("NC1") == 0.5


def test_an_estimate_counts_what_there_is_to_do(monkeypatch):
    monkeypatch.setattr("ntkflow_validation.sweep.running.local_workers", ThreadPoolExecutor)
    speed = Speed(0.1, 0.033, 2.0, 1.0, "cpu")
    config = sweep_preset("sweep-digits").base
    seconds = seconds_of(config, speed)
    steps = total_steps(config.training, config.data.per_class)
    assert 0.1 * steps < seconds < 0.1 * steps + 150  # a tenth of a second each, and the rest
    twice = changed(config, {"training.epochs": 2 * config.training.epochs})
    assert seconds_of(twice, speed) == pytest.approx(seconds + 0.1 * steps)
    # Kernels at as many snapshots as the run says, and at the end those of the outputs too.
    slower = seconds_of(config, replace(speed, kernels=3.0)) - seconds
    assert slower == pytest.approx(config.kernels.count + 1 + 10 / config.model.features)
    assert in_words(5400) == "1.5 hours"
    found = estimate(replace(GRID, inits=()), 1)
    assert (found.cells, found.steps, found.workers) == (3, 24, 1)
    assert found.work > 0
    # What was measured is on the device at hand, by its name.
    (name,), (seen,) = found.speeds, found.speeds.values()
    assert name == f"{GRID.base.model.name}/{GRID.base.data.name}"
    assert min(seen.step, seen.forward, seen.kernels) > 0
    device = jax.devices()[0].device_kind
    first, second = found.words().splitlines()
    assert first.endswith(f" on {device}")
    assert second.startswith(f"  {name}: a step ")
    assert second.endswith(f"kernels at a snapshot {in_words(seen.kernels)} on {device}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pair.parse("resnet20"), "is not MODEL/DATA"),
        (lambda: Pair.parse("resnet21/mnist"), "pair: model"),
        (lambda: TrainingSweep(BASE, seeds=0), "at least 1"),
        (lambda: TrainingSweep(BASE, inits=("zeros",)), "must be one of"),
        (
            lambda: TrainingSweep(
                BASE, rates=(0.1,), axes=(parse_axis("training.learning_rate=1,2", SETTINGS),)
            ),
            "two axes",
        ),
        (lambda: sweep_preset("imagenet"), "must be one of"),
        (lambda: sweep_from_tables({"sweep": {"paires": []}}), "paires"),
    ],
)
def test_grids_that_make_no_sense_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_every_pair_of_the_paper_is_one_of_ours():
    assert len(set(PAPER_PAIRS)) == 9
    assert {str(pair) for pair in PAPER_PAIRS} >= {"vgg16/cifar10", "densenet40/mnist"}


def test_settings_that_came_later_leave_the_addresses_of_cells_as_they_were():
    config = preset("tiny")
    first = {
        section: {name: config.to_dict()[section][name] for name in names} for section, names in FIRST.items()
    }
    before = {"seed": config.seed, **first}
    assert key_of(config) == digest({"version": __version__, "content": CONTENT, "config": before})
    assert key_of(changed(config, {"model.head_bias": False})) != key_of(config)


def test_a_default_training_keeps_its_address():
    # Written down once: cells that exist are found again by what comes later.
    assert (
        digest({"version": "0.1.0", "content": 1, "config": RunConfig().stated()})[:16] == "8ea1cc9ff49b5d53"
    )
