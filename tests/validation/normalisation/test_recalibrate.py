"""Recalibrated statistics against a pass over all of the data in training mode, in every framework."""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import ntkflow_validation
import numpy as np
import pytest
from flax import linen, nnx
from ntkflow_validation.normalisation import lags, recalibrate
from ntkflow_validation.normalisation.frameworks import watched
from ntkflow_validation.precision import full

import ntkflow as nf
from tests.test_public import POINTS

RNG = np.random.default_rng(0)
X = (3 + 2 * RNG.normal(size=(50, 5, 5, 3)) * RNG.uniform(0.1, 2, size=(50, 1, 1, 1))).astype(np.float32)
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


class NnxNet(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0, dropout=1)
        # The names are in another order than the calls.
        self.conv1, self.z = nnx.Conv(3, 6, (3, 3), rngs=rngs), nnx.BatchNorm(6, rngs=rngs)
        self.conv2, self.a = nnx.Conv(6, 4, (3, 3), rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.drop, self.out = nnx.Dropout(0.5, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.z(self.conv1(x)))
        x = self.drop(nnx.relu(self.a(self.conv2(x)))).mean((1, 2))
        return self.out(x)


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.relu(linen.BatchNorm(use_running_average=not train, name="z")(linen.Conv(6, (3, 3))(x)))
        x = linen.relu(linen.BatchNorm(name="a")(linen.Conv(4, (3, 3))(x), use_running_average=not train))
        return linen.BatchNorm(use_running_average=not train, axis=-1)(x.mean((1, 2)))


def torch_net():
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3), torch.nn.BatchNorm2d(6), torch.nn.ReLU(), torch.nn.Conv2d(6, 4, 3),
        torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5), torch.nn.Flatten(), torch.nn.BatchNorm1d(4),
    )  # fmt: skip


@pytest.mark.parametrize("batch", [7, 50])
def test_inference_of_an_nnx_module_is_training_mode_on_all_of_the_data(batch):
    net = NnxNet()
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(net, nnx.Param, nnx.BatchStat)[0]))
    counts = np.asarray(net.drop.rngs.count[...]) if net.drop.rngs is not None else None
    found = recalibrate(net, X, batch=batch)
    inference, training = nnx.clone(found), nnx.clone(net)
    inference.eval()
    training.train()
    training.drop.deterministic = True
    np.testing.assert_allclose(full(inference)(X), full(training)(X), atol=2e-5)
    # Modes, parameters and random numbers are those of before, in the copy and in what was given.
    assert not found.a.use_running_average
    assert type(found.a) is nnx.BatchNorm
    assert found.drop.deterministic == net.drop.deterministic
    assert np.array_equal(net.z.mean[...], np.zeros(6))
    jax.tree.map(np.testing.assert_array_equal, before, nnx.to_pure_dict(nnx.state(found, nnx.Param)))
    if counts is not None:
        assert np.array_equal(found.drop.rngs.count[...], counts)


def test_nnx_in_place():
    net = NnxNet()
    copied = recalibrate(net, X)
    assert recalibrate(net, X, inplace=True) is net
    np.testing.assert_array_equal(net.a.var[...], copied.a.var[...])


