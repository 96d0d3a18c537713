"""Frameworks are told by classes that are loaded, and what wraps a module is taken off."""

import sys
from types import SimpleNamespace

import pytest
from flax import linen, nnx

from ntkflow.foreign.modules import Framework, framework_of, is_a, loaded_class, unwrapped


def test_modules_are_known_and_nothing_else_is():
    assert framework_of(nnx.Linear(2, 2, rngs=nnx.Rngs(0))) is Framework.NNX
    assert framework_of(linen.Dense(2)) is Framework.LINEN
    for thing in (None, len, {"params": {}}, nnx.Linear):
        assert framework_of(thing) is None


def test_a_module_of_torch():
    torch = pytest.importorskip("torch")
    assert framework_of(torch.nn.Linear(2, 2)) is Framework.TORCH
    assert framework_of(torch.ones(2)) is None


def test_a_module_of_equinox():
    eqx = pytest.importorskip("equinox")
    assert framework_of(eqx.nn.Identity()) is Framework.EQUINOX


def test_what_is_not_loaded_is_not_imported(monkeypatch):
    home = SimpleNamespace(Module=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "of_nobody", home)
    assert is_a(home, "of_nobody", "Module")
    monkeypatch.delitem(sys.modules, "of_nobody")
    assert not is_a(home, "of_nobody", "Module")
    assert loaded_class("of_nobody", "Module") is None


def test_what_shares_a_module_between_processes_is_taken_off():
    class DistributedDataParallel:
        module = "inside"

    class OptimizedModule:
        _orig_mod = DistributedDataParallel()

    assert unwrapped(DistributedDataParallel()) == unwrapped(OptimizedModule()) == "inside"
    assert unwrapped("net") == "net"
