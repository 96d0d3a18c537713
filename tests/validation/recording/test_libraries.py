"""Callbacks and sinks with the libraries themselves: a training by Lightning, event files and offline files read back."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ntkflow_validation.recording import Recorder, TensorBoard, WandB, lightning
from ntkflow_validation.runs.training_run import read_outcome

import ntkflow as nf
from tests.validation.recording.loops import CLOCK, Y, inputs, loop, n

LINE = {"loss": 1.5, "NC1": float("nan"), "invariant_refused": "words", "accuracy_train": 1}
# Those of the libraries, about themselves.
theirs = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def scalars(directory):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reading.EventAccumulator(str(directory)).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


@theirs
@pytest.mark.slow
@pytest.mark.parametrize("library", ["torch.utils.tensorboard", "tensorboardX"])
def test_event_files_are_read_by_tensorboard(tmp_path, monkeypatch, library):
    pytest.importorskip("tensorboard")
    pytest.importorskip(library)
    other = {"tensorboardX", "torch.utils.tensorboard"} - {library}
    monkeypatch.setitem(sys.modules, other.pop(), None)
    sink = TensorBoard(tmp_path)
    assert type(sink._writer).__module__.startswith(library)
    sink(7, LINE)
    sink(9, {"loss": 0.25})
    sink.close()
    assert scalars(tmp_path) == {"ntkflow/loss": [(7, 1.5), (9, 0.25)], "ntkflow/accuracy_train": [(7, 1.0)]}


def records(path):
    """Records of a .wandb file: LevelDB's log, in blocks of 32 KiB, behind seven bytes."""
    content, at, part = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        part += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield part
            part = b""


def logged(path):
    """Lines of the histories in the offline files under a directory, by step."""
    from wandb.proto import wandb_internal_pb2

    found = {}
    for file in sorted(path.rglob("*.wandb")):
        for content in records(file):
            record = wandb_internal_pb2.Record.FromString(content)
            if record.HasField("history"):
                row = {
                    item.key or ".".join(item.nested_key): json.loads(item.value_json)
                    for item in record.history.item
                }
                found[row["_step"]] = {k: v for k, v in row.items() if not k.startswith("_")}
    return found


@theirs
@pytest.mark.slow
def test_offline_files_of_weights_and_biases_hold_the_numbers_and_another_run_goes_on(
    tmp_path, capfd, monkeypatch
):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    mine = wandb.init(dir=str(tmp_path), mode="offline", project="training")
    sink = WandB(tmp_path / "sink")
    sink(7, LINE)
    sink(9, {"loss": 0.25})
    sink.close()
    assert wandb.run is mine
    mine.log({"mine": 1})
    mine.finish()
    assert logged(tmp_path / "sink") == {
        7: {"ntkflow/loss": 1.5, "ntkflow/accuracy_train": 1.0},
        9: {"ntkflow/loss": 0.25},
    }
    assert "".join(capfd.readouterr()) == ""


@theirs
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*(num_workers|log_every_n_steps|GPU)")
def test_a_training_by_lightning_records_what_a_loop_by_hand_does(tmp_path):
    pytest.importorskip("lightning")
    torch = pytest.importorskip("torch")
    import lightning.pytorch as pl

    _, _, W, _, V = next(loop(0))
    X, targets = torch.from_numpy(inputs()).float(), torch.eye(3)[torch.from_numpy(Y)]

    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Linear(7, n, bias=False), torch.nn.Linear(n, 3)
            with torch.no_grad():
                self.body.weight.copy_(torch.from_numpy(V.T))
                self.head.weight.copy_(torch.from_numpy(W))
                self.head.bias.zero_()

        def training_step(self, batch, _):
            x, y = batch
            return ((self.head(self.body(x)) - y) ** 2).sum() / 2

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), CLOCK.learning_rate)

    recorder = Recorder(
        tmp_path / "run", Y, clock=CLOCK, X=inputs(), features=lambda net, x: net.body(x), head="head",
        kernels=[0],
    )  # fmt: skip
    trainer = pl.Trainer(
        max_epochs=8, accelerator="cpu", callbacks=[lightning(recorder, every=3)], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Net(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, targets), len(Y)))
    by_hand = {step: (H, W) for step, H, W, _, _ in loop(8)}
    assert [line.step for line in recorder.run.metrics()] == [0, 3, 6, 8]
    order = np.argsort(Y, kind="stable")
    for step in recorder.run.steps():
        state = recorder.run.read_snapshot(step).state
        np.testing.assert_allclose(state.H, by_hand[step][0][order].T, atol=1e-5)
        np.testing.assert_allclose(state.W, by_hand[step][1], atol=1e-5)
    assert recorder.run.measured() == [0]
    assert read_outcome(recorder.run).result == "complete"
    assert len(nf.load(Path(recorder.path))) == 4


DDP = """
import sys

import lightning, numpy as np, torch
from ntkflow_validation.recording import Recorder, lightning as callback
import ntkflow as nf

N, C = 12, 3
y, X = np.arange(N) % C, np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)

class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = torch.nn.Linear(5, 4), torch.nn.Linear(4, C)

    def training_step(self, batch, _):
        return torch.nn.functional.mse_loss(self.head(self.body(batch[0])), torch.eye(C)[batch[1]])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

clock = nf.Clock(0.1, "squared", "mean", samples=N, classes=C)
recorder = Recorder(sys.argv[1], y, clock=clock, X=X, features=lambda net, x: net.body(x), head="head", kernels=[0])
data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
trainer = lightning.Trainer(
    max_epochs=3, accelerator="cpu", devices=2, strategy="ddp", callbacks=[callback(recorder, every=2)], **quiet
)
trainer.fit(Net(), torch.utils.data.DataLoader(data, batch_size=6))
with open(f"{sys.argv[1]}-{trainer.global_rank}", "w") as file:
    file.write(f"{recorder.writes} {recorder.last}")
"""


@pytest.mark.slow
def test_of_two_processes_under_lightning_rank_0_alone_writes(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("lightning")
    script, run = tmp_path / "train.py", tmp_path / "run"
    script.write_text(DDP)
    done = subprocess.run(
        [sys.executable, script, run], capture_output=True, text=True, timeout=600, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # Each process takes one batch of two, so that there are three steps, of which every second is recorded and the last.
    assert (tmp_path / "run-0").read_text() == "True 3"
    assert (tmp_path / "run-1").read_text() == "False None"
    found = nf.load(run)
    assert list(found.steps) == [0, 2, 3]
    assert read_outcome(found.run).result == "complete"
