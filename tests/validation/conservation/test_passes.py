"""A network has the same laws in every framework."""

import jax
import numpy as np
import pytest
from flax import linen, nnx
from ntkflow_validation import conservation_laws

X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Dense(4, name="first")(x))
        return linen.Dense(2, name="second")(x)


def nnx_net():
    rngs = nnx.Rngs(0)
    return nnx.Sequential(
        nnx.Linear(3, 4, rngs=rngs, dtype=np.float32), nnx.relu, nnx.Linear(4, 2, rngs=rngs)
    ), None


def linen_net():
    net = Linen()
    return net, net.init(jax.random.key(0), X)


def equinox_net():
    equinox = pytest.importorskip("equinox")
    return equinox.nn.MLP(3, 2, 4, 1, key=jax.random.key(0)), None


def torch_net():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)), None


@pytest.mark.parametrize("make", [nnx_net, linen_net, equinox_net, torch_net])
def test_neurons_have_their_laws_in_every_framework(make):
    net, params = make()
    laws = conservation_laws(net, params, X)
    assert (len(laws.exact), len(laws.approximate), laws.certified) == (4, 0, True)
    assert {law.kind for law in laws} == {"hidden neuron"}
    given = net if params is None else params
    assert np.isfinite([law.value(given) for law in laws]).all()


def test_torch_has_channels_first_and_its_module_is_left_alone():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 2),
        torch.nn.BatchNorm2d(2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 2),
    )
    before = {name: t.clone() for name, t in net.state_dict().items()}
    laws = conservation_laws(
        net, None, np.random.default_rng(0).standard_normal((6, 1, 3, 3)).astype(np.float32)
    )
    assert [law.kind for law in laws] == ["channel"] * 2 + ["filter before a normalisation"] * 2
    assert all(
        torch.equal(t, before[name]) and t.dtype == before[name].dtype for name, t in net.state_dict().items()
    )
