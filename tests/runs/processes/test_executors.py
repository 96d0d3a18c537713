import sys
import types

import pytest

from ntkflow.errors import InputError
from ntkflow.sweep import dask_cluster, local_processes


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


def test_workers_are_counted_from_one():
    with pytest.raises(InputError, match=r"must be 1 \.\. 1024"):
        local_processes(0)
