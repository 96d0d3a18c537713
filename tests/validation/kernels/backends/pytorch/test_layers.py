"""Layers of PyTorch taken apart: the same gradients as of the whole, and only where they are."""

import numpy as np
import pytest
from ntkflow_validation.kernels import measure
from ntkflow_validation.kernels.backends.layers import Layer

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::ntkflow_validation.normalisation.StatisticsWarning")
LABELS = np.repeat([0, 1], 4)
X = np.random.default_rng(0).normal(size=(8, 2, 6, 5)).astype(np.float32)
nn = torch.nn


class Net(nn.Module):
    """Strided, dilated, padded, grouped and one-dimensional convolutions, normalisation, dense layers on sequences."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=(2, 1), padding=(1, 2), dilation=(1, 2))
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, 1, groups=2)
        self.line = nn.Conv1d(4, 3, 2, stride=2, padding=1, bias=False)
        self.dense, self.out = nn.Linear(3, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = torch.tanh(self.grouped(self.norm(self.first(x))))
        x = torch.tanh(self.line(x.flatten(2))).transpose(1, 2)
        return self.out(torch.tanh(self.dense(x)).mean(1))


class Together(nn.Module):
    """Nothing but layers, so that samples go back together: strides that leave an edge over, a skip, a step in place."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=(2, 3), padding=(1, 2), dilation=(1, 2))
        self.norm, self.second = nn.BatchNorm2d(4), nn.Conv2d(4, 4, (2, 1), padding=(1, 0), bias=False)
        self.skip, self.out = nn.Conv2d(4, 4, 1, stride=1), nn.Linear(4, 3)
        self.bend = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.bend(self.norm(self.first(x)))
        x = torch.tanh(self.second(x)[:, :, 1:] + self.skip(x))
        return self.out(x.mean((2, 3)))


class Shared(nn.Module):
    """One layer twice, a weight of two layers, and a weight used outside of its layer."""

    def __init__(self):
        super().__init__()
        self.twice, self.tied = nn.Linear(60, 60), nn.Linear(60, 60, bias=False)
        self.other = nn.Linear(60, 60)
        self.other.weight, self.outside = self.tied.weight, nn.Linear(60, 3)

    def forward(self, x):
        x = torch.tanh(self.twice(torch.tanh(self.twice(x.flatten(1)))))
        x = torch.tanh(self.other(self.tied(x)))
        return self.outside(x) + x @ (self.outside.weight.T * 2)


def made(kind):
    torch.manual_seed(0)
    return kind().eval()


def backend(body):
    from ntkflow_validation.kernels.backends.pytorch.backend import TorchBackend

    return TorchBackend(body, X)


def whole(body):
    """Gradients of every feature, by torch.autograd."""
    rows = []
    for xi in torch.from_numpy(X):
        grads = [
            torch.autograd.grad(h, list(body.parameters()), retain_graph=True) for h in body(xi[None])[0]
        ]
        rows.append([torch.cat([g.ravel() for g in of_one]).numpy() for of_one in grads])
    return np.array(rows)


@pytest.mark.parametrize(
    ("kind", "layers"), [(Net, 5), (Together, 5), (Shared, 0)], ids=["apart", "together", "shared"]
)
def test_rows_are_the_gradients_of_the_whole(kind, layers):
    body = made(kind)
    found = backend(body)
    np.testing.assert_allclose(found.rows(X, np.eye(3)), whole(body), atol=2e-5)
    # Of the shared ones, a layer that has its own weight alone may be taken apart; the weight outside forbids it.
    assert len(found._uses) == layers


@pytest.mark.parametrize(("double", "bound"), [(False, 1e-5), (True, 1e-10)], ids=["single", "double"])
def test_layers_taken_apart_agree_with_the_whole_derivative_to_the_digits_that_there_are(double, bound):
    from ntkflow_validation.kernels.backends.pytorch import layers
    from ntkflow_validation.kernels.backends.pytorch.lending import lent

    body = made(Together)
    torch.nn.init.uniform_(body.norm.running_var, 0.5, 2.0)
    found = backend(body)._uses
    body, x = (body.double(), torch.from_numpy(X).double()) if double else (body, torch.from_numpy(X))
    params = {name: p.detach() for name, p in body.named_parameters()}
    expected = torch.func.vmap(
        torch.func.jacrev(lambda p, xi: torch.func.functional_call(body, p, (xi[None],))[0]), (None, 0)
    )(params, x)
    flat = torch.cat([j.flatten(2) for j in expected.values()], dim=2)
    uses = [use._replace(module=module) for use, module in _in(found, body)]
    rows = torch.full_like(flat, torch.nan)

    def run(params, x, calls):
        with lent(body, params, calls):
            return body(x)

    layers.gradients(uses, run, params, x, torch.eye(3, dtype=x.dtype), rows)
    assert len(uses) == 5
    assert (rows - flat).abs().max() <= bound * flat.abs().max()


def _in(uses, body):
    named = dict(body.named_modules())
    return [(use, named[use.weight.removesuffix(".weight")]) for use in uses]


