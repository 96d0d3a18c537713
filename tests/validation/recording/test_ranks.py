"""Ranks are read from what is running, without starting anything."""

import sys
from types import SimpleNamespace

import pytest
from ntkflow_validation.recording import ranks


def distributed(initialised, rank):
    return SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: initialised, get_rank=lambda: rank
    )


@pytest.mark.parametrize(("text", "rank"), [("3", 3), ("0", 0), ("none", 0)])
def test_of_the_environment(monkeypatch, text, rank):
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed(False, 9))
    monkeypatch.setenv("RANK", text)
    assert ranks.rank() == rank


STARTED = [
    ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True), ({"LOCAL_RANK": "1"}, False),
    ({"LOCAL_RANK": "0", "NODE_RANK": "2"}, False), ({"RANK": "0", "LOCAL_RANK": "1"}, True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "writes"), STARTED, ids=["first", "local", "of another node", "of all"]
)
def test_processes_that_lightning_starts(monkeypatch, variables, writes):
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed(False, 9))
    monkeypatch.delenv("RANK", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (ranks.rank() == 0) == writes


def test_of_torch_first(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed(True, 2))
    assert ranks.rank() == 2


def test_of_jax(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed(False, 9))
    running = SimpleNamespace(is_initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(distributed=running, process_index=lambda: 4))
    assert ranks.rank() == 4