def test_statistics_do_not_depend_on_those_that_were_there():
    net, other = NnxNet(), NnxNet()
    for layer in (other.z, other.a, other.out):
        layer.mean[...], layer.var[...], layer.momentum = layer.mean[...] + 7.0, layer.var[...] * 50, 0.5
    for name in ("z", "a", "out"):
        a, b = (getattr(recalibrate(n, X, batch=16), name) for n in (net, other))
        np.testing.assert_allclose(a.mean[...], b.mean[...], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(a.var[...], b.var[...], rtol=1e-5)


@pytest.mark.parametrize("batch", [7, 50])
def test_inference_of_a_linen_module_is_training_mode_on_all_of_the_data(batch):
    net = LinenNet()
    variables = net.init(jax.random.key(0), X[:1])
    found = recalibrate(net, X, variables, batch=batch)
    apply = full(net.apply)
    training, _ = apply(variables, X, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(apply(found, X), training, atol=2e-5)
    assert found["params"] is variables["params"]
    assert np.array_equal(variables["batch_stats"]["a"]["mean"], np.zeros(4))


@needs_torch
@pytest.mark.parametrize("batch", [7, 50])
@pytest.mark.parametrize("inplace", [False, True])
def test_inference_of_a_torch_module_is_training_mode_on_all_of_the_data(batch, inplace):
    import torch

    net, x = torch_net(), torch.tensor(X[:, :3, :3].transpose(0, 3, 1, 2))
    x = torch.nn.functional.interpolate(x, size=(5, 5))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    net[0].eval()
    state = torch.random.get_rng_state()
    found = recalibrate(net, x, batch=batch, inplace=inplace)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (found is net) == inplace
    # Everything else is as it was: modes, hooks, parameters and counters.
    assert [part.training for part in found.modules()] == [part.training for part in net.modules()]
    assert not found[0].training
    assert found[1].training
    assert not any(part._forward_pre_hooks for part in found.modules())
    for name, value in found.state_dict().items():
        if "running" not in name:
            assert torch.equal(value, before[name])
        elif not inplace:
            assert torch.equal(net.state_dict()[name], before[name])
    training = torch_net().train()
    training[5].eval()
    with torch.no_grad():
        np.testing.assert_allclose(found.eval()(x), training(x), atol=2e-5)


@needs_torch
def test_torchs_own_average_over_equal_batches_has_the_same_means():
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3, momentum=None)).train()
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    found = recalibrate(net, x, batch=8)
    for part in x.split(10):
        net(part)  # momentum None is torch's cumulative average
    np.testing.assert_allclose(found[1].running_mean, net[1].running_mean, atol=1e-6)
    # Its variance is the mean of unbiased ones within batches, which miss the scatter between them.
    hidden = net[0](x).detach().numpy()
    np.testing.assert_allclose(found[1].running_var, hidden.var(axis=0), rtol=1e-5)


def test_a_network_that_needs_more_than_x():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            x = linen.BatchNorm(use_running_average=not train)(linen.Dense(3)(x))
            return linen.Dropout(0.5, deterministic=not train)(x)

    net, x = Net(), X.reshape(50, -1)
    variables = net.init(jax.random.key(0), x, train=False)
    found = recalibrate(net, x, variables, forward=lambda net, x: net(x, train=False))
    hidden = x @ variables["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(
        found["batch_stats"]["BatchNorm_0"]["mean"], hidden.mean(0), rtol=1e-4, atol=1e-4
    )
    with pytest.raises(nf.InputError, match="does not run on X as forward"):
        recalibrate(net, x, variables)


class Plain(nnx.Module):
    def __init__(self, twice=False):
        self.norm, self.twice = nnx.BatchNorm(3, rngs=nnx.Rngs(0)), twice

    def __call__(self, x):
        return self.norm(self.norm(x)) if self.twice else self.norm(x)


SMALL = np.ones((4, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recalibrate(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), SMALL), "has no batch normalisation"),
        (lambda: recalibrate(lambda x: x, SMALL), "is not a Flax NNX module"),
        (lambda: recalibrate(Plain(twice=True), SMALL), "norm: normalises twice in a pass"),
        (lambda: recalibrate(Plain(), SMALL[:1]), "must have two samples or more"),
        (lambda: recalibrate(Plain(), SMALL * np.nan), "NaN or infinite input of norm"),
        (lambda: recalibrate(Plain(), SMALL[:, :2]), "does not run on X"),
        (lambda: recalibrate(Plain(), SMALL, {}), "are for Linen modules"),
        (lambda: recalibrate(LinenNet(), X), "must be the collections of the Linen module"),
        (lambda: recalibrate(LinenNet(), X, {"params": {}}, inplace=True), "has no variables of its own"),
        (lambda: recalibrate(Plain(), SMALL, batch=0), "batch = 0: must be at least 1"),
    ],
)
def test_what_cannot_be_recalibrated_is_refused(call, message):
    with pytest.raises(nf.InputError, match=message):
        call()


