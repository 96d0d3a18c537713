import sys
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from ntkflow.errors import InputError
from ntkflow.sweep import dask_cluster, local_processes, run_sweep
from tests.sweep.grids import grid


def test_a_missing_dask_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"ntkflow\[cluster\]"), dask_cluster("tcp://nowhere:1"):
        pass


def fake(client):
    return types.SimpleNamespace(Client=client)


def test_a_scheduler_that_does_not_answer_is_one_clear_error(monkeypatch):
    def refuse(address):
        raise OSError(f"Timed out trying to connect to {address}")

    monkeypatch.setitem(sys.modules, "distributed", fake(refuse))
    with pytest.raises(InputError, match="cannot be reached"), dask_cluster("tcp://nowhere:1"):
        pass


def test_cells_run_on_the_executor_of_the_cluster(monkeypatch, tmp_path):
    used = []

    class Client(ThreadPoolExecutor):
        def __init__(self, address):
            super().__init__(1)
            used.append(address)

        def get_executor(self):
            return self

    monkeypatch.setitem(sys.modules, "distributed", fake(Client))
    with dask_cluster("tcp://somewhere:8786") as executor:
        table = run_sweep(grid("scale=1,2"), tmp_path / "s", executor)
    assert used == ["tcp://somewhere:8786"]
    assert table.failed == []


def test_workers_are_counted_from_one():
    with pytest.raises(InputError, match="must be at least 1"):
        local_processes(0)
