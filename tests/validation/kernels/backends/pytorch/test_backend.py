"""A module of PyTorch: what it trains is differentiated by, and it is left as it was."""

import copy
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from ntkflow_validation.kernels import FolderStore, gram, measure

from ntkflow.errors import InputError

torch = pytest.importorskip("torch")
# The networks here have the statistics that they were made with, and that is said; tests of what is said are elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::ntkflow_validation.normalisation.StatisticsWarning")

LABELS = np.repeat([0, 1, 2], 4)
X = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
HERE = Path(__file__).resolve()


def backend(body, **settings):
    from ntkflow_validation.kernels.backends.pytorch.backend import TorchBackend

    return TorchBackend(body, X, **settings)


def network(seed=0, slope=1.0):
    torch.manual_seed(seed)

    class Shared(torch.nn.Module):
        """The same layer twice, a weight shared by two layers, buffers, and dropout."""

        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(5, 5)
            self.again = self.first
            self.tied = torch.nn.Linear(5, 5, bias=False)
            self.tied.weight = self.first.weight
            self.norm, self.drop = torch.nn.BatchNorm1d(5), torch.nn.Dropout(0.0)
            self.out = torch.nn.Linear(5, 4)

        def forward(self, x):
            x = self.again(torch.nn.functional.leaky_relu(self.first(x), slope / 10))
            return self.out(torch.tanh(self.norm(self.tied(self.drop(x)))))

    return Shared().eval()


def mean_of_squares(body, parameters):
    """Mean of K_ii over neurons and samples, by torch.autograd alone."""
    total = 0.0
    for x in torch.from_numpy(X):
        h = body(x[None])[0]
        for value in h:
            total += sum(float((g.double() ** 2).sum()) for g in
                         torch.autograd.grad(value, parameters, retain_graph=True))  # fmt: skip
    return total / (len(X) * len(h))


def everything(body):
    """All that could be changed: what is where, its numbers, gradients, modes, attributes, random state."""
    modules = list(body.modules())
    tensors = [t for m in modules for t in (*m._parameters.items(), *m._buffers.items())]
    return {
        "places": [(id(m), sorted(vars(m)), id(m._parameters), m.training) for m in modules],
        "tensors": [(name, id(t), type(t)) for name, t in tensors],
        "settings": [(t.requires_grad, t.dtype, t.device, t._version) for _, t in tensors if t is not None],
        "numbers": [t.detach().clone().numpy().tobytes() for _, t in tensors if t is not None],
        "gradients": [None if t is None or t.grad is None else t.grad.numpy().tobytes() for _, t in tensors],
        "random": (torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()[1].tobytes())),  # noqa: NPY002
    }


def step(body):
    """Parameters after a step of training from this state."""
    optimiser = torch.optim.SGD(body.parameters(), lr=0.1, momentum=0.9)
    body.train()
    loss = body(torch.from_numpy(X)).square().mean() + 0.0 * torch.rand(1).sum()
    loss.backward()
    optimiser.step()
    return [p.detach().numpy().copy() for p in body.parameters()], torch.rand(1).item()


def failing(body):
    def hook(module, given, output):
        del module, given
        return output * float("nan")

    return body.out.register_forward_hook(hook)


@pytest.mark.parametrize("case", ["eval", "batch", "refused", "raising", "fingerprint"])
def test_the_module_is_left_as_it_was(case):
    body, twin = network(), network()
    body(torch.from_numpy(X)).square().mean().backward()
    twin(torch.from_numpy(X)).square().mean().backward()
    if case == "batch":
        body.train()
    torch.manual_seed(3)
    hook = failing(body) if case == "refused" else None
    before = everything(body)
    if case == "refused":
        with pytest.raises(InputError, match="features"):
            measure(backend(body), None, X, LABELS)
    elif case == "raising":
        with pytest.raises(InputError, match=r"RuntimeError: mat1 .* does not run on X"):
            backend(body).features(X[:, :3])
    elif case == "fingerprint":
        backend(body).fingerprint()
    else:
        measure(backend(body), None, X, LABELS, bn=case, probes=2)
    assert everything(body) == before
    assert body.again is body.first
    assert body.tied.weight is body.first.weight
    assert type(body.first.weight) is torch.nn.Parameter
    if hook is not None:
        hook.remove()
    body.train(), twin.train()
    (mine, drawn), _ = step(body), torch.manual_seed(3)
    theirs, as_drawn = step(twin)
    assert drawn == as_drawn
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_shared_parts_are_differentiated_as_one():
    body = network()
    found = measure(backend(body), None, X, LABELS)
    assert found.kappa_d.value == pytest.approx(mean_of_squares(body, list(body.parameters())), rel=1e-5)


