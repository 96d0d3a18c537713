"""What a loop of one's own leaves on disk: our format, whole after a kill, continued, by one rank alone."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.recording import Recorder, RecordingWarning
from ntkflow_validation.recording.cadence import Budget, Cadence, KernelCadence, checked
from ntkflow_validation.runs.rundir import RunDirectory, StoredSnapshot
from ntkflow_validation.runs.training_run import read_outcome, train_run
from ntkflow_validation.training.train import prepare, train

import ntkflow as nf
from ntkflow.errors import InputError
from ntkflow.runs.atomic import InUseError
from ntkflow.runs.border.records import document
from tests.validation.ladder.networks import CONFIG
from tests.validation.recording.loops import CLOCK, N, Y, inputs, loop


def recorded(path, steps=30, first=0, close=True, **settings):
    recorder = Recorder(path, Y, clock=settings.pop("clock", CLOCK), **settings)
    for step, H, W, b, _ in loop(steps):
        if step >= first:
            recorder(step, H, W, b)
    if close:
        recorder.close()
    return recorder


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_recorded_loop_of_our_own_trainer_writes_our_own_files(tmp_path):
    config = replace(CONFIG, training=replace(CONFIG.training, steps=12, snapshots=5))
    own = RunDirectory.create(tmp_path / "own", config)
    train_run(own)
    dataset, network = prepare(config)
    clock = nf.Clock(config.training.learning_rate, "half-squared", "sum", samples=N, classes=3)
    with Recorder(tmp_path / "recorded", dataset.labels, clock=clock, snapshots=1) as recorder:
        for snapshot in train(config, dataset, network):
            state = snapshot.state
            recorder(snapshot.step, state.H.T, state.W, state.b)
    seen, wanted = lines(recorder.path), lines(own.path)
    for line, other in zip(seen, wanted, strict=True):
        del other["accuracy_test"]  # of inputs that are not recorded
        # A warm-up of no steps is a schedule, whose times are sums.
        assert line.pop("time") == pytest.approx(other.pop("time"), rel=1e-14)
    assert seen == wanted
    for step in own.steps():
        a, b = (np.load(run.path / "snapshots" / f"step_{step:07d}.npz") for run in (own, recorder.run))
        assert a.files == b.files
        for name in ("H", "W", "b", "labels"):
            np.testing.assert_array_equal(a[name], b[name])
    assert recorder.run.steps() == own.steps()
    assert read_outcome(recorder.run) == read_outcome(own)


def test_the_configuration_comes_back(tmp_path):
    clock = nf.Clock(
        0.1,
        "squared",
        "mean",
        batch=6,
        momentum=0.5,
        weight_decay=0.1,
        samples=24,
        classes=3,
        decay="decoupled",
    )
    run = recorded(tmp_path / "run", steps=2, clock=clock, name="my net").run
    found = RunDirectory.open(run.path).config
    assert isinstance(found, RecordedConfig)
    assert found == run.config
    assert found.time_keeper().as_dict() == clock.as_dict()
    assert (found.model.name, found.data.probe_per_class, found.training.batch_per_class) == ("my net", 4, 2)
    # The recipe's part comes first; of batches a clock knows the size alone, not how they were drawn.
    said = ("momentum 0.5", "decay 0.1", "the kernel", "decoupled", "batches of 6", "recorded outside")
    assert [line[: len(word)] for line, word in zip(found.deviations, said, strict=True)] == list(said)


def test_snapshots_thin_out_and_the_last_is_kept(tmp_path):
    recorder = recorded(tmp_path / "run", snapshots=2.0)
    assert recorder.run.steps() == [0, 1, 2, 4, 8, 16, 30]
    assert [line.step for line in recorder.run.metrics()] == list(range(31))
    assert recorded(tmp_path / "listed", snapshots=[3, 5], steps=6).run.steps() == [3, 5, 6]


def test_a_kill_in_the_middle_of_a_line_costs_that_line_and_the_same_directory_goes_on(tmp_path):
    path = tmp_path / "run"
    recorded(path, steps=9, close=False)._release()  # as the end of the process does
    with (path / "metrics.jsonl").open("a") as handle:
        handle.write('{"step": 10, "lo')
    assert read_outcome(RunDirectory.open(path)) is None
    assert RunDirectory.open(path).metrics()[-1].step == 9
    with pytest.warns(RecordingWarning, match="has step 9: steps up to it are skipped"):
        again = recorded(path, steps=20, first=5)
    whole = recorded(tmp_path / "whole", steps=20)
    assert lines(path) == lines(whole.path)
    assert again.run.steps() == whole.run.steps()


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_what_can_be_read(tmp_path):
    script = f"""
