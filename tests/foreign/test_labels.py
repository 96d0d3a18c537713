"""Labels as indices or one-hot rows, of any framework."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkflow.errors import InputError
from ntkflow.foreign.labels import class_indices, counted

Y = np.array([2, 0, 1, 0, 2])
ROWS = np.eye(3)[Y]


@pytest.mark.parametrize(
    "y",
    [
        Y,
        Y.tolist(),
        Y[:, None],
        jnp.asarray(Y),
        ROWS,
        ROWS.astype(bool),
        ROWS.astype(np.int8),
        jax.nn.one_hot(Y, 3),
        ROWS.tolist(),
    ],
    ids=["indices", "list", "column", "jax", "float", "bool", "int8", "jax one-hot", "lists"],
)
def test_indices_and_one_hot_rows_are_the_same(y):
    found = class_indices(y, 5)
    np.testing.assert_array_equal(found, Y)
    assert found.dtype == np.int64


def test_tensors_of_torch():
    torch = pytest.importorskip("torch")
    y = torch.from_numpy(Y)
    for given in (y, torch.nn.functional.one_hot(y), torch.nn.functional.one_hot(y).to(torch.bfloat16)):
        np.testing.assert_array_equal(class_indices(given, 5), Y)


@pytest.mark.parametrize(
    ("y", "rule"),
    [
        (0.9 * ROWS + 0.1 / 3, "smoothed"),
        (2 * ROWS, "one-hot"),
        (np.ones((5, 3)), "one-hot"),
        (ROWS[:4], "5 rows"),
        (np.ma.masked_array(ROWS, ROWS > 0), "hides entries"),
        ([[1, 0], [1]], "array of numbers"),
        (ROWS[None], "shape"),
        (None, "Python objects"),
    ],
    ids=["smoothed", "twos", "ones", "short", "masked", "ragged", "three axes", "none"],
)
def test_others_are_refused(y, rule):
    with pytest.raises(InputError, match=rf"^y = .*{rule}"):
        class_indices(y, 5)


def test_their_number_may_be_whatever_it_is():
    np.testing.assert_array_equal(class_indices(Y), Y)
    np.testing.assert_array_equal(class_indices(ROWS), Y)


def test_classes_are_counted():
    assert counted(Y).tolist() == counted(Y, 3).tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    ("labels", "C"),
    [([0, 2], None), ([0, 1], 3), ([0, 0], None), ([-1, 0], None), ([0, 1, 2], 2), ([], None)],
)
def test_classes_without_samples_are_refused(labels, C):
    with pytest.raises(InputError, match=r"^y = "):
        counted(np.array(labels, dtype=np.int64), C)
