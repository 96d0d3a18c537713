"""Killed at any moment and started again with the same command, a run ends as an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.pipeline.pipeline import Result, read_outcome, train_run
from ntkflow_validation.runs import training_run
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training import train as training
from ntkflow_validation.training.train import CHUNK, start

from ntkflow.errors import InputError
from ntkflow.runs.files import write_toml

CONFIG = RunConfig(
    data=DataConfig(name="block", classes=3, per_class=5),
    model=ModelConfig(name="mlp", features=4, width=6, depth=1),
    training=TrainConfig(
        epochs=4 * CHUNK, learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4, drop_every=100,
        batch_per_class=3, snapshots=9,
    ),
    kernels=KernelConfig(count=3, while_training=True),
)  # fmt: skip
# Runs the command with a checkpoint at every chance and every step slowed down, so that kills hit everywhere.
SLOWED = """
import sys, time
from ntkflow_validation.runs import training_run
from ntkflow_validation.training import train
training_run.CHECKPOINT_EVERY = 0.0
original = train.make_step
def slow(*arguments):
    step = original(*arguments)
    def call(*state):
        time.sleep(float(sys.argv[1]))
        return step(*state)
    return call
train.make_step = slow
from ntkflow.cli.main import main
main(sys.argv[2:])
"""


def started(out, config_file, pause=0.005):
    words = ["validate", "train", "--config", config_file, "--out", out, "--quiet"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", SLOWED, str(pause), *(str(word) for word in words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)


def numbers(run):
    """Everything a training leaves that later steps go on from."""
    last = run.steps()[-1]
    with np.load(run.path / "parameters" / f"step_{last:07d}.npz") as file:
        parameters = {name: file[name].tobytes() for name in file.files}
    kernels = {step: run.measurement(step).to_dict() for step in run.measured()}
    return (run.path / "metrics.jsonl").read_text(), parameters, kernels, read_outcome(run)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = RunDirectory.create(tmp_path_factory.mktemp("whole") / "run", CONFIG)
    assert train_run(run).result is Result.COMPLETE
    return numbers(run)


@pytest.mark.slow
def test_kills_at_random_steps_leave_no_trace_in_the_numbers(tmp_path, undisturbed):
    write_toml(tmp_path / "config.toml", CONFIG.to_dict())
    out, rng, kills = tmp_path / "run", random.Random(7), 0
    for _ in range(2):
        process = started(out, tmp_path / "config.toml")
        begun, target = time.monotonic(), None
        while process.poll() is None and time.monotonic() - begun < 60:
            snapshots = len(list(Path(out).glob("snapshots/step_*.npz")))
            target = snapshots + rng.randrange(1, 3) if target is None and snapshots else target
            if target is not None and snapshots >= min(target, 8):
                time.sleep(rng.random() * 0.1)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        process.communicate()
    assert kills == 2
    # A training that was killed holds no lock, however it looks.
    final = started(out, tmp_path / "config.toml", pause=0)
    _, errors = final.communicate(timeout=60)
    assert final.returncode == 0, errors
    for found, expected in zip(numbers(RunDirectory.open(out)), undisturbed, strict=True):
        assert found == expected
    assert not (out / "checkpoint.npz").exists()


def test_a_second_process_on_the_same_run_is_refused(tmp_path):
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    write_toml(tmp_path / "config.toml", CONFIG.to_dict())
    with run.locked():
        second = started(run.path, tmp_path / "config.toml", pause=0)
        _, errors = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"is in use by process {os.getpid()} on" in errors
    assert run.steps() == []


def test_a_lock_file_without_its_process_is_stale(tmp_path):
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    (run.path / "lock").write_text("process 1 on somewhere\n")
    with run.locked():
        assert f"process {os.getpid()}" in (run.path / "lock").read_text()
        with pytest.raises(InputError, match=f"in use by process {os.getpid()}"), run.locked():
            pass
        with pytest.raises(InputError, match="in use by"):
            RunDirectory.create(run.path, CONFIG, overwrite=True)
    assert (run.path / "lock").read_text() == ""
    RunDirectory.create(run.path, CONFIG, overwrite=True)


def test_training_goes_on_from_a_checkpoint_between_snapshots(tmp_path, monkeypatch, undisturbed):
    monkeypatch.setattr(training_run, "CHECKPOINT_EVERY", 0.0)
    # Accelerators are left alone for longer.
    monkeypatch.setattr(training, "FUSED_CHUNK", CHUNK)
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    write = RunDirectory.write_checkpoint

    def killed_later(self, step, state):
        write(self, step, state)
        if step == 3 * CHUNK:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "write_checkpoint", killed_later)
    with pytest.raises(KeyboardInterrupt):
        train_run(run)
    latest = run.read_latest(start(training_run.prepare(CONFIG)[1], CONFIG.training))
    assert latest is not None
    # An accelerator has gone on, maybe by a snapshot, while the chunk before was looked at.
    assert latest[0] == max(3 * CHUNK, run.steps()[-1])
    assert training.on_accelerator() or latest[0] > run.steps()[-1]
    monkeypatch.undo()
    train_run(RunDirectory.open(run.path))
    assert numbers(run) == undisturbed


@pytest.mark.parametrize("writing", ["write_measurement", "write_snapshot"])
def test_a_kill_around_a_measurement_costs_neither_it_nor_its_snapshot(
    tmp_path, monkeypatch, undisturbed, writing
):
    """The measurement is written first, so that a complete snapshot has its own."""
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    write, measured = getattr(RunDirectory, writing), list(undisturbed[2])

    def killed(self, *arguments):
        if len(self.measured()) == 1 and (self.path / "measurements" / f"{measured[1]}.npz").exists():
            raise KeyboardInterrupt
        write(self, *arguments)
        if writing == "write_measurement" and len(self.measured()) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, writing, killed)
    with pytest.raises(KeyboardInterrupt):
        train_run(run)
    assert run.measured() == measured[:1]
    assert {step for step in run.steps() if step in measured} == {measured[0]}
    monkeypatch.undo()
    train_run(RunDirectory.open(run.path))
    assert numbers(run) == undisturbed


def test_metrics_have_the_invariants_where_a_kernel_was_measured(undisturbed):
    rows = [json.loads(line) for line in undisturbed[0].splitlines()]
    measured = [row["step"] for row in rows if "invariant_norm" in row]
    assert measured == list(undisturbed[2])
    assert measured[0] == 0
    assert len(measured) == 3
    assert all(row["invariant_batch_per_class"] == 3 for row in rows if "invariant_norm" in row)
    assert {"NC1", "NC2", "NC3", "NC4", "accuracy_train", "accuracy_test"} <= set(rows[0])


def test_a_diverging_run_stops_with_a_result_code_and_keeps_what_it_has(tmp_path):
    training = TrainConfig(steps=300, learning_rate=1e9, snapshots=6)
    run = RunDirectory.create(tmp_path / "run", RunConfig(CONFIG.seed, CONFIG.data, CONFIG.model, training))
    outcome = train_run(run)
    assert outcome.result is Result.DIVERGED
    assert "diverged before step" in outcome.message
    assert run.steps()[0] == 0
    assert [row.step for row in run.metrics()] == run.steps()
    assert run.training().result == "diverged"
    assert train_run(run) == outcome


def test_the_chosen_rate_is_chosen_once(tmp_path, monkeypatch):
    training = TrainConfig(steps=3, learning_rate=0.0, snapshots=2)
    run = RunDirectory.create(tmp_path / "run", RunConfig(CONFIG.seed, CONFIG.data, CONFIG.model, training))
    monkeypatch.setattr(training_run, "write_snapshot", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_run(run)
    monkeypatch.undo()
    rate = run.training().learning_rate
    assert rate > 0
    monkeypatch.setattr(training_run, "chosen_rate", lambda *arguments: 1 / 0)
    assert train_run(run).result is Result.COMPLETE
    facts = run.training()
    assert facts.learning_rate == rate
    assert facts.samples == {"train": 15, "test": 15, "unused": 0}


def test_the_lock_of_a_run_follows_no_link(tmp_path):
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    (tmp_path / "victim").write_text("years of work")
    (run.path / "lock").symlink_to("../victim")
    with pytest.raises(InputError, match="'lock' is a symbolic link"), run.locked():
        pass
    with pytest.raises(InputError, match="'lock' is a symbolic link"):
        RunDirectory.create(run.path, CONFIG, overwrite=True)
    assert (tmp_path / "victim").read_text() == "years of work"


def test_who_works_on_a_run_removes_what_kills_left_in_it(tmp_path):
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    file = run.path / "snapshots" / ".step_0000001.npz.01234567-01234567.partial"
    file.touch()
    os.utime(file, (0, 0))
    with run.locked():
        assert not file.exists()


def test_processes_that_start_a_run_together_share_it(tmp_path, monkeypatch):
    """The second comes while the first makes the directory, and waits."""
    from ntkflow.runs import atomic

    path, real = tmp_path / "run", atomic.reserved

    def late(place, patience=0.0):
        monkeypatch.setattr(atomic, "reserved", real)
        RunDirectory.create(path, CONFIG)
        return real(place, patience)

    monkeypatch.setattr(atomic, "reserved", late)
    assert RunDirectory.create(path, CONFIG, resume=True).config == CONFIG
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
