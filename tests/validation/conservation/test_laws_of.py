"""Laws of networks whose laws are counted by hand, and of random ones in which symmetries were planted."""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from ntkflow_validation import conservation_laws
from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models.base import Classifier
from ntkflow_validation.models.layers import Layers
from ntkflow_validation.models.table import BODIES
from ntkflow_validation.precision import full

import ntkflow as nf

X = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)


def two_layers(activation):
    return lambda p, x: activation(x @ p["a"] + p["b"]) @ p["v"]


def weights(seed=0, width=3, outputs=2):
    rng = np.random.default_rng(seed)
    shapes = {"a": (3, width), "b": (width,), "v": (width, outputs)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def classifier(name, shape, classes=3, **settings):
    config, rngs = ModelConfig(name=name, **settings), nnx.Rngs(0)
    return Classifier(
        BODIES[name](config, shape, rngs=rngs), Layers(config, rngs).head(config.features, classes)
    )


def laws_of_model(name, shape, certify=None, seed=0, **settings):
    net = classifier(name, shape, **settings)
    net.train()
    images = np.random.default_rng(0).standard_normal((6, *shape))
    return conservation_laws(net, None, images, certify=certify, seed=seed)


def counts(laws):
    return len(laws.exact), len(laws.approximate)


def test_a_hidden_neuron_of_relu_has_the_law_of_its_weights():
    laws = conservation_laws(two_layers(jax.nn.relu), weights(), X)
    assert counts(laws) == (3, 0)
    assert laws.certified
    p = weights()
    by_hand = (p["v"] ** 2).sum(1) - (p["a"] ** 2).sum(0) - p["b"] ** 2
    np.testing.assert_allclose([law.value(p) for law in laws], by_hand, rtol=1e-6)
    assert [law.name for law in laws] == [f"hidden neuron {k} of a" for k in range(3)]
    assert not any(law.linear for law in laws)


def test_a_linear_layer_has_the_whole_matrix():
    laws = conservation_laws(two_layers(lambda z: z), weights(), X)
    assert counts(laws) == (3, 0)
    assert {(law.kind, law.linear) for law in laws} == {("readout", True)}


@pytest.mark.parametrize(
    "activation", [jnp.tanh, jax.nn.gelu, jax.nn.softplus], ids=["tanh", "gelu", "softplus"]
)
def test_an_activation_that_is_not_homogeneous_has_no_law(activation):
    laws = conservation_laws(two_layers(activation), weights(), X)
    assert len(laws) == 0
    assert laws.certified


def test_values_move_as_the_rate_under_decay_says_and_not_at_all_without():
    f, p = two_layers(jax.nn.relu), weights()
    law = conservation_laws(f, p, X)[0]
    decay = {"a": 0.3, "v": 0.1}
    g = full(jax.grad(lambda p: jnp.sin(f(p, X)).sum()))(p)
    for rates, expected in (({}, 0.0), (decay, law.rate(p, decay))):
        velocity = {n: -g[n] - rates.get(n, 0.0) * p[n] for n in p}
        _, change = jax.jvp(
            lambda p: (p["v"][0] ** 2).sum() - (p["a"][:, 0] ** 2).sum() - p["b"][0] ** 2, (p,), (velocity,)
        )
        assert float(change) == pytest.approx(expected, abs=2e-6)
    assert law.rate(p, 0.2) == pytest.approx(-0.4 * law.value(p))


def test_a_unit_that_is_dead_on_the_inputs_keeps_its_law_and_is_told_apart():
    p = weights()
    p["b"][1] = -100.0
    laws = conservation_laws(two_layers(jax.nn.relu), p, X)
    assert len(laws) == 3
    assert {str(s) for s in laws.dead} == {"a[:, 1]", "b[1]", "v[1]"}
    assert [np.isnan(law.defect_on_X) for law in laws] == [False, True, False]


def test_a_head_that_starts_at_zero_hides_no_law():
    p = {**weights(), "v": np.zeros((3, 2), np.float32)}
    assert counts(conservation_laws(two_layers(jax.nn.relu), p, X)) == (3, 0)


def test_a_parameter_that_nothing_depends_on_is_in_no_law():
    p = {**weights(), "unused": np.ones(4, np.float32)}
    laws = conservation_laws(two_layers(jax.nn.relu), p, X)
    assert counts(laws) == (3, 0)
    assert {s.tensor for s in laws.silent} == {"unused"}
    assert len(laws.silent) == 4


def test_channels_that_share_no_index_are_found_by_the_certificate_alone():
    order = np.array([2, 0, 1])
    f = lambda p, x: jax.nn.relu(x @ p["a"])[:, order] @ p["v"]  # noqa: E731
    p = {name: value for name, value in weights().items() if name != "b"}
    certain, hasty = (conservation_laws(f, p, X, certify=c) for c in (True, False))
    assert len(certain) == 3
    assert certain.certified
    assert len(hasty) < 3
    assert not hasty.certified
    assert "not certified" in repr(hasty)
    # Which combinations of them are shown is left to rounding; together they are the planted ones.
    drawn = [{name: value for name, value in weights(seed).items() if name != "b"} for seed in range(8)]
    found = [[law.value(q) for law in certain] for q in drawn]
    planted = [(q["a"][:, order] ** 2).sum(axis=0) - (q["v"] ** 2).sum(axis=1) for q in drawn]
    assert np.linalg.matrix_rank(np.hstack([found, planted]), tol=1e-4) == 3


@dataclass(frozen=True)
class Planted:
    """Layers by width, each with an activation; how many laws they have by hand."""

    widths: tuple[int, ...]
    kinds: tuple[str, ...]

    @property
    def expected(self):
        return sum(w for w, kind in zip(self.widths, self.kinds, strict=True) if kind != "tanh")

    def params(self, rng):
        sizes = (3, *self.widths, 2)
        return [rng.standard_normal((a, b)) for a, b in itertools.pairwise(sizes)]

    def __call__(self, params, x):
        acts = {"relu": jax.nn.relu, "linear": lambda z: z, "tanh": jnp.tanh}
        for W, kind in zip(params, self.kinds, strict=False):
            x = acts[kind](x @ W)
        return x @ params[-1]


@settings(max_examples=4, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(2, 4), st.sampled_from(["relu", "linear", "tanh"])), min_size=1, max_size=3
    )
)
def test_planted_symmetries_are_found_and_no_others(layers):
    net = Planted(*zip(*layers, strict=True))
    laws = conservation_laws(net, net.params(np.random.default_rng(1)), X)
    assert counts(laws) == (net.expected, 0)
    linear = sum(w for w, kind in layers if kind == "linear")
    assert sum(law.linear for law in laws) == linear


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "settings", "expected"),
    [
        # Hidden units and features of the linear readout.
        ("mlp", (5,), {"width": 4, "depth": 2, "features": 3}, (11, 0)),
        ("cnn", (5, 5, 1), {"width": 2, "features": 3, "norm": "none", "readout": "linear"}, (13, 0)),
        # A stream and an inner normalisation a block, and the first stream's; filters before a normalisation.
        ("resnet8", (8, 8, 1), {"width": 2, "norm": "batch"}, (28, 30)),
        # The same, and features of the readout.
        ("resnet8", (8, 8, 1), {"width": 2, "norm": "batch", "readout": "pool-linear"}, (36, 30)),
        # Without normalisation of single channels only whole filters' tensors have a law.
        ("resnet8", (8, 8, 1), {"width": 2, "norm": "group"}, (28, 7)),
    ],
    ids=["mlp", "cnn", "resnet8-batch", "resnet8-linear", "resnet8-group"],
)
def test_models_have_the_laws_that_are_counted_by_hand(name, shape, settings, expected):
    assert counts(laws_of_model(name, shape, **settings)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "channels"), [("vgg11", 55), ("vgg16", 78)])