def test_recurrent_layers_that_keep_lists_of_their_weights():
    class Body(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = torch.nn.GRU(5, 4, batch_first=True)

        def forward(self, x):
            return self.cell(x[:, None, :])[0][:, 0]

    torch.manual_seed(0)
    body = Body().eval()
    flat = list(map(id, body.cell._flat_weights))
    V = np.eye(4, dtype=np.float32)[:, None].repeat(12, axis=1)
    G = backend(body).pull(X, V)
    h = body(torch.from_numpy(X)).sum(dim=0)
    for q in range(4):
        expected = torch.autograd.grad(h[q], list(body.parameters()), retain_graph=True)
        np.testing.assert_allclose(G[q], np.concatenate([g.ravel() for g in expected]), atol=1e-5)
    assert list(map(id, body.cell._flat_weights)) == flat


def attending():
    """Attention over the entries of x, as in a transformer, with layer normalisation."""
    torch.manual_seed(0)

    class Attending(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Linear(1, 8)
            self.layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
            self.out = torch.nn.Linear(8, 4)

        def forward(self, x):
            return self.out(self.layer(self.embed(x[..., None])).mean(1))

    return Attending().eval()


def test_attention_is_mapped_over_without_a_word():
    body = attending()
    expected = mean_of_squares(body, list(body.parameters()))
    # Not as errors, which would be taken for a module that cannot be mapped.
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = gram(body, None, X)
    assert np.trace(found) / len(X) == pytest.approx(expected, rel=1e-4)
    assert not [str(w.message) for w in said]


def test_frozen_parameters_are_not_counted():
    body = network()
    body.first.requires_grad_(False)
    free = [p for p in body.parameters() if p.requires_grad]
    found = measure(backend(body), None, X, LABELS)
    assert found.kappa_d.value == pytest.approx(mean_of_squares(body, free), rel=1e-5)
    assert found.parameters == sum(p.numel() for p in free) == 10 + 24
    assert found.total_parameters == 30 + 10 + 24
    same = backend(body)
    body.requires_grad_(True)
    assert measure(same, None, X, LABELS).parameters == 64
    body.requires_grad_(False)
    with pytest.raises(InputError, match="none of 64 numbers is trained"):
        backend(body)


def test_a_mask_chooses():
    body = network()
    masks = (
        lambda name: name.startswith("out"),
        {n: n.startswith("out") for n, _ in body.named_parameters()},
    )
    for mask in masks:
        found = measure(backend(body, trainable=mask), None, X, LABELS)
        expected = mean_of_squares(body, list(body.out.parameters()))
        assert found.kappa_d.value == pytest.approx(expected, rel=1e-5)
        assert found.parameters == 24
    with pytest.raises(InputError, match="every name"):
        backend(body, trainable={"out.weight": True})


def test_modules_of_double_precision_are_measured():
    body = network()
    expected = measure(backend(body), None, X, LABELS).kappa_d.value
    found = measure(backend(body.double()), None, X.astype(np.float64), LABELS)
    assert found.kappa_d.value == pytest.approx(expected, rel=1e-5)
    assert body.out.weight.dtype == torch.float64


def test_a_store_knows_modules_apart(tmp_path):
    store = FolderStore(tmp_path)

    def value(body):
        return measure(backend(body), None, X, LABELS, store=store).kappa_d.value

    body = network()
    first = value(body)
    assert len(list(tmp_path.iterdir())) == 1
    assert value(network()) == first
    assert len(list(tmp_path.iterdir())) == 1
    # The same parameters, and another activation, statistic, or set of trained ones.
    assert value(network(slope=2.0)) != first
    body.norm.running_var.mul_(4)
    assert value(body) != first
    frozen = network()
    frozen.out.requires_grad_(False)
    assert value(frozen) != first
    assert len(list(tmp_path.iterdir())) == 4


def test_what_cannot_be_traced_is_never_found():
    class Branching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(x) if float(x.detach().sum()) > 0 else 2 * self.inner(x)

    body = Branching()
    assert backend(body).fingerprint() != backend(body).fingerprint()
    assert backend(body.inner).fingerprint() == backend(copy.deepcopy(body.inner)).fingerprint()


def test_processes_agree_on_the_name():
    code = f"import sys; sys.path.insert(0, {str(HERE.parents[4])!r}); "
    code += "from tests.validation.kernels.backends.pytorch.test_backend import *; print(backend(network()).fingerprint().hex())"
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == backend(network()).fingerprint().hex()


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_heads_of_any_size_are_measured(scale):
    body, W = backend(network()), np.random.default_rng(1).normal(size=(3, 4))
    wanted = ("outputs", "output-pair-norms", "rayleigh", "row-space")
    one, found = (measure(body, None, X, LABELS, head=(s * W, None), quantities=wanted) for s in (1e8, scale))
    across, squared = ~np.eye(3, dtype=bool), (scale / 1e8) ** 2
    np.testing.assert_allclose(
        found.output_pairs.norms[across], squared * one.output_pairs.norms[across], rtol=1e-5
    )
    for name, value in one.row_space.constants.items():
        assert found.row_space.constants[name].value == pytest.approx(value.value, rel=1e-5)
    assert np.isfinite(found.rayleigh.features["mean"])
    if scale > 1:
        assert found.gamma_d.value == pytest.approx(squared * one.gamma_d.value, rel=1e-5)


def kernel_by_autograd(body, x=X):
    """Mean kernel over neurons, a gradient of torch.autograd for every neuron and sample, in float64."""
    parameters = [p for p in body.parameters() if p.requires_grad]
    rows = []
    for xi in torch.from_numpy(np.asarray(x)):
        grads = [
            torch.autograd.grad(h, parameters, retain_graph=True, materialize_grads=True)
            for h in body(xi[None])[0]
        ]
        rows.append([torch.cat([g.double().ravel() for g in of_one]).numpy() for of_one in grads])
    J = np.array(rows)
    return np.einsum("ipa,jpa->ij", J, J) / J.shape[1]


def close(found, expected):
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_a_bare_module_with_tensors_and_a_linear_head():
    body, head = network(), torch.nn.Linear(4, 3, bias=False)
    before = everything(body)
    y = torch.nn.functional.one_hot(torch.from_numpy(LABELS))
    found = measure(body, None, torch.from_numpy(X), y, head=head)
    assert everything(body) == before
    close(found.features.mean, kernel_by_autograd(body))
    pair = measure(backend(body), None, X, LABELS, head=(head.weight.detach().numpy(), None))
    assert found.gamma_d.value == pair.gamma_d.value
    body.first.requires_grad_(False)
    close(measure(body, None, X, LABELS).features.mean, kernel_by_autograd(body))
    only = measure(body, None, X, LABELS, trainable=lambda name: name == "out.weight")
    assert only.parameters == 20
    with pytest.raises(InputError, match=r"^params = .*give None"):
        measure(body, {}, X, LABELS)


def test_gram_of_a_module_between_two_sets():
    body = network()
    whole = kernel_by_autograd(body)
    close(gram(body, None, torch.from_numpy(X[:7]), torch.from_numpy(X[7:])), whole[:7, 7:])


def test_a_head_by_its_path_in_the_module():
    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.last = network(), torch.nn.Linear(4, 3)

        def forward(self, x):
            return self.last(self.body(x))

    net = Whole().eval()
    settings = {"forward": lambda net, x: net.body(x)}
    by_name = measure(net, None, X, LABELS, head="last", **settings)
    assert by_name.gamma_d.value == measure(net, None, X, LABELS, head=net.last, **settings).gamma_d.value
    with pytest.raises(InputError, match="has no 'lost'"):
        measure(net, None, X, LABELS, head="lost", **settings)


def test_several_outputs_and_calls_of_ones_own():
    inner = network()

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x, flag):
            assert flag
            return {"x": x, "h": self.inner(x)}

    found = measure(Two(), None, X, LABELS, forward=lambda net, x: net(x, True), output="h")
    close(found.features.mean, kernel_by_autograd(inner))
    with pytest.raises(InputError, match=r"^features = TypeError: .*forward="):
        measure(Two(), None, X, LABELS)
    with pytest.raises(InputError, match=r"with x, h.*output="):
        measure(Two(), None, X, LABELS, forward=lambda net, x: net(x, True))


class InPlace(torch.nn.Module):
    """Writes to its input, to activations and to a buffer, and takes a step by the data."""

    def __init__(self, branching):
        super().__init__()
        self.branching, self.inner = branching, network()
        self.register_buffer("seen", torch.zeros(5))

    def forward(self, x):
        x += 1.0
        self.seen.add_(x.detach().mean(0)) if self.branching else None
        if self.branching and float(x.detach().sum()) < -1e9:
            return 2 * self.inner(x)
        return torch.nn.functional.relu_(self.inner(x) + 3.0)


@pytest.mark.parametrize("branching", [False, True], ids=["mapped", "one by one"])
def test_operations_in_place_and_steps_by_the_data_change_nothing(branching):
    torch.manual_seed(0)
    body, x = InPlace(branching).eval(), X.copy()
    before = everything(body)
    found = measure(body, None, x, LABELS).features.mean
    assert everything(body) == before
    np.testing.assert_array_equal(x, X)

    def plain(given):
        return torch.relu(body.inner(given + 1.0) + 3.0)

    plain.parameters = body.parameters
    close(found, kernel_by_autograd(plain))


def test_a_method_or_a_function_beside_the_module_is_the_module():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Linear(5, 4), torch.nn.Linear(4, 3)

        def features(self, x):
            return torch.tanh(self.body(x))

    net, x, y = (
        Net().eval(),
        np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32),
        np.arange(6) % 3,
    )
    expected = measure(net, None, x, y, head=net.head, forward=lambda net, x: net.features(x))
    for network, params in ((net.features, None), (lambda net, x: net.features(x), net)):
        found = measure(network, params, x, y, head=lambda net: net.head)
        np.testing.assert_array_equal(found.features.mean, expected.features.mean)
        assert found.gamma_d.value == expected.gamma_d.value
        np.testing.assert_allclose(gram(network, params, x), expected.features.mean, rtol=1e-5)
