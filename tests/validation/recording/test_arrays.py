"""Features, heads and labels in every layout that frameworks have."""

import numpy as np
import pytest
from ntkflow_validation.recording import arrays

from ntkflow.errors import InputError

H = np.arange(12.0).reshape(4, 3)
W, b = np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0])


class Layer:
    def __init__(self, **parts):
        vars(self).update(parts)


def test_samples_are_rows_or_columns_by_their_number():
    np.testing.assert_array_equal(arrays.columns(H, 4, None), H.T)
    np.testing.assert_array_equal(arrays.columns(H.T, 4, None), H.T)
    np.testing.assert_array_equal(arrays.columns(H.T, 4, False), H.T)


def test_a_square_is_refused_unless_it_is_said():
    square = np.arange(9.0).reshape(3, 3)
    with pytest.raises(InputError, match=r"along both axes.*rows=True"):
        arrays.columns(square, 3, None)
    np.testing.assert_array_equal(arrays.columns(square, 3, True), square.T)
    np.testing.assert_array_equal(arrays.columns(square, 3, False), square)


def test_other_numbers_of_samples_are_refused():
    with pytest.raises(InputError, match=r"\(n, N\) with N = 5"):
        arrays.columns(H, 5, None)
    with pytest.raises(InputError, match=r"\(N, n\) with N = 3"):
        arrays.columns(H, 3, True)
    with pytest.raises(InputError, match="2 axes"):
        arrays.columns(H[0], 3, None)


@pytest.mark.parametrize(
    "head",
    [
        (W, b),
        {"kernel": W.T, "bias": b},
        {"weight": W, "bias": b},
        Layer(kernel=W.T, bias=b),
        Layer(weight=W, bias=b),
    ],
    ids=["arrays", "linen", "state_dict", "nnx", "torch"],
)
def test_a_head_is_arrays_or_a_layer(head):
    for found, wanted in zip(arrays.head_of(head, None, 2), (W, b), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_head_without_biases_is_known_as_one():
    for head in (W, (W, None), Layer(kernel=W.T, bias=None)):
        assert arrays.head_of(head, None, 2)[1] is None


def test_heads_of_another_shape_are_refused():
    with pytest.raises(InputError, match="transpose it"):
        arrays.head_of(W.T, b, 2)
    with pytest.raises(InputError, match="C = 4 classes"):
        arrays.head_of(W, b, 4)
    with pytest.raises(InputError, match="none of"):
        arrays.head_of(object(), None, 2)


def test_labels_are_classes_or_one_hot():
    labels = np.array([1, 0, 2, 1])
    for given in (labels, labels.tolist(), np.eye(3)[labels]):
        found, C = arrays.labels_of(given, None)
        np.testing.assert_array_equal(found, labels)
        assert C == 3


@pytest.mark.parametrize(
    ("y", "classes"),
    [([0, 2], None), ([0, 1], 3), ([0, 0], None), ([[0.5, 0.5]], None), ([-1, 0], None), ([0, 1, 2], 2)],
)
def test_labels_that_cannot_be_are_refused(y, classes):
    with pytest.raises(InputError):
        arrays.labels_of(y, classes)
