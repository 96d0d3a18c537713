import numpy as np
import pytest

import ntkflow as nf
from ntkflow.problem.state import class_means, spread


def arrays(C=3, N=6, n=4):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, N)), rng.standard_normal((C, n)), rng.standard_normal(C)


def test_samples_in_any_order_are_sorted_by_class():
    H, W, b = arrays()
    labels = np.array([2, 0, 1, 2, 2, 0])
    state, sizes, order = nf.State.from_samples(H, W, b, labels)
    assert sizes == nf.Sizes(3, (2, 1, 3), 4)
    np.testing.assert_array_equal(state.H, H[:, order])
    np.testing.assert_array_equal(labels[order], sizes.labels)


def test_class_means_are_the_means_of_the_classes():
    H, _, _ = arrays()
    sizes = nf.Sizes(3, (2, 1, 3), 4)
    expected = np.stack([H[:, :2].mean(1), H[:, 2], H[:, 3:].mean(1)], axis=1)
    np.testing.assert_allclose(class_means(H, sizes), expected, atol=1e-15)
    np.testing.assert_array_equal(spread(expected, sizes)[:, 4], expected[:, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"H": np.zeros((4, 6), np.longdouble)}, "H = .* array: the dynamics are float64"),
        ({"H": np.zeros((4, 6), int)}, "H = int64 array: the dynamics are float64"),
        ({"H": np.full((4, 6), np.nan)}, "H = array with 24 NaN or infinite entries"),
        ({"W": np.zeros((3, 5))}, "W = array of shape .* must have one column per feature"),
        ({"b": np.zeros(4)}, "b = array of shape .* one bias per row of W"),
        ({"H": np.zeros(4)}, "H = array of shape .* must have 2 axes"),
    ],
)
def test_bad_arrays_are_named(change, message):
    H, W, b = arrays()
    with pytest.raises(nf.InputError, match=message):
        nf.State(**({"H": H, "W": W, "b": b} | change))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3, 0, 0], r"labels\[3\] = 3: must lie in 0 .. 2"),
        ([0, 1, -1, 2, 0, 0], r"labels\[2\] = -1"),
        ([0, 0, 1, 1, 0, 0], "no sample of class 2"),
        ([0, 1, 2], "must have shape"),
        ([0.0, 1.0, 2.0, 0.0, 0.0, 0.0], "must hold integers"),
    ],
)
def test_bad_labels_are_named(labels, message):
    H, W, b = arrays()
    with pytest.raises(nf.InputError, match=message):
        nf.State.from_samples(H, W, b, np.array(labels))