import os, signal
from tests.validation.recording.loops import CLOCK, Y, loop
from ntkflow_validation.recording import Recorder
recorder = Recorder({str(tmp_path / "run")!r}, Y, clock=CLOCK)
for step, H, W, b, _ in loop():
    recorder(step, H, W, b)
    if step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert ended.returncode == -9
    assert RunDirectory.open(tmp_path / "run").metrics()[-1].step == 7
    with pytest.warns(RecordingWarning, match="skipped"):
        assert recorded(tmp_path / "run").run.metrics()[-1].step == 30


def test_another_training_is_not_continued(tmp_path):
    recorded(tmp_path / "run", steps=1)
    faster = nf.Clock(0.02, "half-squared", "sum", samples=N, classes=3, batch=6)
    with pytest.raises(
        InputError, match=r"another training\.learning_rate \(0\.002, not 0\.02\).*overwrite=True"
    ):
        Recorder(tmp_path / "run", Y, clock=faster)
    with pytest.raises(InputError, match=r"another data\.counts|another data\.labels"):
        Recorder(tmp_path / "run", Y[::-1].copy(), clock=CLOCK)
    assert recorded(tmp_path / "run", steps=3, clock=faster, overwrite=True).last == 3


def test_what_is_no_recording_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="exists already"):
        Recorder(tmp_path, Y, clock=CLOCK)
    own = RunDirectory.create(tmp_path / "own", CONFIG)
    with pytest.raises(InputError, match="training from here"):
        Recorder(own.path, Y, clock=CLOCK)


def test_a_directory_belongs_to_one_recorder_at_a_time(tmp_path):
    first = recorded(tmp_path / "run", steps=1, close=False)
    with pytest.raises(InUseError, match=r"in use by process .*; that is this one: close\(\) the recorder"):
        Recorder(tmp_path / "run", Y, clock=CLOCK)
    first.close()
    Recorder(tmp_path / "run", Y, clock=CLOCK).close()


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_only_rank_0_writes(tmp_path, monkeypatch, how):
    if how == "variable":
        monkeypatch.setenv("RANK", "1")
    other = recorded(tmp_path / "run", steps=2, rank=1 if how == "argument" else None)
    assert not other.writes
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="recorded nothing"):
        _ = other.run


def test_a_diverged_loop_ends_the_recording_and_not_the_training(tmp_path):
    recorder = Recorder(tmp_path / "run", Y, clock=CLOCK)
    _, H, W, b, _ = next(loop())
    recorder(0, H, W, b)
    with pytest.warns(RecordingWarning, match="not finite at step 4"):
        assert recorder(4, H * np.nan, W, b) is None
    assert recorder(5, H, W, b) is None
    recorder.close()
    outcome = read_outcome(recorder.run)
    assert (outcome.result, outcome.step) == ("diverged", 0)


def test_metrics_of_ones_own_and_sinks(tmp_path):
    seen = []
    recorder = Recorder(
        tmp_path / "run", Y, clock=CLOCK, sinks=[lambda step, line: seen.append((step, line))]
    )
    _, H, W, b, _ = next(loop())
    line = recorder(2, H, W, b, accuracy_test=0.5)
    assert line == document(recorder.run.metrics()[0]) == {"step": 2, **seen[0][1]}
    assert line["accuracy_test"] == 0.5
    assert line["time"] == CLOCK.time(2)
    for value in "high", np.ones(3), None:
        with pytest.raises(InputError, match=r"accuracy_test = .*: must be one number"):
            recorder(3, H, W, b, accuracy_test=value)


def test_a_broken_loop_has_not_ended(tmp_path):
    def broken():
        with Recorder(tmp_path / "run", Y, clock=CLOCK) as recorder:
            for step, H, W, b, _ in loop():
                recorder(step, H, W, b)
                if step == 3:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert read_outcome(RunDirectory.open(tmp_path / "run")) is None


def test_a_head_without_a_bias_is_recorded_as_one(tmp_path):
    with Recorder(tmp_path / "run", Y, clock=CLOCK) as recorder:
        for step, H, W, _, _ in loop(steps=3, biased=False):
            recorder(step, H, W)
    config = RunDirectory.open(tmp_path / "run").config
    assert not config.model.head_bias
    assert config.unpredicted is None


