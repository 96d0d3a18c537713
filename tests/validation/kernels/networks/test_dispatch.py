"""Functions, modules of Linen and Equinox, keys in trees, and what is told of each that cannot be measured."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from flax.training.train_state import TrainState
from ntkflow_validation.kernels import JaxBackend, measure
from ntkflow_validation.normalisation import StatisticsWarning

from ntkflow.errors import InputError, PrecisionWarning

LABELS = np.repeat([0, 1, 2], 3)
X = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
# Of a dense layer with a bias, for every neuron.
LINEAR = X.astype(float) @ X.T.astype(float) + 1
V = jnp.asarray(np.random.default_rng(1).normal(size=(5, 3)), jnp.float32)


class Normalised(linen.Module):
    average: bool = True

    @linen.compact
    def __call__(self, x):
        return linen.Dense(4)(linen.BatchNorm(use_running_average=self.average)(x))


class Dropping(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dropout(0.5, deterministic=False)(linen.Dense(4)(x))


def test_modules_of_linen_with_their_variables():
    dense = linen.Dense(3)
    variables = dense.init(jax.random.key(0), X)
    for found in (
        measure(dense, variables, X, LABELS),
        measure(dense, variables, X, LABELS, forward=lambda net, x: net(x)),
    ):
        np.testing.assert_allclose(found.features.mean, LINEAR, rtol=1e-5)
    head = {"kernel": np.ones((3, 3), np.float32)}
    assert measure(dense, variables, X, LABELS, head=head).head.b is None
    with pytest.raises(InputError, match="must be the variables of the Linen module"):
        measure(dense, None, X, LABELS)


def test_a_state_of_flax_has_its_parameters_and_more():
    net = Normalised()
    variables = net.init(jax.random.key(0), X)

    class State(TrainState):
        batch_stats: Any

    stats = jax.tree.map(lambda leaf: leaf + 0.5, variables["batch_stats"])
    state = State.create(
        apply_fn=net.apply, params=variables["params"], batch_stats=stats, tx=optax.sgd(0.1, momentum=0.9)
    )

    def of_state(state, x):
        return state.apply_fn({"params": state.params, "batch_stats": state.batch_stats}, x)

    expected = measure(net, {"params": state.params, "batch_stats": stats}, X, LABELS, head=np.ones((3, 4)))
    for head in (lambda state: np.ones((3, 4)) + 0 * state.step, np.ones((3, 4))):
        found = measure(of_state, state, X, LABELS, head=head)
        assert found.parameters == expected.parameters
        np.testing.assert_allclose(found.features.mean, expected.features.mean, rtol=1e-6)
        assert found.gamma_d.value == pytest.approx(expected.gamma_d.value)
    assert measure(of_state, state, X, LABELS).total_parameters == expected.total_parameters


def test_stale_statistics_are_seen_in_variables_and_states():
    net, x, y = Normalised(), np.tile(3 * X + 5, (3, 1)), np.tile(LABELS, 3)
    variables = net.init(jax.random.key(0), X)
    with pytest.warns(StatisticsWarning, match="in BatchNorm_0"):
        measure(lambda v, x: net.apply(v, x), variables, x, y)


@pytest.mark.parametrize(
    ("module", "said"),
    [(Normalised(average=False), r"use_running_average=True"), (Dropping(), r"deterministic=True"),
     (linen.Conv(3, (2, 2)), "give X as it takes it")],
    ids=["batch", "dropout", "shape"],
)  # fmt: skip
def test_what_linen_says_is_told_with_the_remedy(module, said):
    x = np.zeros((1, 3, 3, 1)) if isinstance(module, linen.Conv) else X
    variables = module.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, x)
    for network in (module, module.apply):
        with pytest.raises(InputError, match=rf"^features = .*{said}"):
            measure(network, variables, X, LABELS)


def test_modules_of_equinox():
    layer = eqx.nn.Linear(5, 3, key=jax.random.key(0))
    found = measure(layer, None, X, LABELS, head=eqx.nn.Linear(3, 3, use_bias=False, key=jax.random.key(1)))
    np.testing.assert_allclose(found.features.mean, LINEAR, rtol=1e-5)
    assert found.head.b is None
    same = measure(
        layer,
        None,
        X,
        LABELS,
        forward=lambda net, x: x @ net.weight.T,
        trainable=lambda path: path == "weight",
    )
    np.testing.assert_allclose(same.features.mean, LINEAR - 1, rtol=1e-5)
    dropping = eqx.nn.Sequential([layer, eqx.nn.Dropout(0.5)])
    with pytest.raises(InputError, match=r"inference_mode"):
        measure(dropping, None, X, LABELS)
    inference = measure(eqx.nn.inference_mode(dropping), None, X, LABELS)
    np.testing.assert_allclose(inference.features.mean, LINEAR, rtol=1e-5)


def test_typed_keys_among_the_parameters_are_left_alone():
    params = {"V": V, "key": jax.random.key(3), "more": jax.random.split(jax.random.key(4), 2)}

    def features(p, x):
        return x @ p["V"] + jax.random.normal(p["key"], (3,))

    found = measure(features, params, X, LABELS)
    np.testing.assert_allclose(found.features.mean, LINEAR - 1, rtol=1e-5)
    assert (found.parameters, found.total_parameters) == (15, 15)
    assert (
        measure(features, params, X, LABELS, trainable={"V": True, "key": True, "more": False}).parameters
        == 15
    )


def test_several_outputs():
    found = measure(lambda p, x: (x, x @ p), V, X, LABELS, output=1)
    np.testing.assert_allclose(found.features.mean, LINEAR - 1, rtol=1e-5)
    with pytest.raises(InputError, match=r"tuple of 2.*output="):
        measure(lambda p, x: (x, x @ p), V, X, LABELS)


def test_random_numbers_that_are_drawn_anew_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="must be the same every time"):
        measure(lambda p, x: x @ p * rng.random(3), V, X, LABELS)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    with pytest.raises(InputError, match="must be the same every time"):
        measure(lambda p, x: x @ p * np.random.rand(3), V, X, LABELS)  # noqa: NPY002
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_parameters_of_half_precision_are_measured_in_single():
    half = V.astype(jnp.bfloat16)
    with pytest.warns(PrecisionWarning, match="measured in single precision"):
        found = measure(lambda p, x: jnp.tanh(x @ p), half, jnp.asarray(X, jnp.bfloat16), LABELS)
    single = measure(
        lambda p, x: jnp.tanh(x @ p),
        half.astype(jnp.float32),
        X.astype(jnp.bfloat16).astype(np.float32),
        LABELS,
    )
    np.testing.assert_array_equal(found.features.mean, single.features.mean)
    with pytest.warns(PrecisionWarning, match=r"computes in half precision.*dtype=float32"):
        measure(lambda p, x: x.astype(jnp.bfloat16) @ p.astype(jnp.bfloat16), V, X, LABELS)


def test_errors_inside_a_function_are_told_with_what_caused_them():
    with pytest.raises(InputError, match="does not run on X as features") as caught:
        measure(lambda p, x: x @ p["V"], V, X, LABELS)
    assert caught.value.__cause__ is not None

    def looping(p, x):
        return jax.lax.while_loop(lambda h: jnp.abs(h).max() < 0, lambda h: h + 1, x @ p)

    with pytest.raises(InputError, match=r"^gradients = .*cannot be differentiated by jax\.vjp"):
        measure(looping, V, X, LABELS)


def test_a_module_that_needs_more_than_x_is_told_of_forward():
    class Switched(linen.Module):
        @linen.compact
        def __call__(self, x, train=True):
            return linen.BatchNorm(use_running_average=not train)(linen.Dense(4)(x))

    class Stateful(eqx.Module):
        layer: eqx.nn.Linear

        def __call__(self, x, state):
            return self.layer(x), state

    net = Switched()
    variables = net.init(jax.random.key(0), X)
    stateful = Stateful(eqx.nn.Linear(5, 4, key=jax.random.key(0)))
    for module, params in (net, variables), (stateful, None):
        with pytest.raises(InputError, match=r"the module does not run on X.*forward=lambda") as caught:
            measure(module, params, X, LABELS)
        assert caught.value.__cause__ is not None
    # As it is said there.
    measure(net, variables, X, LABELS, forward=lambda net, x: net(x, train=False))
    found = measure(
        stateful, None, X, LABELS, forward=lambda net, x: jax.vmap(lambda one: net(one, None)[0])(x)
    )
    np.testing.assert_allclose(found.features.mean, LINEAR, rtol=1e-5)


def test_what_a_backend_has_is_not_given_again():
    backend = JaxBackend(lambda p, c, x: x @ p, V)
    for name, value in (("output", 0), ("forward", lambda net, x: net(x)), ("trainable", lambda path: True)):
        with pytest.raises(InputError, match=f"^{name} = "):
            measure(backend, None, X, LABELS, **{name: value})
    with pytest.raises(InputError, match=r"^forward = .*put it into the function"):
        measure(lambda p, x: x @ p, V, X, LABELS, forward=lambda net, x: net(x))
