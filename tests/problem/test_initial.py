import numpy as np
import pytest

import ntkflow as nf
from ntkflow.metrics import invariant

KERNEL = nf.BlockKernel(1.3, 0.5, 0.1)
BALANCED = ("balanced", "balanced-centred", "balanced-contrast", "equal-bias")


@pytest.mark.parametrize("name", BALANCED)
@pytest.mark.parametrize(("C", "m", "n"), [(3, 4, 7), (2, 3, 2), (5, 2, 20)])
def test_balanced_states_have_zero_invariant(name, C, m, n):
    sizes = nf.Sizes(C, m, n)
    terms = invariant.terms(nf.initial.make(name, sizes, KERNEL, seed=3), sizes, KERNEL)
    assert np.linalg.norm(terms.E) < 1e-13 * terms.scale
    assert terms.alignment == pytest.approx(1)


def test_hypotheses_of_theorem_5_2_are_those_promised():
    sizes = nf.Sizes(4, 5, 9)
    centred = nf.initial.make("balanced-centred", sizes, KERNEL)
    contrast = nf.initial.make("balanced-contrast", sizes, KERNEL)
    for state in (centred, contrast):
        assert np.abs(state.H.mean(axis=1)).max() < 1e-14
        np.testing.assert_allclose(state.b, 0.25)
    assert np.abs(contrast.W.sum(axis=0)).max() < 1e-14
    assert np.linalg.norm(centred.W.sum(axis=0)) > 0.1


def test_relu_features_are_non_negative_with_a_large_mean():
    state = nf.initial.make("relu", nf.Sizes(4, 5, 9), KERNEL)
    assert state.H.min() >= 0
    assert np.linalg.norm(state.H.mean(axis=1)) > 0.5


@pytest.mark.parametrize("name", nf.initial.NAMES)
def test_seeds_repeat_and_differ(name):
    sizes = nf.Sizes(3, 4, 7)
    first, again, other = (nf.initial.make(name, sizes, KERNEL, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.H, again.H)
    assert np.abs(first.H - other.H).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense", nf.Sizes(3, 4, 7)), "init = 'nonsense': must be one of gaussian"),
        (("equal-bias", nf.Sizes(3, 4, 2)), "n = 2: must be at least C = 3"),
        (("equal-bias", nf.Sizes(3, 1, 5)), "m = 1: must be at least 2"),
        (("balanced-centred", nf.Sizes(3, 1, 5)), "too few samples"),
        (("gaussian", nf.Sizes(3, 4, 7), -1), "seed = -1: must be at least 0"),
        (("gaussian", nf.Sizes(3, 4, 7), 0, 0.0), "scale = 0.0: must be positive"),
    ],
)
def test_impossible_states_are_refused_by_name(arguments, message):
    name, sizes, *rest = arguments
    with pytest.raises(nf.InputError, match=message):
        nf.initial.make(name, sizes, KERNEL, *rest)