@pytest.mark.parametrize("wins", [True, False], ids=["factors", "rows"])
def test_kernels_from_factors_and_from_rows_are_the_same(wins, monkeypatch):
    monkeypatch.setattr(Layer, "wins", property(lambda _: wins))
    body = made(Together)
    found = measure(body, None, X, LABELS, quantities=("tensor",))
    J = whole(body).astype(float)
    expected = np.einsum("ipa,jqa->piqj", J, J)
    np.testing.assert_allclose(found.full.values, expected, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(found.features.mean, found.full.mean, atol=2e-5 * np.abs(expected).max())


def test_a_module_is_as_it_was_after_its_layers_were_taken_apart():
    body = made(Net)
    before = [sorted(vars(m)) for m in body.modules()]
    backend(body).rows(X, np.eye(3))
    assert [sorted(vars(m)) for m in body.modules()] == before


@pytest.mark.parametrize("wins", ["each", "none"])
@pytest.mark.parametrize("step", [2, 16])
def test_kernels_summed_on_the_way_back_are_those_of_the_rows(wins, step, monkeypatch):
    from ntkflow_validation.kernels.backends import differences
    from ntkflow_validation.kernels.backends.pytorch import contracting

    if wins == "none":
        monkeypatch.setattr(Layer, "wins", property(lambda _: False))
    # Two of three directions go back together, and then one.
    monkeypatch.setattr(contracting, "TOGETHER", step)
    monkeypatch.setattr(differences, "COLUMNS", 20)
    body, V = made(Together), np.random.default_rng(1).normal(size=(3, 3))
    found = backend(body)
    assert found.contractible(X, 3, 2**20) == 3
    K, deviations = found.contracted(X, V, np.array([3, 5]), 2**20)
    J = np.einsum("kn,inp->kip", V, whole(body).astype(float))
    moved = np.concatenate([own - own.mean(1, keepdims=True) for own in (J[:, :3], J[:, 3:])], axis=1)
    expected = J @ J.transpose(0, 2, 1)
    np.testing.assert_allclose(K, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(deviations, (moved**2).sum(2), rtol=1e-4)
    # In another order of sums, without the classes.
    np.testing.assert_allclose(found.contracted(X, V, None, 2**20)[0], K, rtol=1e-6)


def test_deviations_have_their_digits_where_samples_of_a_class_are_nearly_one():
    body = made(Together)
    near = (X[:1] + 1e-4 * X).astype(np.float32)
    found = backend(body)
    _, deviations = found.contracted(near, np.eye(3), np.array([8]), 2**20)
    J = found.rows(near, np.eye(3)).astype(float)
    np.testing.assert_allclose(deviations.T, ((J - J.mean(0)) ** 2).sum(2), rtol=0.02)
    assert deviations.max() < 1e-6 * (J**2).sum(2).min()


@pytest.mark.parametrize(
    ("kind", "limit"), [(Together, 1000), (Net, 2**30), (Shared, 2**30)], ids=["room", "plain", "none"]
)
def test_kernels_are_not_summed_on_the_way_back_without_the_memory_or_with_other_parameters(kind, limit):
    assert backend(made(kind)).contractible(X, 3, limit) == 0


def test_kernels_without_classes_are_summed_on_the_way_back(monkeypatch):
    from ntkflow_validation import gram
    from ntkflow_validation.kernels.task import Task

    body = made(Together)
    J = whole(body).astype(float)
    monkeypatch.delattr(Task, "jacobian")
    monkeypatch.delattr(Task, "factors")
    expected = np.einsum("ipa,jpa->ijp", J, J)
    found = gram(body, None, X, entries="each")
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("wins", ["each", "none"])
def test_directions_that_span_less_go_back_as_a_basis(wins, monkeypatch):
    from ntkflow_validation.kernels.backends.pytorch import contracting, layers

    if wins == "none":
        monkeypatch.setattr(Layer, "wins", property(lambda _: False))
    body, rng = made(Together), np.random.default_rng(2)
    back, passes = layers.together, []

    def counted(*given, **how):
        pull = back(*given, **how)
        return lambda V: (passes.append(len(V)), pull(V))

    monkeypatch.setattr(layers, "together", counted)
    basis = rng.normal(size=(2, 3))
    V = rng.normal(size=(5, 2)) @ basis
    found = backend(body)
    assert found.contractible(X, 5, 2**20) == 5
    passes.clear()
    K, deviations = found.contracted(X, V, np.array([3, 5]), 2**20)
    assert passes == [2]
    J = np.einsum("kn,inp->kip", V, whole(body).astype(float))
    moved = np.concatenate([own - own.mean(1, keepdims=True) for own in (J[:, :3], J[:, 3:])], axis=1)
    expected = J @ J.transpose(0, 2, 1)
    np.testing.assert_allclose(K, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(deviations, (moved**2).sum(2), rtol=1e-4)
    # Nothing is there to be shared where memory is for one direction alone.
    passes.clear()
    monkeypatch.setattr(contracting, "TOGETHER", 1)
    np.testing.assert_allclose(found.contracted(X, V, np.array([3, 5]), 2**20)[0], K, rtol=1e-4)
    assert passes == [1] * 5


def test_outputs_and_row_space_go_back_together_and_are_those_of_each(monkeypatch):
    from ntkflow_validation.kernels.methods import gram as methods

    body, head = made(Together), (np.random.default_rng(3).normal(size=(2, 3)) * [[0.1], [30.0]], None)
    found = measure(body, None, X, LABELS, head=head)
    monkeypatch.setattr(methods, "contractible", lambda *_: 0)
    apart = measure(body, None, X, LABELS, head=head)
    for one, other in ((found.outputs, apart.outputs), (found.row_space, apart.row_space)):
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-5)
        for name in ("d", "c", "n", "mu_single"):
            assert one.constants[name].value == pytest.approx(other.constants[name].value, rel=1e-4)
            assert one.constants[name].spread_neurons == pytest.approx(
                other.constants[name].spread_neurons, rel=1e-4
            )
        np.testing.assert_allclose(one.sums.within, other.sums.within, rtol=1e-4)
