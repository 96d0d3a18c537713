"""Loops of frameworks, which the recorder hangs itself into: the same lines as calling it by hand."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from ntkflow_validation.recording import callbacks
from ntkflow_validation.recording.recorder import Recorder

from ntkflow.errors import InputError
from tests.validation.recording.loops import CLOCK, Y, inputs, loop


class Counting:
    """Stands in for a recorder."""

    def __init__(self, last=None):
        self.last, self.seen, self.closed = last, [], False

    def __call__(self, step, network):
        self.seen.append((step, network))
        self.last = step

    def close(self):
        self.closed = True


def test_each_records_every_so_many_steps_and_hands_over_what_it_is_given():
    recorder = Counting()
    record = callbacks.each(recorder, 3)
    # As Flax's TrainState, of which `features` and `head` are functions here as everywhere.
    states = [SimpleNamespace(params=step, apply_gradients=None) for step in range(8)]
    for step, state in enumerate(states):
        record(step, state)
    assert recorder.seen == [(0, states[0]), (3, states[3]), (6, states[6])]


def test_steps_that_are_there_are_passed_over():
    recorder = Counting(last=4)
    record = callbacks.each(recorder, 2)
    for step in range(2, 9):
        record(step, "net")
    assert [step for step, _ in recorder.seen] == [6, 8]


def test_an_optimiser_records_after_its_own_steps():
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 1)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    recorder = Counting()
    handle = callbacks.after_steps(recorder, optimiser, net, every=2)
    for _ in range(5):
        net(torch.ones(1, 2)).sum().backward()
        optimiser.step()
    handle.remove()
    optimiser.step()
    assert recorder.seen == [(0, net), (2, net), (4, net)]


def test_an_optimiser_without_hooks_is_refused():
    with pytest.raises(InputError, match="register_step_post_hook"):
        callbacks.after_steps(Counting(), object(), None)


@pytest.mark.parametrize("library", ["lightning", None])
def test_lightning_records_by_its_global_step_and_closes(monkeypatch, library):
    class Base:
        pass

    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: (name == library) or None)
    if library:
        module = ModuleType("lightning.pytorch")
        module.Callback = Base
        monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
        monkeypatch.setitem(sys.modules, "lightning.pytorch", module)
    recorder = Counting()
    callback = callbacks.lightning(recorder, every=2)
    assert isinstance(callback, Base) == bool(library)
    trainer = SimpleNamespace(is_global_zero=True, global_step=0)
    callback.on_train_start(trainer, "module")
    for step in (1, 1, 2, 2, 3):  # gradients are accumulated over two batches
        trainer.global_step = step
        callback.on_train_batch_end(trainer, "module", None, None, 0)
    callback.on_train_end(trainer, "module")
    assert [step for step, _ in recorder.seen] == [0, 2, 3]
    assert recorder.closed


def test_other_ranks_of_lightning_do_nothing():
    recorder = Counting()
    callback = callbacks.lightning(recorder)
    trainer = SimpleNamespace(is_global_zero=False, global_step=0)
    callback.on_train_start(trainer, "module")
    callback.on_train_batch_end(trainer, "module", None, None, 0)
    callback.on_train_end(trainer, "module")
    assert (recorder.seen, recorder.closed) == ([], False)


def test_a_torch_module_is_read_in_inference_mode_and_left_as_it_was(tmp_path):
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Linear(7, 5, bias=False), torch.nn.Dropout(0.5))
            self.frozen = torch.nn.Dropout(0.5).eval()
            self.head = torch.nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.body(x))

    net = Net()
    *_, (_, H, W, b, V) = loop(0)
    with torch.no_grad():
        net.body[0].weight.copy_(torch.from_numpy(V.T))
        net.head.weight.copy_(torch.from_numpy(W))
        net.head.bias.copy_(torch.from_numpy(b))
    recorder = Recorder(
        tmp_path / "run",
        Y,
        clock=CLOCK,
        X=torch.from_numpy(inputs()),
        features=lambda net, x: net.body(x),
        head="head",
    )
    recorder(0, net)
    recorder.close()
    order = np.argsort(Y, kind="stable")
    state = recorder.run.read_snapshot(0).state
    np.testing.assert_allclose(state.H, H[order].T, atol=1e-6)
    np.testing.assert_allclose(state.W, W, atol=1e-7)
    K = (inputs() @ inputs().T)[np.ix_(order, order)]
    np.testing.assert_allclose(recorder.run.measurement(0).features.mean, K, atol=1e-5)
    assert net.training
    assert net.body[1].training
    assert not net.frozen.training
