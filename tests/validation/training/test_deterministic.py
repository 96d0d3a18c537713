"""The same training has the same numbers to the last bit: on a CPU always, on a GPU where the setting asks for it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.models.base import named_leaves
from ntkflow_validation.precision import DETERMINISTIC
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.train import prepare, train

CONFIG = RunConfig(
    data=DataConfig(name="block", classes=3, per_class=4),
    model=ModelConfig(name="mlp", features=6, width=8, depth=1),
    training=TrainConfig(
        steps=30, learning_rate=0.1, momentum=0.5, batch_per_class=2, snapshots=3, deterministic=True
    ),
)
ROOT = Path(__file__).parents[3]
# A process of its own: XLA is told before its first computation.
ALONE = f"""
import hashlib, json, os, sys
sys.path[:0] = {[str(ROOT), str(ROOT / "validation")]!r}
from {__name__} import of_the_end
from ntkflow_validation.config.config import RunConfig
config = RunConfig.from_dict(json.loads(sys.argv[1]))
digest = hashlib.sha256()
for name, leaf in sorted(of_the_end(config).items()):
    digest.update(name.encode() + leaf.tobytes())
print(os.environ.get("XLA_FLAGS", ""), digest.hexdigest())
"""


@pytest.fixture(autouse=True)
def _flags(monkeypatch):
    # A process that has been told stays so, and tells those that it starts.
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))


def of_the_end(config):
    """All numbers that a training ends with."""
    return named_leaves(list(train(config, *prepare(config)))[-1].train._asdict())


def alone(config):
    """The flags that XLA was given, and a digest of what a training in a new process ends with."""
    command = [sys.executable, "-c", ALONE, json.dumps(config.to_dict())]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    *flags, digest = done.stdout.split()
    return flags, digest


def test_two_trainings_end_with_the_same_bits_and_the_setting_is_recorded(tmp_path, monkeypatch):
    # As if it had been known in time, which on a GPU is asked for.
    monkeypatch.setenv("XLA_FLAGS", DETERMINISTIC)
    one, two = of_the_end(CONFIG), of_the_end(CONFIG)
    for name, leaf in one.items():
        assert leaf.tobytes() == two[name].tobytes(), name
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    assert RunDirectory.open(run.path).config.training.deterministic
    assert "deterministic = true" in (run.path / "config.toml").read_text()
    # On a CPU the order of sums is what it is without the setting.
    free = replace(CONFIG, training=replace(CONFIG.training, deterministic=False))
    other = of_the_end(free)
    assert all(np.array_equal(leaf, other[name]) for name, leaf in one.items())


@pytest.mark.slow
def test_so_do_trainings_in_processes_of_their_own():
    (flags, one), (_, two) = alone(CONFIG), alone(CONFIG)
    assert DETERMINISTIC in flags
    assert one == two
    free = replace(CONFIG, training=replace(CONFIG.training, deterministic=False))
    assert DETERMINISTIC not in alone(free)[0]
    other = replace(CONFIG, training=replace(CONFIG.training, learning_rate=0.1001))
    assert alone(other)[1] != one
