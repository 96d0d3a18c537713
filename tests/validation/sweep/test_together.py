"""Cells of a sweep trained as one program against the same cells one by one."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.sweep import cell
from ntkflow_validation.sweep.grid import TrainingSweep
from ntkflow_validation.sweep.running import run_sweep
from ntkflow_validation.sweep.together import Together

from ntkflow.errors import InputError

BASE = RunConfig.from_dict(
    {
        "data": {"name": "block", "classes": 2, "per_class": 3},
        "model": {"name": "linear", "features": 3},
        "training": {"steps": 8, "learning_rate": 0.1, "snapshots": 4},
        "kernels": {"count": 2, "while_training": True},
    }
)
GRID = TrainingSweep(BASE, rates=(0.01, 1e30, 0.1))


def content(directory):
    return {path.name: json.loads(path.read_text()) for path in directory.glob("cells/**/*.json")}


@pytest.mark.slow
def test_cells_have_the_content_that_they_have_alone(tmp_path, monkeypatch):
    groups = []
    run_cells = cell.run_cells
    monkeypatch.setattr(
        "ntkflow_validation.sweep.together.run_cells",
        lambda tasks: groups.append(len(tasks)) or run_cells(tasks),
    )
    with Together(ThreadPoolExecutor(1), 2) as executor:
        run_sweep(GRID, tmp_path / "together", executor)
    with ThreadPoolExecutor(1) as executor:
        run_sweep(GRID, tmp_path / "alone", executor)
    # Three trainings, two at a time; the third does not wait for ever.
    assert groups == [2, 1]
    found, expected = content(tmp_path / "together"), content(tmp_path / "alone")
    assert set(found) == set(expected)
    assert len(found) == 3
    for name, one in expected.items():
        other = found[name]
        assert other["config"] == one["config"]
        assert other["training"]["result"] == one["training"]["result"]
        assert [row["step"] for row in other["metrics"]] == [row["step"] for row in one["metrics"]]
        for a, b in zip(other["metrics"], one["metrics"], strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    assert {one["training"]["result"] for one in found.values()} == {"complete", "diverged"}


def test_what_one_program_cannot_do_is_done_one_by_one(tmp_path, monkeypatch):
    def broken(runs):
        raise MemoryError

    monkeypatch.setattr("ntkflow_validation.runs.training_run.train_runs", broken)
    grid = TrainingSweep(BASE, rates=(0.01, 0.1))
    with Together(ThreadPoolExecutor(1), 2) as executor:
        found = run_sweep(grid, tmp_path, executor)
    assert np.isfinite(found.column("loss")).all()


def test_the_number_of_networks_is_checked():
    for count in (0, 65):
        with (
            ThreadPoolExecutor(1) as pool,
            pytest.raises(InputError, match=r"together = \d+: must be 1 \.\. 64"),
        ):
            Together(pool, count)


def test_what_waits_is_cancelled_with_the_sweep():
    executor = Together(ThreadPoolExecutor(1), 3)
    future = executor.submit(cell.run_cell, cell.CellTask("key", BASE.to_dict(), "."))
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()
    with Together(ThreadPoolExecutor(1), 3) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
