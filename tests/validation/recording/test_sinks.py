"""Sinks get every number of a line; the libraries are stood in for."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from ntkflow_validation.recording import sinks

from ntkflow.errors import InputError

LINE = {"loss": 1.5, "NC1": float("nan"), "invariant_refused": "words", "accuracy_train": 1}


def pretend(monkeypatch, name, **contents):
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


class Writer:
    def __init__(self, directory):
        self.seen, self.directory = [], directory

    def add_scalar(self, *row):
        self.seen.append(row)

    def close(self):
        self.seen.append("closed")


@pytest.mark.parametrize("library", ["torch.utils.tensorboard", "tensorboardX"])
def test_tensorboard_gets_the_numbers(monkeypatch, tmp_path, library):
    for name in ("torch.utils.tensorboard", "tensorboardX"):
        monkeypatch.setitem(sys.modules, name, None)
    pretend(monkeypatch, library, SummaryWriter=Writer)
    sink = sinks.TensorBoard(tmp_path)
    sink(7, LINE)
    sink.close()
    assert sink._writer.directory == str(tmp_path)
    assert sink._writer.seen == [("ntkflow/loss", 1.5, 7), ("ntkflow/accuracy_train", 1.0, 7), "closed"]


def test_wandb_writes_offline_files(monkeypatch, tmp_path):
    seen = []
    run = SimpleNamespace(
        log=lambda row, step: seen.append((row, step)), finish=lambda: seen.append("finished")
    )
    pretend(monkeypatch, "wandb", init=lambda **settings: seen.append(settings) or run)
    sink = sinks.WandB(tmp_path / "files", tags=["x"])
    sink(7, LINE)
    sink.close()
    settings, line, end = seen
    assert settings == {
        "dir": str(tmp_path / "files"),
        "project": "ntkflow",
        "mode": "offline",
        "tags": ["x"],
        # A run of its own, that prints nothing.
        "reinit": "create_new",
        "settings": {"silent": True, "console": "off"},
    }
    assert line == ({"ntkflow/loss": 1.5, "ntkflow/accuracy_train": 1.0}, 7)
    assert end == "finished"


def test_a_sink_that_is_not_installed_says_what_to_install(monkeypatch, tmp_path):
    for name in ("wandb", "tensorboardX", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"ntkflow\[wandb\]"):
        sinks.WandB(tmp_path)
    with pytest.raises(InputError, match=r"ntkflow\[tensorboard\]"):
        sinks.TensorBoard(tmp_path)
