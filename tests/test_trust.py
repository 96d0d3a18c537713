"""docs/trust.md: files run nothing, but for a loss or a network that names a module."""

import sys

import numpy as np
import pytest
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.datasets.cifar import read_python
from ntkflow_validation.kernels import FolderStore
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.complete import completed

from ntkflow.errors import InputError
from ntkflow.runs import files
from tests.commands import exit_code

SMALL = ("-C", 2, "-m", 2, "-n", 3, "--t-end", 0.1, "--no-figures", "--quiet")


class Spring:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def hostile(tmp_path):
    """A file with an array of Python objects under every name that a reader asks for, and what it would make."""
    objects = np.array([Spring(tmp_path / "sprung")], dtype=object)
    names = ("H", "W", "b", "labels", "K", "t", "header", "seed", "step")
    np.savez(tmp_path / "hostile.npz", **dict.fromkeys(names, objects))
    yield tmp_path / "hostile.npz"
    assert not (tmp_path / "sprung").exists()


def test_the_file_would_run_code_if_it_were_let(tmp_path):
    import pickle

    pickle.loads(pickle.dumps(Spring(tmp_path / "sprung"))).close()
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("option", ["--state", "--kernel-file"])
def test_state_and_kernel_files_run_nothing(hostile, option, tmp_path, capsys):
    assert exit_code("simulate", *SMALL, option, hostile, "--out", tmp_path / "run") == 2
    assert "Python objects, which are never loaded" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plot", "show"])
def test_runs_of_others_run_nothing(hostile, command, tmp_path, capsys):
    assert exit_code("simulate", *SMALL, "--out", tmp_path / "run") == 0
    (tmp_path / "run" / "trajectory.npz").write_bytes(hostile.read_bytes())
    assert exit_code(command, tmp_path / "run") == 2
    assert "never loaded" in capsys.readouterr().err


def test_checkpoints_and_chunks_run_nothing(hostile):
    with pytest.raises(InputError, match="never loaded"):
        files.read_arrays(hostile, "checkpoint")
    assert FolderStore(hostile.parent).get(hostile.stem) is None


def test_the_pickled_data_set_runs_nothing(tmp_path):
    import pickle

    data = pickle.dumps({b"data": Spring(tmp_path / "sprung"), b"labels": [0]}, protocol=2)
    with pytest.raises(InputError, match="was not loaded"):
        read_python("data_batch_1", data)
    assert not (tmp_path / "sprung").exists()


def test_a_loss_that_names_a_module_is_imported_and_shadows_nothing(tmp_path, monkeypatch):
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_alone.py").write_text(
        "open('sprung', 'w').close()\nfrom ntkflow.problem.losses import SQUARED_ERROR as mse"
    )
    (tmp_path / "numpy.py").write_text("open('shadowed', 'w').close()")
    assert exit_code("simulate", *SMALL, "--out", "run", "--loss", "mine_alone:mse") == 0
    assert (tmp_path / "sprung").exists()
    assert sys.path[-1] == str(tmp_path)
    (tmp_path / "sprung").unlink()
    del sys.modules["mine_alone"]
    assert exit_code("show", "run") == 0
    assert not (tmp_path / "sprung").exists()


def test_configurations_of_trainings_name_no_code():
    with pytest.raises(InputError):
        RunConfig.from_dict({"training": {"loss": "mine_alone:mse"}})


def test_a_run_that_names_a_network_runs_it_only_to_train_or_measure(tmp_path, monkeypatch):
    (tmp_path / "hostilenetwork.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = RunConfig.from_dict({"model": {"name": "hostilenetwork:Body", "sha256": "0"}})
    (tmp_path / "run").mkdir()
    files.write_toml(tmp_path / "run" / "config.toml", config.to_dict())
    assert RunDirectory.open(tmp_path / "run").config == config
    assert exit_code("validate", "show", tmp_path / "run") == 0
    assert exit_code("validate", "compare", tmp_path / "run") == 2
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(InputError, match="cannot be imported"):
        completed(config, again=True)
    assert (tmp_path / "sprung").exists()
