"""Modules of Flax NNX: in inference mode, in single precision, left as they were."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.kernels import FolderStore, gram, measure
from ntkflow_validation.normalisation import StatisticsWarning
from ntkflow_validation.precision import full

from ntkflow.errors import InputError, PrecisionWarning

pytestmark = pytest.mark.filterwarnings("ignore::ntkflow_validation.normalisation.StatisticsWarning")
LABELS = np.repeat([0, 1, 2], 3)
X = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)


class Body(nnx.Module):
    def __init__(self, rate=0.5, **settings):
        rngs = nnx.Rngs(0)
        self.layer = nnx.Linear(5, 6, rngs=rngs, **settings)
        self.norm = nnx.BatchNorm(6, rngs=rngs, **settings)
        self.drop = nnx.Dropout(rate, rngs=rngs)
        self.out = nnx.Linear(6, 4, rngs=rngs, **settings)

    def __call__(self, x):
        return self.out(self.drop(jnp.tanh(self.norm(self.layer(x)))))


def evaluated(**settings):
    body = Body(**settings)
    body.eval()
    return body


def pairwise(body, x=X):
    """Mean kernel over neurons by jax.jacrev, in float64."""
    structure, params, rest = nnx.split(nnx.clone(body), nnx.Param, ...)
    J = full(jax.jacrev(lambda p: nnx.merge(structure, p, rest)(jnp.asarray(x))))(params)
    rows = np.concatenate([np.asarray(g, float).reshape(len(x), 4, -1) for g in jax.tree.leaves(J)], axis=2)
    return np.einsum("ipa,jpa->ij", rows, rows) / 4


def state_of(body):
    return [(str(path), np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf))
            for path, leaf in jax.tree_util.tree_flatten_with_path(nnx.state(body))[0]]  # fmt: skip


def test_batch_mode_of_a_module_in_inference_mode_is_refused():
    with pytest.raises(InputError, match=r"takes the running statistics.*use_running_average=False"):
        measure(evaluated(), None, X, LABELS, bn="batch", probes=2)
    body = Body()
    body.drop.eval()
    assert measure(body, None, X, LABELS, bn="batch", probes=2).bn == "batch"


def test_a_module_with_its_head_is_measured_and_left_as_it_was(tmp_path):
    body, head, store = evaluated(), nnx.Linear(4, 3, rngs=nnx.Rngs(1)), FolderStore(tmp_path)
    before = state_of(body)
    found = measure(body, None, X, jax.nn.one_hot(LABELS, 3), head=head, store=store)
    np.testing.assert_allclose(found.features.mean, pairwise(body), rtol=1e-5)
    pair = measure(
        body, None, X, LABELS, head=(np.asarray(head.kernel).T, np.asarray(head.bias)), store=store
    )
    assert found.gamma_d.value == pair.gamma_d.value
    # Statistics and keys of random numbers are no parameters.
    assert found.parameters == found.total_parameters == 5 * 6 + 6 + 12 + 6 * 4 + 4
    for (name, was), (_, now) in zip(before, state_of(body), strict=True):
        np.testing.assert_array_equal(was, now, err_msg=name)
    body.norm.mean[...] = body.norm.mean[...] + 1.0
    again = measure(body, None, X, LABELS, head=head, store=store)
    np.testing.assert_allclose(again.features.mean, pairwise(body), rtol=1e-5)
    assert again.kappa_d.value != found.kappa_d.value


def test_training_mode_is_refused_by_layer_with_the_remedy():
    with pytest.raises(InputError, match=r"random numbers of drop.*call eval\(\)"):
        measure(Body(), None, X, LABELS)
    body = evaluated()
    body.norm.use_running_average = False
    with pytest.raises(InputError, match=r"batch normalisation norm in training mode.*call eval\(\)"):
        measure(body, None, X, LABELS)
    assert measure(body, None, X, LABELS, bn="batch", probes=2).bn == "batch"
    body.drop.deterministic = False
    with pytest.raises(InputError, match="random numbers"):
        measure(body, None, X, LABELS, bn="batch", probes=2)


def test_a_function_under_nnx_jit_is_judged_by_what_it_writes():
    run, body = nnx.jit(lambda net, x: net(x)), evaluated()
    np.testing.assert_allclose(gram(run, body, X), pairwise(body), rtol=1e-5)
    body.norm.use_running_average = False
    with pytest.raises(InputError, match="batch normalisation norm in training mode"):
        gram(run, body, X)
    with pytest.raises(InputError, match="random numbers of drop"):
        gram(run, Body(), X)


@pytest.mark.parametrize(
    "settings", [{"param_dtype": jnp.bfloat16}, {"dtype": jnp.bfloat16}], ids=["params", "layers"]
)
def test_half_precision_is_measured_in_single_and_said(settings):
    half = evaluated(**settings)
    single = evaluated()
    nnx.update(
        single,
        jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == jnp.bfloat16 else a, nnx.state(half)),
    )
    with pytest.warns(PrecisionWarning, match="in single precision"):
        found = measure(half, None, X, LABELS)
    np.testing.assert_allclose(found.features.mean, pairwise(single), rtol=1e-5)
    assert half.layer.kernel.dtype == settings.get("param_dtype", jnp.float32)
    assert half.layer.dtype == settings.get("dtype", half.layer.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PrecisionWarning)
        measure(single, None, X, LABELS)


def test_forward_output_and_masks():
    class Two(Body):
        def __call__(self, x, train):
            assert not train
            h = super().__call__(x)
            return h, {"twice": 2 * h}

    body, plain = Two(), evaluated()
    body.eval()
    run = lambda net, x: net(x, train=False)  # noqa: E731
    expected = pairwise(plain)
    found = measure(body, None, X, LABELS, forward=run, output=lambda o: o[1]["twice"])
    np.testing.assert_allclose(found.features.mean, 4 * expected, rtol=1e-5)
    masked = measure(
        body, None, X, LABELS, forward=run, output=0, trainable=lambda path: path.startswith("out")
    )
    assert masked.parameters == 28
    with pytest.raises(InputError, match=r"tuple of 2.*output="):
        measure(body, None, X, LABELS, forward=run)
    with pytest.raises(InputError, match=r"features = TypeError: .*train.*forward="):
        measure(body, None, X, LABELS)


def test_what_does_not_fit_is_told():
    with pytest.raises(InputError, match="does not run on X as module"):
        measure(evaluated(), None, X[:, :3], LABELS)
    with pytest.raises(InputError, match=r"^params = .*give None"):
        measure(evaluated(), {}, X, LABELS)


def test_a_method_or_a_function_beside_the_module_is_the_module():
    body, head = evaluated(), nnx.Linear(4, 3, rngs=nnx.Rngs(1))
    body.head = head
    body.features = nnx.Linear(1, 1, rngs=nnx.Rngs(2))  # a parameter that nothing depends on
    expected = measure(body, None, X, LABELS, head=head)
    for network, params, found_head in (
        (body.__call__, None, "head"),
        (lambda net, x: net(x), body, "head"),
        (lambda net, x: net(x), body, lambda net: net.head),
    ):
        found = measure(network, params, X, LABELS, head=found_head)
        np.testing.assert_array_equal(found.features.mean, expected.features.mean)
        assert found.gamma_d.value == expected.gamma_d.value
        assert found.parameters == expected.parameters
        np.testing.assert_array_equal(gram(network, params, X), gram(body, None, X))


def test_stale_statistics_are_seen_behind_a_function():
    with pytest.warns(StatisticsWarning, match="not those of X"):
        measure(lambda net, x: net(x), evaluated(), np.tile(5 * X + 3, (4, 1)), np.tile(LABELS, 4))
