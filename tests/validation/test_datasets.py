import numpy as np
import pytest

from ntkflow.errors import InputError
from ntkflow.kernels import BlockKernel
from ntkflow.sizes import Sizes
from validation.config import DATASETS, DataConfig
from validation.datasets import READERS, batch_indices, load


def test_every_configurable_dataset_has_a_reader():
    assert set(READERS) == set(DATASETS)


def test_digits_are_balanced_sorted_and_nothing_is_dropped():
    data = load(DataConfig(classes=10, per_class=20), seed=0)
    assert data.x.shape == (200, 8, 8, 1)
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.labels, np.repeat(np.arange(10), 20))
    assert len(data.x) + len(data.x_test) == 1797
    everything = {image.tobytes() for image in np.concatenate([data.x, data.x_test])}
    assert len(everything) == 1797
    pixels = np.concatenate([data.x, data.x_test])
    assert abs(pixels.mean()) < 1e-3
    assert abs(pixels.std() - 1) < 1e-3


def test_the_seed_decides_which_samples_are_drawn():
    first, again, other = (load(DataConfig(classes=3, per_class=4), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)


@pytest.mark.parametrize("config", [DataConfig(per_class=175), DataConfig(classes=11)])
def test_more_than_there_is_is_refused(config):
    with pytest.raises(InputError, match=r"^data\."):
        load(config, seed=0)


def test_block_inputs_have_exactly_the_block_gram_matrix():
    data = load(
        DataConfig(name="block", classes=3, per_class=4, kappa_d=2.0, kappa_c=0.7, kappa_n=0.3), seed=0
    )
    expected = BlockKernel(2.0, 0.7, 0.3).matrix(Sizes(C=3, m=4, n=1))
    for x in (data.x, data.x_test):
        np.testing.assert_allclose(x.astype(float) @ x.astype(float).T, expected, atol=2e-7)


def test_batches_are_balanced_and_every_sample_comes_once_an_epoch():
    labels, m, size = np.repeat(np.arange(3), 6), 6, 2
    for epoch in (0, 1):
        batches = [
            batch_indices(labels, 3, size, seed=5, step=epoch * m // size + k) for k in range(m // size)
        ]
        for batch in batches:
            np.testing.assert_array_equal(np.bincount(labels[batch]), [size] * 3)
        np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(18))


def test_batches_depend_on_seed_and_step_alone():
    labels = np.repeat(np.arange(3), 6)
    a, b, later, other = (batch_indices(labels, 3, 3, s, k) for s, k in ((1, 4), (1, 4), (1, 5), (2, 4)))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, later)
    assert not np.array_equal(a, other)
    np.testing.assert_array_equal(batch_indices(labels, 3, 0, 1, 4), np.arange(18))