@needs_torch
def test_tensors_without_numbers_are_refused():
    import torch

    for layer in (torch.nn.LazyBatchNorm1d(), torch.nn.BatchNorm1d(3, device="meta")):
        with pytest.raises(
            nf.InputError, match=r"^params = 0\..* has no numbers; call the module on a batch once"
        ):
            recalibrate(torch.nn.Sequential(layer), SMALL)


def test_equinox_is_refused_by_name_and_what_is_said_to_help_does():
    import equinox

    class Net(equinox.Module):
        norm: equinox.nn.BatchNorm
        layer: equinox.nn.Linear
        last: equinox.nn.BatchNorm

        def __init__(self):
            self.norm = equinox.nn.BatchNorm(3, "samples", mode="batch", momentum=0.5)
            self.layer = equinox.nn.Linear(3, 5, key=jax.random.key(0))
            self.last = equinox.nn.BatchNorm(5, "samples", mode="ema", momentum=0.5)

        def __call__(self, x, state):
            x, state = self.norm(x, state)
            return self.last(jax.nn.relu(self.layer(x)), state)

    net, state = equinox.nn.make_with_state(Net)()
    for variables in (None, state):
        with pytest.raises(
            nf.InputError, match=r"^network = Net: has batch normalisation of Equinox.*k times"
        ):
            recalibrate(net, SMALL, variables)

    @equinox.filter_jit
    def rows(net, state):
        passed = jax.vmap(net, axis_name="samples", in_axes=(0, None), out_axes=(0, None))
        return passed(X[:, 0, 0], state)

    for _ in range(30):
        training, state = rows(net, state)
    inference, _ = rows(equinox.nn.inference_mode(net), state)
    np.testing.assert_allclose(inference, training, atol=1e-5)


def test_a_refused_call_leaves_a_module_as_it_was():
    net = NnxNet()
    bad = X.copy()
    bad[3] = np.inf
    with pytest.raises(nf.InputError, match="NaN or infinite input of z"):
        recalibrate(net, bad, batch=8, inplace=True)
    assert np.array_equal(net.z.mean[...], np.zeros(6))
    assert np.array_equal(net.a.var[...], np.ones(4))


@pytest.mark.parametrize("batch", [30, 400])
def test_large_means_cost_no_digits(batch):
    x = (1e4 + RNG.normal(size=(400, 3))).astype(np.float32)
    variance = x.astype(np.float64).var(0)
    found = recalibrate(Plain(), x, batch=batch)
    np.testing.assert_allclose(found.norm.var[...], variance, rtol=1e-5)
    if find_spec("torch") is not None:
        import torch

        found = recalibrate(torch.nn.BatchNorm1d(3), x, batch=batch)
        np.testing.assert_allclose(found.running_var, variance, rtol=1e-5)


def test_a_pass_by_its_own_statistics_gives_what_inference_gives_with_them():
    net = NnxNet()
    layers = watched(net)
    outputs, statistics = layers.at_once(X)
    layers.store(statistics)
    fresh = layers.result()
    fresh.eval()
    np.testing.assert_allclose(outputs, full(fresh)(X), atol=1e-5)
    assert not np.allclose(net.z.mean[...], fresh.z.mean[...])


def test_the_door_has_it():
    assert POINTS["recalibrate"] == "ntkflow_validation:recalibrate"
    assert ntkflow_validation.recalibrate is recalibrate


def test_what_lags_is_told_layer_by_layer_in_the_order_of_the_pass():
    net = NnxNet()
    found = lags(net, X)
    assert [lag.layer for lag in found] == ["z", "a", "out"]
    assert all(lag.stale for lag in found[:2])
    assert not any(lag.stale for lag in lags(recalibrate(net, X), X))
    assert jnp.array_equal(net.z.mean[...], jnp.zeros(6))
