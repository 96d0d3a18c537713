"""What a module of PyTorch is refused for, or warned of."""

import copy
import warnings

import numpy as np
import pytest
from ntkflow_validation.kernels import gram, measure
from ntkflow_validation.kernels.magnitude import GradientWarning

from ntkflow.errors import InputError, PrecisionWarning

torch = pytest.importorskip("torch")
from tests.validation.kernels.backends.pytorch.test_backend import LABELS, X, backend, network  # noqa: E402 - needs torch

# The networks here have the statistics that they were made with, and that is said; tests of what is said of these are elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::ntkflow_validation.normalisation.StatisticsWarning")


def test_random_layers_are_refused():
    body = network()
    body.drop.p = 0.5
    body.train()
    with pytest.raises(InputError, match=r"call eval\(\)"):
        backend(body).rows(X, np.eye(4))


def test_a_gradient_that_is_not_finite_is_named():
    class Root(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(5, 3, bias=False)

        def forward(self, x):
            return torch.sqrt(self.layer(x).abs())

    x = X.copy()
    x[7] = 0
    with pytest.raises(InputError, match=r"gradients = .* at neuron 0 of sample 7, by layer\.weight"):
        measure(backend(Root()), None, x, LABELS)


def test_batch_mode_of_a_module_in_inference_mode_is_refused_and_leaves_it_so():
    body = network()
    with pytest.raises(InputError, match=r"bn.*takes the running statistics.*call train\(\)"):
        measure(body, None, X, LABELS, bn="batch", probes=2)
    assert not any(m.training for m in body.modules())
    body.norm.train()
    found = measure(body, None, X, LABELS, bn="batch", probes=2)
    assert found.bn == "batch"
    assert body.norm.training
    assert not body.training
    assert "2 random directions of 4 neurons" in repr(found)


def test_forgotten_eval_is_refused_with_the_remedy():
    body = network().train()
    with pytest.raises(InputError, match=r"batch normalisation norm in training mode.*call eval\(\)"):
        measure(body, None, X, LABELS)
    assert body.training
    body.eval()
    body.drop.p = 0.5
    body.drop.train()
    for bn in ("eval", "batch"):
        with pytest.raises(InputError, match=r"dropout in training mode \(drop\).*call eval\(\)"):
            measure(body, None, X, LABELS, bn=bn, probes=2)
    untracked = torch.nn.Sequential(
        torch.nn.BatchNorm1d(5, track_running_stats=False), torch.nn.Linear(5, 3)
    ).eval()
    with pytest.raises(InputError, match="without running statistics"):
        measure(untracked, None, X, LABELS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_measured_in_single_and_said(dtype):
    half = network().to(getattr(torch, dtype))
    single = copy.deepcopy(half).float()
    with pytest.warns(PrecisionWarning, match="in single precision"):
        found = measure(half, None, X, LABELS)
    np.testing.assert_array_equal(found.features.mean, measure(single, None, X, LABELS).features.mean)
    assert half.out.weight.dtype == getattr(torch, dtype)


@pytest.mark.parametrize("widened", [False, True], ids=["half features", "single features"])
def test_a_module_that_computes_in_half_precision_by_itself_is_named(widened):
    inner = network()

    class Casting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = self.inner(x)
            return found.float() if widened else found

    with pytest.warns(PrecisionWarning, match=r"computes in half precision.*autocast"):
        measure(Casting().eval(), None, X, LABELS)
    # What is around the call is none of the module's.
    with warnings.catch_warnings(), torch.autocast("cpu", dtype=torch.bfloat16):
        warnings.simplefilter("error", PrecisionWarning)
        measure(inner, None, X, LABELS)


@pytest.mark.parametrize(
    "layer",
    [lambda: torch.nn.LazyLinear(4), lambda: torch.nn.Linear(5, 4, device="meta")],
    ids=["lazy", "meta"],
)
def test_parameters_without_numbers_are_refused(layer):
    # Lazy layers say on being made that they are new.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        body = torch.nn.Sequential(torch.nn.Linear(5, 5), layer()).eval()
    with pytest.raises(InputError, match=r"^params = 1\.weight, .*has no numbers.*on a batch once"):
        measure(body, None, X, LABELS)


@pytest.mark.parametrize(
    "cut",
    [lambda net, x: net(x).detach(), torch.no_grad()(lambda net, x: net(x))],
    ids=["detach", "no_grad"],
)
def test_features_that_are_cut_off_from_the_parameters_are_said(cut):
    with pytest.warns(GradientWarning, match="torch.no_grad, detach or"):
        assert measure(network(), None, X, LABELS, forward=cut).kappa_d.value == 0
    with pytest.warns(GradientWarning):
        gram(network(), None, X, forward=cut)


@pytest.mark.parametrize(
    "compiled", [torch.jit.script, lambda net: torch.jit.trace(net, torch.from_numpy(X))]
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_modules_that_torch_has_compiled_are_refused(compiled):
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU()).eval()
    for given in (compiled(net), torch.nn.Sequential(compiled(net), torch.nn.ReLU()).eval()):
        with pytest.raises(
            InputError, match=r"^features = module (itself|0), compiled by torch\.jit: .*compiled from"
        ):
            gram(given, None, X)


def test_what_cannot_be_differentiated_is_told():
    class Outside(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(5, 3)

        def forward(self, x):
            return torch.from_numpy(np.tanh(self.layer(x).numpy()))

    with pytest.raises(InputError, match=r"^(features|gradients) = RuntimeError"):
        measure(Outside(), None, X, LABELS)
