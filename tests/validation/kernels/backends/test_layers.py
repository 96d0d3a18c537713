"""Layers found in traced networks: which they are, and that their factors are the Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation.kernels import JaxBackend, measure
from ntkflow_validation.kernels.backends import jax_functions
from ntkflow_validation.kernels.backends.factored import layer_deviations, layer_kernels, layer_tensor
from ntkflow_validation.kernels.backends.layers import Layer, trace
from ntkflow_validation.kernels.backends.moments import moments_of

from tests.validation.kernels.nets import NETS, SHAPES, conv, inputs, parameters

LABELS = np.array([0, 0, 1, 1, 2, 2])
# Layers by name: the matrix used twice has none, all other weights have one.
FOUND = {net.__name__: sorted(name for name in SHAPES[net] if name not in ("b", "d", "w")) for net in NETS}


@pytest.fixture
def all_win(monkeypatch):
    monkeypatch.setattr(Layer, "wins", property(lambda _: True))


def backend(net, params, x):
    # A function of its own, so that nothing compiled under the real rule is found again.
    return JaxBackend(lambda p, constants, x: net(p, x), params).check(x)


def jacobian(factors):
    """Rows of the Jacobian, in some order of the parameters, from its parts."""
    layers = [
        np.einsum("ntk,nqtm->nqkm", a, d).reshape(*d.shape[:2], -1)
        for a, d in zip(factors.inputs, factors.gradients, strict=True)
    ]
    return np.concatenate([factors.plain, *layers], axis=2).astype(float)


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_factors_are_the_jacobian(net, all_win):
    params, x = parameters(net), inputs(LABELS)
    found, V = backend(net, params, x), np.random.default_rng(0).normal(size=(2, 4))
    assert [sorted(params)[layer.leaf] for layer in found.layers] == FOUND[net.__name__]
    J, rows = jacobian(found.factors(x, V)), found.rows(x, V).astype(float)
    assert J.shape == rows.shape
    gram = np.einsum("iqp,jrp->iqjr", rows, rows)
    np.testing.assert_allclose(np.einsum("iqp,jrp->iqjr", J, J), gram, atol=2e-6 * np.abs(gram).max())


def strided(p, x):
    x = jax.lax.conv_general_dilated(
        x.transpose(0, 3, 1, 2), p["k"], (2, 1), ((1, 0), (2, 1)), rhs_dilation=(1, 2),
        dimension_numbers=("NCHW", "OIHW", "NHWC"),
    )  # fmt: skip
    return x.reshape(len(x), -1) @ p["out"]


def left(p, x):
    # As Equinox multiplies: the weights first, one sample at a time.
    return jax.vmap(lambda xi: p["out"] @ jnp.tanh(p["a"] @ xi.ravel()))(x)


def contracted(p, x):
    # Two axes summed over at once, and several positions.
    return jnp.einsum("bhwc,hcn->bwn", x, p["a"]).reshape(len(x), -1)


def called(p, x):
    return jax.jit(lambda w, x: jnp.tanh(x.reshape(len(x), -1)) @ w)(p["a"], x)


OTHERS = {
    strided: ({"k": (2, 1, 2, 2), "out": (20, 3)}, ["k", "out"]),
    left: ({"a": (5, 16), "out": (3, 5)}, ["a", "out"]),
    contracted: ({"a": (4, 1, 2)}, ["a"]),
    called: ({"a": (16, 3)}, ["a"]),
}


@pytest.mark.parametrize("net", OTHERS, ids=lambda net: net.__name__)
def test_layers_of_every_layout(net, all_win):
    shapes, layers = OTHERS[net]
    rng = np.random.default_rng(1)
    params = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    x = inputs(LABELS)
    found = backend(net, params, x)
    assert [sorted(params)[layer.leaf] for layer in found.layers] == layers
    V = np.eye(found.n)[:3]
    J, rows = jacobian(found.factors(x, V)), found.rows(x, V).astype(float)
    gram = np.einsum("iqp,jrp->iqjr", rows, rows)
    np.testing.assert_allclose(np.einsum("iqp,jrp->iqjr", J, J), gram, atol=2e-6 * np.abs(gram).max())


def grouped(p, x):
    x = jnp.concatenate([x, -x], axis=-1)
    numbers = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(
        x, p["w"], (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=2
    )
    return x.reshape(len(x), -1)[:, :3]


UNUSABLE = {
    "squared": lambda p, x: x.reshape(len(x), -1) @ p["w"] ** 2,
    "added as well": lambda p, x: x.reshape(len(x), -1) @ p["w"] + p["w"].sum(),
    "on both sides": lambda p, x: jnp.tile(x.reshape(len(x), -1).sum(1, keepdims=True), 3) * (
        p["w"].T @ p["w"]).sum(0),
    "grouped": grouped,
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
def test_weights_used_otherwise_are_no_layer(name, all_win):
    net, shape = UNUSABLE[name], (3, 3, 1, 2) if name == "grouped" else (16, 3)
    params, x = {"w": jnp.ones(shape)}, jax.ShapeDtypeStruct((1, 4, 4, 1), jnp.float32)
    assert trace(lambda varying, x: net({"w": varying[0]}, x), [params["w"]], x).layers == ()


def test_kernels_deviations_and_tensor_of_factors():
    rng, counts = np.random.default_rng(0), np.array([2, 3])
    a, d = rng.normal(size=(5, 3, 4)), rng.normal(size=(5, 2, 3, 6))
    J = np.einsum("ntk,nqtm->nqkm", a, d).reshape(5, 2, -1)
    np.testing.assert_allclose(layer_kernels(a, d), np.einsum("iqp,jqp->qij", J, J), rtol=1e-12)
    np.testing.assert_allclose(layer_tensor(a, d).reshape(5, 2, 5, 2), np.einsum("iqp,jrp->iqjr", J, J))
    means = np.concatenate([np.tile(part.mean(axis=0), (len(part), 1, 1)) for part in (J[:2], J[2:])])
    np.testing.assert_allclose(layer_deviations(a, d, counts), ((J - means) ** 2).sum(axis=2).T, rtol=1e-9)


def test_factors_are_used_where_they_win_and_the_numbers_are_the_same(monkeypatch):
    params, x = parameters(NETS[0]), inputs(np.repeat([0, 1, 2], 4))
    labels, net = np.repeat([0, 1, 2], 4), NETS[0]
    measured = {}
    for win in (True, False):
        monkeypatch.setattr(Layer, "wins", property(lambda _, win=win: win))
        calls = backend(net, params, x)
        rows = []
        begun = calls.rows_begun
        monkeypatch.setattr(calls, "rows_begun", lambda *a, rows=rows, own=begun: rows.append(1) or own(*a))
        measured[win] = measure(calls, None, x, labels, quantities=("tensor",))
        assert bool(rows) is not win
    one, other = measured[True], measured[False]
    np.testing.assert_allclose(one.features.mean, other.features.mean, rtol=1e-5)
    np.testing.assert_allclose(one.full.values, other.full.values, rtol=1e-4, atol=1e-6)
    for name, constant in one.features.constants.items():
        assert constant.value == pytest.approx(other.features.constants[name].value, rel=1e-5)
    # The rule itself: one position always, sixteen of a thin layer never.
    monkeypatch.undo()
    assert Layer(0, (1, 24), 1, 256, 24).wins
    assert not Layer(0, (1, 4, 4, 3), 16, 9, 3).wins


def test_moments_of_rows_here_and_on_an_accelerator():
    rows, fresh = np.random.default_rng(0).normal(size=(5, 2, 700)).astype(np.float32), np.arange(5) >= 2
    total, own, moved = moments_of(rows[fresh])
    kept = rows[2:].astype(float)
    np.testing.assert_allclose(total, kept.sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(own, (kept**2).sum(axis=(0, 2)), rtol=1e-6)
    np.testing.assert_allclose(moved, ((kept - kept.mean(axis=0)) ** 2).sum(axis=(0, 2)), rtol=1e-6)
    there, *parts = jax_functions.moments(jnp.asarray(rows), jnp.asarray(fresh, jnp.float32))
    np.testing.assert_allclose(there, total, atol=1e-5)
    for part, expected in zip(parts, (own, moved), strict=True):
        np.testing.assert_allclose(np.asarray(part, float).sum(axis=(0, 2)), expected, rtol=1e-6)


@pytest.mark.parametrize("net", [*NETS, *OTHERS], ids=lambda net: net.__name__)
def test_rows_are_in_the_order_of_pulled_gradients(net):
    x = inputs(LABELS)
    if net in OTHERS:
        rng, shapes = np.random.default_rng(1), OTHERS[net][0]
        params = {k: jnp.asarray(rng.normal(size=shape), jnp.float32) for k, shape in shapes.items()}
    else:
        params = parameters(net)
    found = backend(net, params, x)
    V = np.random.default_rng(0).normal(size=(2, found.n))
    rows = found.rows(x, V).sum(axis=0)
    pulled = found.pull(x, np.repeat(V[:, None], len(x), axis=1))
    np.testing.assert_allclose(rows, pulled, atol=3e-6 * np.abs(pulled).max())
    moments = found.moments(x, V, np.ones(len(x), dtype=bool))
    np.testing.assert_allclose(moments.total, pulled, atol=3e-6 * np.abs(pulled).max())


def half(p, x):
    x = x.astype(p["k"].dtype)
    return conv(x, p["k"]).mean(axis=(1, 2)) @ p["out"] + p["d"]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=lambda t: t.__name__)
def test_networks_in_half_precision_give_what_they_give_in_single(dtype, all_win):
    rng, x = np.random.default_rng(0), inputs(LABELS)
    shapes = {"k": (3, 3, 1, 4), "out": (4, 5), "d": (5,)}
    # Rounded beforehand, so that the two differ only in what happens between the parameters and the features.
    params = {
        k: jnp.asarray(rng.normal(size=shape), dtype).astype(jnp.float32) for k, shape in shapes.items()
    }
    V = rng.normal(size=(2, 5))
    single = backend(half, params, x).rows(x, V)
    found = backend(half, {k: a.astype(dtype) for k, a in params.items()}, x)
    np.testing.assert_allclose(found.rows(x, V), single, atol=0.02 * np.abs(single).max())
    assert found.factors(x, V).plain.shape == (len(x), 2, 5)


def test_inputs_of_another_type_are_traced_anew():
    def net(p, constants, x):
        return ((x - 1) * 2.0) @ p["w"]

    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32)}
    x, V = np.arange(1, 25, dtype=np.float32).reshape(4, 6), np.eye(3)
    expected = JaxBackend(net, params).check(x).rows(x, V)
    whole = x.astype(np.uint8)
    np.testing.assert_allclose(JaxBackend(net, params).check(whole).rows(whole, V), expected)