def test_imbalanced_classes_are_recorded(tmp_path):
    labels = np.array([0] * 6 + [1] * 2 + [2] * 4)
    recorder = Recorder(tmp_path / "run", labels, clock=CLOCK)
    for step, H, W, b, _ in loop(2, labels=labels):
        recorder(step, H, W, b)
    assert recorder.run.read_snapshot(0).sizes.counts == (6, 2, 4)
    assert recorder.run.config.data.counts == (6, 2, 4)
    assert recorder.run.config.unpredicted is None
    twice = nf.Clock(0.002, "half-squared", "sum", samples=24, classes=3)
    with Recorder(tmp_path / "part", labels, clock=twice) as part:
        part(0, H, W, b)
    assert "observed on a part" in part.run.config.unpredicted


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"snapshots": 0.5}, "snapshots"),
        ({"kernels": [-1]}, "kernels"),
        ({"budget": -1}, "budget"),
        ({"features": lambda p, x: x}, "X"),
        ({"measure": {"method": "guess"}}, "kernels.method"),
        ({"measure": {"quantity": ["tensor"]}}, "measure.quantity"),
        ({"clock": nf.Clock(0.1, "half-squared", "sum", samples=5, classes=3)}, "y"),
    ],
    ids=["snapshots", "kernels", "budget", "X", "method", "setting", "samples"],
)
def test_settings_are_checked_before_the_training(tmp_path, settings, what):
    with pytest.raises(InputError) as refused:
        Recorder(tmp_path / "run", Y, **{"clock": CLOCK, **settings})
    assert refused.value.argument == what


def test_a_head_of_one_step_is_refused(tmp_path):
    head = nnx.Linear(5, 3, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"as it is at one step.*give its path.*lambda net: net\.head"):
        Recorder(tmp_path / "run", Y, clock=CLOCK, X=inputs(), features=lambda net, x: x, head=head)


def test_a_head_is_needed(tmp_path):
    recorder = Recorder(tmp_path / "run", Y, clock=CLOCK)
    with pytest.raises(InputError, match="was given no head"):
        recorder(0, next(loop())[1])


def test_the_cadence():
    steps = Cadence(checked("kernels", 2.0))
    taken = []
    for step in (0, 5, 6, 10, 19, 20, 39):
        if steps.due(step):
            steps.done(step)
            taken.append(step)
    assert taken == [0, 5, 10, 20]
    assert not Cadence(None).due(0)


def test_the_budget_is_a_share_of_the_time_gone_by(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    budget = Budget(0.1, began=0.0)
    assert budget.allows()  # the first is always within it
    budget.took(2.0)
    for gone, allowed in ((2.0, False), (20.0, False), (40.0, True)):
        now[0] = gone
        assert budget.allows() == allowed


def seen_at(step, scale):
    sizes = nf.Sizes(3, 2, 4)
    rng = np.random.default_rng(0)
    state = nf.State(scale * rng.normal(size=(4, 6)), scale * rng.normal(size=(3, 4)), np.zeros(3))
    return StoredSnapshot(step, float(step), state, sizes)


def test_kernels_are_measured_where_a_sign_of_their_change_has_moved():
    cadence = KernelCadence(2.0, 0.25, 1e9)
    taken = []
    # Fast to step 10, then still: a factor would measure at 16, 32 and 64 for nothing.
    for step in range(120):
        seen = seen_at(step, np.exp(0.02 * min(step, 10)))
        assert cadence.may(step)
        if cadence.due(seen):
            cadence.done(seen, 0.0)
            taken.append(step)
    # |W|^2 and H^T H go as exp(.04 s), which is 1.25 at 5.6; at the latest when the step has grown tenfold.
    assert taken == [0, 6, 60]
    again = KernelCadence(2.0, 0.25, 1e9)
    again.resume(seen_at(6, np.exp(0.12)))
    assert not again.due(seen_at(7, np.exp(0.14)))
    again.stop()
    assert not again.may(900)


def test_a_sign_of_change_is_refused_beside_what_it_replaces():
    for steps in ((0, 5), None):
        with pytest.raises(InputError, match="in place of a factor"):
            KernelCadence(steps, 0.25, 0.1)
    with pytest.raises(InputError, match="kernel_change"):
        KernelCadence(2.0, 0.0, 0.1)
    slow = KernelCadence(2.0, 0.25, 0.0)
    slow.done(seen_at(0, 1.0), 5.0)
    # Out of the budget.
    assert not slow.due(seen_at(5, 3.0))


@pytest.mark.filterwarnings("ignore::ntkflow_validation.kernels.magnitude.GradientWarning")
def test_features_that_do_not_move_are_recorded_with_a_kernel_of_0(tmp_path):
    def dead(params, x):
        return jnp.maximum(x @ params["V"], 0)

    net = {"V": -np.ones((7, 5), np.float32), "W": np.ones((3, 5))}
    X = np.abs(inputs()).astype(np.float32)
    recorder = Recorder(
        tmp_path / "run", Y, clock=CLOCK, X=X, features=dead, head=lambda p: (p["W"], None), kernels=[0]
    )
    with recorder:
        assert recorder(0, net)["loss"] == pytest.approx(N / 2)
    found = recorder.run.measurement(0)
    assert found.kappa_d.value == 0
    assert found.pairs.share == found.pairs.block_residual(0.0) == 0
