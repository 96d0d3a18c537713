"""Products of gradients less the first of their class give the kernel and what samples deviate by."""

import numpy as np
from ntkflow_validation.kernels.backends.differences import from_differences, less_first

COUNTS = np.array([3, 1, 4])


def products(rows):
    moved = rows.copy()
    less_first(moved, np.cumsum(COUNTS))
    return (moved.astype(float) @ moved.astype(float).T)[None]


def test_kernel_and_deviations():
    rows = np.random.default_rng(0).normal(size=(8, 20))
    K, deviations = from_differences(products(rows), COUNTS)
    np.testing.assert_allclose(K[0], rows @ rows.T, atol=1e-12)
    classes = np.split(rows, np.cumsum(COUNTS)[:-1])
    expected = np.concatenate([((own - own.mean(axis=0)) ** 2).sum(axis=1) for own in classes])
    np.testing.assert_allclose(deviations[0], expected, atol=1e-12)


def test_deviations_of_collapsed_classes_keep_their_digits():
    rng = np.random.default_rng(1)
    means, moved = rng.normal(size=(3, 50)).repeat(COUNTS, axis=0), 2.0**-12 * rng.integers(-8, 9, (8, 50))
    # Numbers that single precision holds, so that nothing is lost before.
    rows = np.round(means * 2**6) / 2**6 + moved
    _, deviations = from_differences(products(rows.astype(np.float32)), COUNTS)
    classes = np.split(moved, np.cumsum(COUNTS)[:-1])
    expected = np.concatenate([((own - own.mean(axis=0)) ** 2).sum(axis=1) for own in classes])
    np.testing.assert_allclose(deviations[0], expected, rtol=1e-12, atol=1e-20)


def test_without_classes_nothing_is_taken():
    rows = np.ones((4, 3))
    less_first(rows, np.array([], int))
    assert (rows == 1).all()
