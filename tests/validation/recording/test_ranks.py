"""Ranks are read from what is running, without starting anything."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from ntkflow_validation.recording import ranks

import ntkflow as nf

# One process of two, or the only one with both batches: the gradient is the same mean over all samples.
TRAINING = """
import sys

import numpy as np, torch
import ntkflow as nf

run, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
N, C = 12, 3
y, X = np.arange(N) % C, np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
torch.manual_seed(0)
torch.set_num_threads(1)
net = torch.nn.Sequential()
net.body, net.head = torch.nn.Linear(5, 4), torch.nn.Linear(4, C)
if size > 1:
    torch.distributed.init_process_group("gloo", init_method=f"file://{run}-meeting", rank=rank, world_size=size)
    net = torch.nn.parallel.DistributedDataParallel(net)
clock = nf.Clock(0.1, "squared", "mean", samples=N, classes=C)
recorder = nf.Recorder(run, y, clock=clock, X=X, features=lambda net, x: net.body(x), head="head", kernels=[0])
optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
for step in range(5):
    if step % 2 == 0:
        recorder(step, net)
    optimiser.zero_grad()
    mine = slice(rank, None, size)
    torch.nn.functional.mse_loss(net(torch.from_numpy(X[mine])), torch.eye(C)[torch.from_numpy(y[mine])]).backward()
    optimiser.step()
recorder.close()
if size > 1:
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
print(recorder.writes, recorder.last)
"""


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


@pytest.mark.slow
def test_of_two_processes_of_torch_the_first_writes_what_one_alone_would(tmp_path):
    pytest.importorskip("torch")
    script = tmp_path / "train.py"
    script.write_text(TRAINING)

    def begun(run, rank, size):
        command = [sys.executable, script, tmp_path / run, str(rank), str(size)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    both, alone = [begun("both", rank, 2) for rank in range(2)], begun("alone", 0, 1)
    said = [process.communicate(timeout=300) for process in (*both, alone)]
    assert [out.split() for out, _ in said] == [["True", "4"], ["False", "None"], ["True", "4"]], said
    found, wanted = nf.load(tmp_path / "both"), nf.load(tmp_path / "alone")
    assert list(found.steps) == list(wanted.steps) == [0, 2, 4]
    for step in found.steps.tolist():
        pair = [one.run.read_snapshot(step).state for one in (found, wanted)]
        np.testing.assert_allclose(pair[0].W, pair[1].W, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(pair[0].H, pair[1].H, rtol=1e-5, atol=1e-6)