def test_a_vgg_has_one_exact_and_one_approximate_law_a_channel_and_no_surplus(name, channels, seed):
    # w, 2w, 4w, 8w, 8w in the stages, 8w and 4w in the dense layers, w = 1.
    laws = laws_of_model(name, (32, 32, 1), certify=False, seed=seed, width=1, features=4, norm="batch")
    assert counts(laws) == (channels, channels)
    assert {law.kind for law in laws.approximate} <= {"filter before a normalisation", "whole tensors"}
    # A channel's scale and shift against what reads it: neither is missing for a unit that was always active, or dead.
    for law in laws.exact:
        written = {piece.tensor.rpartition(".")[2] for piece, d in law.coefficients.items() if d < 0}
        assert written == {"scale", "bias"}
    # Biases before a normalisation do nothing, and nothing else does.
    assert {piece.tensor.split(".")[1] for piece in laws.silent} == {"convolutions", "dense"}
    assert {piece.tensor.rpartition(".")[2] for piece in laws.silent} == {"bias"}
    assert len(laws.silent) == channels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "settings", "expected"),
    [
        ("mlp", (20,), {"width": 32, "depth": 2, "features": 24}, (88, 0)),
        ("cnn", (8, 8, 1), {"width": 8, "norm": "none"}, (72, 0)),
        ("resnet8", (8, 8, 1), {"norm": "batch"}, (112, 120)),
        ("resnet20", (8, 8, 1), {"norm": "batch"}, (448, 688)),
        ("densenet40", (8, 8, 1), {"width": 2, "norm": "batch"}, (352, 130)),
    ],
    ids=["mlp", "cnn", "resnet8", "resnet20", "densenet40"],
)
def test_widths_of_the_paper(name, shape, settings, expected):
    laws = laws_of_model(name, shape, certify=False, **settings)
    assert counts(laws) == expected
    assert max(law.defect for law in laws.exact) < 1e-13


def test_the_table_shows_itself():
    laws = conservation_laws(two_layers(jax.nn.relu), weights(), X)
    assert repr(laws) == "Laws(3 exact, 0 approximate, certified)"
    assert "hidden neuron 2 of a" in str(laws)
    assert "hidden neuron 2 of a" in laws._repr_html_()
    assert list(laws[:2]) == [laws[0], laws[1]]
    pandas = pytest.importorskip("pandas")
    assert isinstance(laws.to_pandas(), pandas.DataFrame)
    assert len(laws.to_pandas()) == 3


def test_what_is_no_network_is_refused():
    with pytest.raises(nf.InputError, match="neither a function"):
        conservation_laws(3, None, X)
    with pytest.raises(nf.InputError, match="no floating-point array"):
        conservation_laws(two_layers(jnp.tanh), {}, X)
    with pytest.raises(nf.InputError, match="does not run"):
        conservation_laws(two_layers(jnp.tanh), weights(), X[:, :2])
    law = conservation_laws(two_layers(jax.nn.relu), weights(), X)[0]
    with pytest.raises(nf.InputError, match="no such tensor"):
        law.value({"other": X})
