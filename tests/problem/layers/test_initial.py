"""Initial states of linear layers: what they promise, and what they refuse."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.problem.layers import initial

SIZES = nf.Sizes(4, 3, 6)
KERNELS = [(1.0, 0.4, 0.15), (1.0, 0.4, -0.1), (1.3, 0.2, 0.4)]


@pytest.mark.parametrize("kappas", KERNELS)
@pytest.mark.parametrize("widths", [(6,), (5, 6), (4, 7, 6)])
@pytest.mark.parametrize("name", initial.NAMES[1:])
def test_balanced_and_aligned_starts_have_no_invariants(name, widths, kappas):
    kernel = nf.BlockKernel(*kappas)
    state = initial.make(name, SIZES, widths, kernel, 1, 0.7)
    flow = LayeredFlow.build(nf.LayeredProblem(SIZES, kernel, state))
    assert state.widths == widths
    assert max(np.abs(Q).max() for Q in flow.invariants(flow.start)) < 1e-12
    if name != "balanced":
        np.testing.assert_allclose(state.b, 1 / 4)
        assert np.abs(state.H.mean(axis=1)).max() < 1e-12
    if name in ("balanced-contrast", "aligned"):
        assert np.abs(state.W.sum(axis=0)).max() < 1e-12
    again = initial.make(name, SIZES, widths, kernel, 1, 0.7)
    np.testing.assert_array_equal(again.H, state.H)


def test_aligned_contrasts_have_one_size_in_all_layers():
    kernel = nf.BlockKernel(*KERNELS[0])
    state = initial.make("aligned", SIZES, (5, 6), kernel, 0, 0.2)
    for layer in (*state.V, state.W):
        np.testing.assert_allclose(np.linalg.svd(layer, compute_uv=False)[:3], 0.2)
    x = np.sqrt(kernel.eigenvalues(SIZES).mu_class / 3)
    np.testing.assert_allclose(
        np.linalg.svd(state.W @ state.layers[-1], compute_uv=False)[:3], 0.2**3 * x * 3**0.5
    )


def test_gaussian_images_have_the_covariance_of_the_inputs():
    kernel, sizes = nf.BlockKernel(1.0, 0.4, 0.15), nf.Sizes(2, 2, 3)
    for K in (kernel, nf.SampleKernel(kernel.matrix(sizes))):
        state = initial.make("gaussian", sizes, (20_000, 3), K, 0, 0.5)
        np.testing.assert_allclose(state.H.T @ state.H, 0.25 * kernel.matrix(sizes), atol=0.01)


def test_a_network_becomes_a_state():
    rng = np.random.default_rng(0)
    X, V1, V2, W = (rng.standard_normal(shape) for shape in ((7, 6), (5, 7), (4, 5), (3, 4)))
    state = nf.LayeredState.of_weights(X, (V1, V2), W, np.zeros(3))
    np.testing.assert_allclose(state.logits, W @ V2 @ V1 @ X)
    np.testing.assert_allclose(state.below[0], W @ V2)
    assert repr(state) == "LayeredState(C=3, widths=[5, 4], N=6, biases=False)"


@pytest.mark.parametrize(
    ("name", "widths", "options", "words"),
    [
        ("relu", (6,), {}, "must be one of gaussian"),
        ("gaussian", (6, 5), {}, "must end in n = 6"),
        ("gaussian", (), {}, "must not be empty"),
        ("balanced", (3, 6), {}, "too narrow for 4"),
        ("aligned", (2, 6), {}, "too narrow for 3"),
        ("aligned", (3, 6), {"spectators": 1.0}, "too narrow for 4"),
        ("gaussian", (6,), {"spectators": 1.0}, "no meaning for init gaussian"),
        ("gaussian", (6,), {"scale": 0.0}, "scale"),
    ],
)
def test_refusals(name, widths, options, words):
    with pytest.raises(nf.InputError, match=words):
        initial.make(name, SIZES, widths, nf.BlockKernel(1.0, 0.4, 0.1), **options)


def test_shapes_that_do_not_fit_are_named():
    H, V, W, b = np.ones((5, 6)), np.ones((4, 5)), np.ones((3, 4)), np.zeros(3)
    for change, words in (
        ({"V": (np.ones((4, 6)),)}, r"V\[2\]"),
        ({"W": np.ones((3, 5))}, "W"),
        ({"b": np.zeros(2)}, "b"),
        ({"c": (np.zeros(5),)}, "one for each of 2 layers"),
        ({"c": (np.zeros(5), np.zeros(3))}, r"c\[2\]"),
    ):
        with pytest.raises(nf.InputError, match=words):
            nf.LayeredState(**{"H": H, "V": (V,), "W": W, "b": b, **change})
