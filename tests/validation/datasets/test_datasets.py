import numpy as np
import pytest
from ntkflow_validation.config.config import DATASETS, DataConfig
from ntkflow_validation.datasets import READERS, batch_indices, load
from ntkflow_validation.datasets.base import scale
from ntkflow_validation.datasets.batches import batches_of

from ntkflow.errors import InputError
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes


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


def test_noise_of_the_given_length_takes_block_inputs_off_blocks():
    quiet, noisy = (
        load(DataConfig(name="block", classes=4, per_class=30, noise=a), seed=1) for a in (0.0, 0.5)
    )
    added = noisy.x - quiet.x
    assert np.linalg.norm(added, axis=1).mean() == pytest.approx(0.5, rel=0.02)
    assert abs(added.mean()) < 0.01
    assert not np.allclose(noisy.x_test - quiet.x_test, added)
    again = load(DataConfig(name="block", classes=4, per_class=30, noise=0.5), seed=1)
    assert np.array_equal(again.x, noisy.x)


def test_batches_are_balanced_and_every_sample_comes_once_an_epoch():
    labels, m, size = np.repeat(np.arange(3), 6), 6, 2
    for epoch in (0, 1):
        batches = [
            batch_indices(labels, 3, size, seed=5, step=epoch * m // size + k) for k in range(m // size)
        ]
        for batch in batches:
            np.testing.assert_array_equal(np.bincount(labels[batch]), [size] * 3)
        np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(18))


def test_batches_of_unequal_classes_have_each_in_its_proportion():
    counts, C, size = np.array([8, 4, 12]), 3, 2
    labels = np.repeat(np.arange(C), counts)
    assert DataConfig(classes=C, class_sizes=tuple(counts.tolist())).in_batch(size) == (2, 1, 3)
    for epoch in (0, 1):
        batches = batches_of(labels, C, size, 5, range(4 * epoch, 4 * epoch + 4))
        for batch in batches:
            np.testing.assert_array_equal(np.bincount(labels[batch]), [2, 1, 3])
        np.testing.assert_array_equal(np.sort(batches.ravel()), np.arange(24))
    # 3 of 8, where a batch of 9 takes 3, 1.5 and 4.5: no whole numbers.
    with pytest.raises(InputError, match=r"of 8, 4, 12 in their proportion; use 2 or 6, or 0, all samples"):
        DataConfig(classes=C, class_sizes=(8, 4, 12)).in_batch(3)
    with pytest.raises(InputError, match=r"exceeds the mean of data.class_sizes, 8"):
        DataConfig(classes=C, class_sizes=(8, 4, 12)).in_batch(9)
    with pytest.raises(InputError, match=r"use 0, all samples"):
        DataConfig(classes=C, class_sizes=(8, 4, 13)).in_batch(2)


def test_batches_depend_on_seed_and_step_alone():
    labels = np.repeat(np.arange(3), 6)
    a, b, later, other = (batch_indices(labels, 3, 3, s, k) for s, k in ((1, 4), (1, 4), (1, 5), (2, 4)))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, later)
    assert not np.array_equal(a, other)
    np.testing.assert_array_equal(batch_indices(labels, 3, 0, 1, 4), np.arange(18))


@pytest.mark.parametrize("size", [1, 3, 4, 5, 7])
def test_batches_that_do_not_divide_an_epoch_drop_nothing(size):
    labels, m = np.repeat(np.arange(2), 7), 7
    batches = [batch_indices(labels, 2, size, seed=0, step=k) for k in range(m)]
    seen = np.concatenate([batch.reshape(2, size) for batch in batches], axis=1)
    for c in (0, 1):
        for epoch in range(size):
            in_epoch = seen[c, epoch * m : (epoch + 1) * m]
            np.testing.assert_array_equal(np.sort(in_epoch), np.arange(m) + c * m)


@pytest.mark.parametrize("size", [0, 2, 3, 5])
def test_many_batches_at_once_are_the_single_ones(size):
    labels = np.repeat(np.arange(3), 5)
    steps = range(2, 9)
    single = [batch_indices(labels, 3, size, seed=1, step=k) for k in steps]
    np.testing.assert_array_equal(batches_of(labels, 3, size, 1, steps), np.stack(single))
    assert batches_of(labels, 3, size, 1, range(4, 4)).shape[0] == 0


def test_test_samples_can_be_limited_and_the_rest_is_counted():
    data = load(DataConfig(per_class=20, test_per_class=30), seed=0)
    np.testing.assert_array_equal(np.bincount(data.labels_test), [30] * 10)
    assert data.unused == 1797 - 200 - 300
    assert load(DataConfig(per_class=20), seed=0).unused == 0


def test_images_can_be_standardised_one_by_one():
    data = load(DataConfig(per_class=3, scaling="image"), seed=0)
    np.testing.assert_allclose(data.x.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(data.x.std(axis=(1, 2, 3)), 1, rtol=1e-5)


def test_a_constant_image_is_standardised_to_zero():
    assert not scale(np.full((2, 4, 4, 1), 7, np.uint8), DataConfig(scaling="image")).any()


def test_the_probe_is_the_first_samples_of_each_class():
    data = load(DataConfig(classes=3, per_class=4), seed=0)
    np.testing.assert_array_equal(data.first_of_each_class(2), [0, 1, 4, 5, 8, 9])
    np.testing.assert_array_equal(data.first_of_each_class(0), np.arange(12))


def test_classes_of_different_sizes_are_drawn_as_equal_ones_are():
    equal = load(DataConfig(classes=3, per_class=6), seed=1)
    dataset = load(DataConfig(classes=3, class_sizes=(6, 2, 4)), seed=1)
    np.testing.assert_array_equal(dataset.counts, [6, 2, 4])
    np.testing.assert_array_equal(dataset.labels, np.repeat([0, 1, 2], [6, 2, 4]))
    np.testing.assert_array_equal(dataset.x[:6], equal.x[:6])
    assert len(dataset.x) + len(dataset.x_test) == len(equal.x) + len(equal.x_test)
    np.testing.assert_array_equal(dataset.first_of_each_class(2), [0, 1, 6, 7, 8, 9])
    # What stands for all does so in the proportion of the classes.
    few = np.bincount(dataset.labels[dataset.spread_out(6)], minlength=3)
    np.testing.assert_array_equal(few, [3, 1, 2])
    np.testing.assert_array_equal(dataset.spread_out(100), np.arange(12))
    assert (dataset.balanced, equal.balanced) == (False, True)
