import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.integrate.descent import batch_weights


@given(st.lists(st.integers(2, 6), min_size=2, max_size=4), st.integers(1, 2), st.integers(0, 10**6))
def test_each_class_has_its_share_and_its_whole_weight(counts, per_class, seed):
    sizes = nf.Sizes(len(counts), tuple(counts), 3)
    weights = batch_weights(sizes, per_class, np.random.default_rng(seed))
    for c in range(sizes.C):
        own = weights[sizes.labels == c]
        assert np.sum(own > 0) == per_class
        assert own.sum() == pytest.approx(counts[c])


def test_the_mean_of_the_weights_is_one_and_all_samples_are_ones():
    sizes, rng = nf.Sizes(2, (3, 5), 3), np.random.default_rng(0)
    mean = np.mean([batch_weights(sizes, 2, rng) for _ in range(20_000)], axis=0)
    np.testing.assert_allclose(mean, 1, atol=0.03)
    np.testing.assert_array_equal(batch_weights(nf.Sizes(2, 3, 3), 3, rng), 1)


@pytest.mark.parametrize("per_class", [0, 4, 1.5, True, "2"])
def test_impossible_batches_are_refused(per_class):
    with pytest.raises(nf.InputError, match=r"batch_per_class = .*: must be a whole number from 1 to 3"):
        batch_weights(nf.Sizes(2, (3, 5), 3), per_class, np.random.default_rng(0))
