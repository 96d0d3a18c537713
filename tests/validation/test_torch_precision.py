"""What is measured of a module of torch is float32, whatever the process has chosen, and its choice stays."""

import numpy as np
import pytest
from ntkflow_validation.normalisation import recalibrate
from ntkflow_validation.precision import full_in_torch
from ntkflow_validation.recording.reader import Reader

torch = pytest.importorskip("torch")
from ntkflow_validation.kernels.backends.pytorch.backend import TorchBackend  # noqa: E402

X = np.random.default_rng(0).normal(size=(6, 1, 4, 4)).astype(np.float32)
PLACES = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


def place(name):
    kind, part = name.split(".")
    return getattr(getattr(torch.backends, kind), part)


def newer():
    return [place(name).fp32_precision for name in PLACES] if hasattr(torch.backends.cudnn, "conv") else []


def older():
    backends = torch.backends
    return (torch.get_float32_matmul_precision(), backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32)


class Net(torch.nn.Module):
    """Notes what it is computed in."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(8, 3)
        self.body, self.seen, self.look = torch.nn.Sequential(*layers), [], older

    def forward(self, x):
        self.seen.append(self.look())
        return self.body(x)


MEASURED = {
    "kernels": lambda net: TorchBackend(net.eval(), X).rows(X, np.eye(3)),
    "features": lambda net: Reader(lambda n, x: n(x), X)(net),
    "statistics": lambda net: recalibrate(net, X, inplace=True),
}


@pytest.fixture
def choice():
    """Puts back what the process had."""
    before, was = older(), newer()
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[2]
    for name, precision in zip(PLACES, was, strict=False):
        place(name).fp32_precision = precision


@pytest.mark.parametrize("what", MEASURED)
def test_products_and_convolutions_are_exact_and_the_choice_stays(what, choice):
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    before, net = (older(), newer()), Net()
    assert before[0] == ("medium", True, True)
    MEASURED[what](net)
    assert set(net.seen) == {("highest", False, False)}
    assert (older(), newer()) == before
    net(torch.from_numpy(X))
    assert net.seen[-1] == ("medium", True, True)


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "conv"), reason="this torch has the older settings alone"
)
def test_so_they_are_where_the_newer_settings_were_used(choice):
    for name, precision in zip(PLACES, ("tf32", "tf32", "tf32", "bf16", "bf16", "bf16"), strict=True):
        place(name).fp32_precision = precision
    before, net = newer(), Net()
    net.look = lambda: tuple(newer())
    MEASURED["features"](net)
    assert set(net.seen) == {("ieee",) * 6}
    assert newer() == before


def test_what_fails_inside_leaves_the_choice_too(choice):
    torch.set_float32_matmul_precision("high")
    before = older(), newer()
    with pytest.raises(ZeroDivisionError), full_in_torch():
        1 / 0  # noqa: B018
    assert (older(), newer()) == before
