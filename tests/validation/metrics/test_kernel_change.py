"""The cheap sign of a kernel's change: that of the features' Gram matrix and of |W|^2, and snapshots spaced by it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ntkflow_validation.metrics.kernel_change import change, sign_of, spread_by_change

import ntkflow as nf
from ntkflow.problem.state import State

SIZES = nf.Sizes(3, 4, 5)
RNG = np.random.default_rng(0)


def state(scale=1.0, weights=1.0):
    rng = np.random.default_rng(1)
    return State(scale * rng.normal(size=(5, 12)), weights * rng.normal(size=(3, 5)), np.zeros(3))


def test_it_is_the_block_part_of_the_gram_matrix():
    found = state()
    G = found.H.T @ found.H
    Y = SIZES.Y
    same = Y.T @ Y
    # The block matrix of the means over the diagonal, over pairs of one class and over pairs of two.
    off = same - np.eye(12)
    d, c, n = (float(np.sum(G * mask) / mask.sum()) for mask in (np.eye(12), off, 1 - same))
    block = (d - c) * np.eye(12) + (c - n) * same + n
    sign = sign_of(found, SIZES)
    assert np.linalg.norm(sign[:3]) == pytest.approx(np.linalg.norm(block))
    assert sign[3] == pytest.approx(np.sum(found.W**2))


def test_features_and_weights_count_and_nothing_has_moved_where_both_stand():
    before = sign_of(state(), SIZES)
    assert change(before, before) == 0
    assert change(sign_of(state(scale=1.1), SIZES), before) == pytest.approx(0.21)
    assert change(sign_of(state(weights=1.2), SIZES), before) == pytest.approx(0.44)
    nothing = np.zeros(4)
    assert change(nothing, nothing) == 0
    assert change(before, nothing) == np.inf


@given(st.integers(1, 12), st.lists(st.floats(0.01, 0.5), min_size=1, max_size=15))
def test_as_many_as_asked_each_once_with_both_ends(count, rates):
    signs = [np.full(4, x) for x in np.exp(np.cumsum([0.0, *rates]))]
    chosen = spread_by_change(signs, count)
    assert len(set(chosen)) == min(count, len(signs)) == len(chosen)
    assert list(chosen) == sorted(chosen)
    assert chosen[0] == 0
    assert count == 1 or chosen[-1] == len(signs) - 1


def test_they_stand_where_the_kernel_moves():
    # Still, then fast, then still.
    way = np.concatenate([np.zeros(20), np.linspace(0, 2, 11), np.full(20, 2.0)])
    chosen = spread_by_change([np.full(4, np.exp(x)) for x in way], 6)
    assert chosen == (0, 22, 24, 26, 28, 50)
    assert spread_by_change([np.ones(4)] * 9, 3) == (0, 4, 8)
