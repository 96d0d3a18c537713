"""Heads as arrays, pairs, layers and parameters by name, each in its own layout."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.kernels.networks.heads import checked_head, named_head, part

from ntkflow.errors import InputError

W = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
B = np.array([0.5, -1.0, 2.0], np.float32)


def flax_layer(bias):
    layer = nnx.Linear(4, 3, use_bias=bias, rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.asarray(W.T)
    if bias:
        layer.bias[...] = jnp.asarray(B)
    return layer


WITH = [(W, B), [W, B], {"weight": W, "bias": B}, {"kernel": W.T, "bias": B}, flax_layer(True)]
WITHOUT = [(W, None), (W,), W, W.tolist(), {"weight": W}, {"kernel": W.T, "bias": None}, flax_layer(False)]


@pytest.mark.parametrize("i", range(len(WITH)))
def test_heads_with_a_bias(i):
    head = checked_head(WITH[i], 4, 3)
    np.testing.assert_array_equal(head.W, W)
    np.testing.assert_array_equal(head.b, B)
    assert head.W.dtype == np.float64


@pytest.mark.parametrize("i", range(len(WITHOUT)))
def test_heads_without_a_bias(i):
    head = checked_head(WITHOUT[i], 4, 3)
    np.testing.assert_array_equal(head.W, W)
    assert head.b is None


def test_layers_of_equinox():
    eqx = pytest.importorskip("equinox")
    import jax

    for bias in (True, False):
        layer = eqx.nn.Linear(4, 3, use_bias=bias, key=jax.random.key(0))
        head = checked_head(layer, 4, 3)
        np.testing.assert_array_equal(head.W, layer.weight)
        assert (head.b is not None) == bias


def test_layers_of_torch():
    torch = pytest.importorskip("torch")
    for bias in (True, False):
        layer = torch.nn.Linear(4, 3, bias=bias)
        for given in (layer, layer.state_dict()):
            head = checked_head(given, 4, 3)
            np.testing.assert_array_equal(head.W, layer.weight.detach())
            assert (head.b is not None) == bias
    half = torch.nn.Linear(4, 3, dtype=torch.bfloat16)
    np.testing.assert_array_equal(checked_head((half.weight, half.bias), 4, 3).b, half.bias.detach().float())


def test_layers_of_torch_whose_own_kernel_is_another_are_refused():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(4, 3)
    layer.bias.requires_grad_(False)
    with pytest.raises(InputError, match="frozen bias"):
        checked_head(layer, 4, 3)
    assert checked_head((layer.weight, layer.bias), 4, 3).b is not None
    weighed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 3))
    with pytest.raises(InputError, match="of other parameters"):
        checked_head(weighed, 4, 3)
    with pytest.raises(InputError, match="LayerNorm"):
        checked_head(torch.nn.LayerNorm(4), 4, 3)


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        ((W.T, B), "transpose it"),
        ((W[:2], B[:2]), r"\(C, n\) = \(3, 4\)"),
        ((W, B[:2]), r"\(3,\), or None"),
        (W[0], "is none of"),
        ("linear", "is none of"),
        ((W, B, B), "is none of"),
        ({"w": W}, "is none of"),
        ((W * np.nan, None), r"head\.W = array with 12 NaN"),
    ],
    ids=["transposed", "fewer", "bias", "vector", "text", "three", "names", "nan"],
)
def test_others_are_refused(head, rule):
    with pytest.raises(InputError, match=rule):
        checked_head(head, 4, 3)


def test_there_may_be_none_and_any_number_of_outputs():
    assert checked_head(None, 4, 3) is None
    assert checked_head(W[:2], 4).W.shape == (2, 4)


def test_a_head_by_its_path_in_variables_or_parameters():
    layer = {"kernel": W.T, "bias": B}
    for params in ({"params": {"last": layer}, "batch_stats": {}}, {"last": layer}):
        assert named_head("last", None, params) is layer
    assert named_head((W, B), None, {})[0] is W
    with pytest.raises(InputError, match="has no 'lost'"):
        named_head("lost", None, {"params": {"last": layer}})


def test_parts_are_found_by_path_or_function():
    net = SimpleNamespace(model={"head": 3})
    assert part(net, "model.head") == part(net, lambda n: n.model["head"]) == 3
    with pytest.raises(InputError, match="has no 'tail'"):
        part(net, "model.tail")
