"""Heads as arrays, pairs, layers and parameters by name, each in its own layout."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.kernels.arguments import checked_head

from ntkflow.errors import InputError
from ntkflow.foreign.heads import named_head, part, read

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
        ((W[:2], B[:2]), "C = 3 classes and n = 4 features"),
        ((W, B[:2]), r"\(3,\), a bias for each row of W"),
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
    assert named_head(lambda p: p["last"], None, {"last": layer}) is layer
    assert named_head(lambda net: net.last, SimpleNamespace(last=layer), None) is layer
    assert named_head((W, B), None, {})[0] is W
    with pytest.raises(InputError, match="has no 'lost'"):
        named_head("lost", None, {"params": {"last": layer}})
    for state in {"params": {"last": layer}}, SimpleNamespace(params={"last": layer}):
        assert named_head("params.last", None, state) is layer
    with pytest.raises(InputError, match="dict has no 'params', but last;"):
        named_head("params.last", None, {"last": layer})


def test_parts_are_found_by_path_or_function():
    net = SimpleNamespace(model={"head": 3})
    assert part(net, "model.head") == part(net, lambda n: n.model["head"]) == 3
    with pytest.raises(InputError, match="has no 'tail', but head"):
        part(net, "model.tail")


def test_entries_that_are_not_finite_are_left_to_whoever_asks_for_them():
    assert np.isnan(read(W * np.nan, B, C=3, finite=False)[0]).all()
    with pytest.raises(InputError, match=r"^W = array with 12 NaN"):
        read(W * np.nan, B)


def test_weights_and_biases_may_come_apart():
    for given in ((W, B), [W, B]):
        for found, wanted in zip(read(given), read(W, B), strict=True):
            np.testing.assert_array_equal(found, wanted)
    with pytest.raises(InputError, match=r"^W = .*with C = 4 classes; transpose it"):
        read(W, B, C=4)
    with pytest.raises(InputError, match=r"^W = .*with n = 3 features; transpose it"):
        read(W, B, n=3)
    with pytest.raises(InputError, match=r"^W = .*with C = 5 classes; give the layer"):
        read(W, B, C=5)


def test_a_layer_without_the_words_of_a_framework():
    layer = SimpleNamespace(weight=W, bias=B)
    np.testing.assert_array_equal(read(layer, C=3)[1], B)
    assert read({"weight": W.tolist(), "bias": B.tolist()}, C=3)[1].tolist() == B.tolist()
    assert read(SimpleNamespace(kernel=W.T, bias=None), C=3)[1] is None
    half = {"kernel": jnp.asarray(W.T, jnp.bfloat16), "bias": jnp.asarray(B, jnp.bfloat16)}
    np.testing.assert_array_equal(read(half)[1], B)
