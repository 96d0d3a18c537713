import numpy as np
import pytest

import ntkflow as nf
from ntkflow.problem.sizes import one_hot


def test_samples_are_counted_and_labelled_by_class():
    sizes = nf.Sizes(C=3, m=(2, 1, 3), n=4)
    assert sizes.N == 6
    assert not sizes.balanced
    np.testing.assert_array_equal(sizes.labels, [0, 0, 1, 2, 2, 2])
    assert sizes.starts == (0, 2, 3)


def test_equal_counts_are_the_same_sizes_as_one_count():
    assert nf.Sizes(3, (4, 4, 4), 5) == nf.Sizes(3, 4, 5)
    assert hash(nf.Sizes(3, (4, 4, 4), 5)) == hash(nf.Sizes(3, 4, 5))


def test_numpy_integers_are_sizes_too():
    assert nf.Sizes(np.int64(3), np.int32(4), np.int64(5)) == nf.Sizes(3, 4, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 4, 5), "C = 1: must be at least 2"),
        ((3, 0, 5), "m = 0: must be at least 1"),
        ((3, 4, 0), "n = 0: must be at least 1"),
        ((3, 4.5, 5), "m = 4.5: must be a whole number"),
        ((3, (4, 4), 5), r"m = 2 counts \(2 x 4\): must have one count per class, C = 3"),
        ((3, (4, 0, 4), 5), "m = 0: must be at least 1"),
    ],
)
def test_bad_sizes_are_named(arguments, message):
    with pytest.raises(nf.InputError, match=message):
        nf.Sizes(*arguments)


def test_a_common_m_of_imbalanced_classes_is_refused():
    with pytest.raises(nf.InputError, match="must be equal for all classes"):
        _ = nf.Sizes(2, (1, 2), 3).per_class


def test_what_repeats_is_summarised():
    from ntkflow.problem.sizes import repeated

    assert repeated([20, 10, 5, 5]) == "20, 10, 2 x 5"
    assert repeated([12] * 100) == "100 x 12"
    assert repeated(range(500, 400, -1)) == "100 values from 401 to 500"
    with pytest.raises(
        nf.InputError, match=r"m = 99 counts \(99 x 12\): must have one count per class, C = 100"
    ):
        nf.Sizes(100, (12,) * 99, 5)


def test_targets_are_one_hot_in_any_order_of_the_samples():
    sizes = nf.Sizes(C=3, m=(2, 1, 3), n=4)
    np.testing.assert_array_equal(sizes.Y, np.kron(np.eye(3), np.ones(6))[:, [0, 1, 6, 12, 13, 14]])
    assert sizes.Y.flags.c_contiguous
    order = np.array([3, 0, 5, 2, 1, 4])
    np.testing.assert_array_equal(one_hot(sizes.labels[order], 3), sizes.Y[:, order])
