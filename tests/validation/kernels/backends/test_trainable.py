"""What is differentiated by is what is trained; how much of how much is said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from ntkflow_validation.kernels import JaxBackend, measure
from ntkflow_validation.precision import full

from ntkflow.errors import InputError
from tests.validation.kernels.nets import features_of, inputs, mlp, parameters

LABELS = np.repeat([0, 1, 2], 3)
X = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)


def trace_of(function, params, chosen, x):
    """Mean of K_ii over neurons, from the gradients by the chosen branches alone."""
    rest = {k: v for k, v in params.items() if k not in chosen}
    jacobian = full(jax.jacrev(lambda q: function({**rest, **q}, jnp.asarray(x))))
    J = jacobian({k: params[k] for k in chosen})
    squares = sum(np.sum(np.asarray(leaf, float) ** 2) for leaf in jax.tree.leaves(J))
    n = function(params, jnp.asarray(x[:1])).shape[1]
    return squares / (len(x) * n)


@pytest.mark.parametrize(
    "mask",
    [
        lambda path: path in ("a", "out"),
        {"a": True, "b": False, "c": False, "out": True, "d": False},
        {"a": np.True_, "b": False, "c": np.False_, "out": True, "d": False},
    ],
    ids=["predicate", "tree", "numpy"],
)
@pytest.mark.parametrize("method", ["gram", "class-sums"])
def test_a_mask_chooses(mask, method):
    params, x = parameters(mlp), inputs(LABELS)
    found = measure(mlp, params, x, LABELS, trainable=mask, method=method)
    assert found.kappa_d.value == pytest.approx(trace_of(mlp, params, ("a", "out"), x), rel=1e-5)
    assert (found.parameters, found.total_parameters) == (16 * 5 + 6 * 4, 16 * 5 + 5 + 5 * 6 + 6 * 4 + 4)
    assert found.to_dict()["parameters"] == found.parameters
    assert found.to_dict()["parameters_in_all"] == found.total_parameters


def test_a_mask_may_stand_for_whole_branches():
    params = {"body": parameters(mlp), "scale": jnp.ones(4)}
    found = measure(
        lambda p, x: mlp(p["body"], x) * p["scale"], params, inputs(LABELS), LABELS,
        trainable={"body": False, "scale": True},
    )  # fmt: skip
    H = features_of(mlp, params["body"], inputs(LABELS))
    assert found.kappa_d.value == pytest.approx(np.mean(H**2), rel=1e-5)
    assert found.parameters == 4


def test_all_is_trained_unless_said():
    found = measure(mlp, parameters(mlp), inputs(LABELS), LABELS)
    assert found.parameters == found.total_parameters == 143


def test_only_params_of_nnx_are_trained():
    class Body(nnx.Module):
        def __init__(self):
            self.layer, self.norm = nnx.Linear(5, 4, rngs=nnx.Rngs(0)), nnx.BatchNorm(4, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.norm(self.layer(x))

    body = Body()
    body.eval()
    structure, everything = nnx.split(body)
    _, params, rest = nnx.split(body, nnx.Param, ...)
    whole = measure(lambda p, x: nnx.merge(structure, p)(x), everything, X, LABELS)
    apart = measure(lambda p, x: nnx.merge(structure, p, rest)(x), params, X, LABELS)
    assert whole.kappa_d.value == pytest.approx(apart.kappa_d.value, rel=1e-6)
    assert whole.parameters == apart.parameters == 5 * 4 + 4 + 8
    asked = measure(lambda p, x: nnx.merge(structure, p)(x), everything, X, LABELS, trainable=lambda _: True)
    assert asked.parameters == asked.total_parameters == whole.parameters + 8
    assert asked.kappa_d.value > 1.01 * whole.kappa_d.value


def test_only_the_collection_params_of_linen_is_trained():
    class Body(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.BatchNorm(use_running_average=True)(linen.Dense(4)(x))

    body = Body()
    variables = body.init(jax.random.key(0), X)
    found = measure(body.apply, variables, X, LABELS)
    assert found.parameters == found.total_parameters == 5 * 4 + 4 + 8
    expected = trace_of(body.apply, variables, ("params",), X)
    assert found.kappa_d.value == pytest.approx(expected, rel=1e-5)
    mine = {**variables, "mine": {"scale": jnp.ones(4)}}
    with pytest.raises(InputError, match="whether 'mine' is trained cannot be told"):
        measure(lambda v, x: body.apply(v, x) * v["mine"]["scale"], mine, X, LABELS)


@pytest.mark.parametrize(
    ("mask", "rule"),
    [
        (lambda path: False, "none of 143"),
        (lambda path: path, "str for a"),
        ({"a": True}, "another structure"),
        ({"a": 1, "b": False, "c": False, "out": True, "d": False}, "true or false"),
    ],
)
def test_masks_that_choose_nothing_or_do_not_fit_are_refused(mask, rule):
    with pytest.raises(InputError, match=rule):
        measure(mlp, parameters(mlp), inputs(LABELS), LABELS, trainable=mask)


def test_a_backend_has_its_own_mask():
    backend = JaxBackend(lambda p, _, x: mlp(p, x), parameters(mlp), trainable=lambda path: path == "a")
    assert (backend.P, backend.total) == (80, 143)
    with pytest.raises(InputError, match="JaxBackend itself"):
        measure(backend, None, inputs(LABELS), LABELS, trainable=lambda path: path == "b")
