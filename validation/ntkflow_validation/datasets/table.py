"""Data sets by name, and the two that need no files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ntkflow.errors import InputError
from ntkflow.problem.sizes import one_hot
from ntkflow.runs.border.costs import refuse_large
from ntkflow_validation.config.config import DataConfig
from ntkflow_validation.datasets import cifar, idx
from ntkflow_validation.datasets.base import Dataset, Images, from_one_set, from_two_sets
from ntkflow_validation.datasets.locate import find
from ntkflow_validation.own import data as own

Reader = Callable[[DataConfig, int], Dataset]


def load(config: DataConfig, seed: int) -> Dataset:
    """The dataset a configuration names.

    Args:
        config: which one and how much of it.
        seed: decides which samples are drawn.

    Raises:
        InputError: files are missing or broken, or a class has too few samples.
    """
    if config.is_own:
        return read_own(config, seed)
    if config.name != "block" and config.classes > 10:
        raise InputError("data.classes", config.classes, f"{config.name} has 10 classes", "give at most 10")
    return READERS[config.name](config, seed)


def find_files(config: DataConfig) -> None:
    """Raise InputError when the files of a data set that has files are nowhere to be found, or an own one is another."""
    if config.is_own:
        own.verify(config.name, config.sha256)
    if config.name in COMPLETE:
        find(config.name, COMPLETE[config.name])


def read_own(config: DataConfig, seed: int) -> Dataset:
    """A user's own samples; without test samples in the file, those that are not trained on are tested on."""
    found = own.read(own.verify(config.name, config.sha256))
    if config.classes > len(found.names):
        rule = f"{config.title} has {len(found.names)} classes"
        raise InputError("data.classes", config.classes, rule, "give at most so many")
    training = Images(found.X, found.classes)
    if found.X_test is None or found.classes_test is None:
        return from_one_set(training, config, seed)
    return from_two_sets(training, Images(found.X_test, found.classes_test), config, seed)


def input_shape(config: DataConfig) -> tuple[int, ...]:
    """The shape of one input, without reading what is not a user's own."""
    if config.is_own:
        return own.read(own.verify(config.name, config.sha256)).X.shape[1:]
    C, m = config.classes, config.per_class
    return SHAPES.get(config.name) or (1 + C + 2 * C * m,)


def read_digits(config: DataConfig, seed: int) -> Dataset:
    """The 1797 real 8x8 digits of scikit-learn as (N, 8, 8, 1)."""
    from sklearn.datasets import load_digits  # slow to import, and only this reader needs it

    digits = load_digits()
    return from_one_set(Images(digits.images[..., None], digits.target), config, seed)


def read_block(config: DataConfig, seed: int) -> Dataset:
    """Inputs whose Gram matrix is exactly the block kernel (theory 15); as many more are for testing.

    x_i = sqrt(kappa_n) e_0 + sqrt(kappa_c - kappa_n) e_class(i) + sqrt(kappa_d - kappa_c) e_sample(i), to which
    `noise` adds a Gaussian vector of that expected length.
    """
    C, m = config.classes, config.per_class
    needed = 8 * 4 * C * m * (1 + C + 2 * C * m)
    refuse_large("data.per_class", m, needed, "such inputs need about", "lower it or data.classes")
    labels = np.repeat(np.arange(C, dtype=np.int64), m)
    common = np.full((C * m, 1), np.sqrt(config.kappa_n))
    of_class = np.sqrt(config.kappa_c - config.kappa_n) * one_hot(labels, C).T
    own = np.sqrt(config.kappa_d - config.kappa_c) * np.eye(C * m)
    # A sample's own direction is an input that no other one has, so each needs one, and a test sample another.
    x = np.hstack([common, of_class, own, 0 * own])
    x_test = np.hstack([common, of_class, 0 * own, own])
    if config.noise:
        # Over the root of the length: `noise` is then the expected length of the whole vector, however many inputs there are.
        noise = np.random.default_rng([seed, 3]).standard_normal((2, *x.shape)) / np.sqrt(x.shape[1])
        x, x_test = x + config.noise * noise[0], x_test + config.noise * noise[1]
    x, x_test = x.astype(np.float32), x_test.astype(np.float32)
    return Dataset(x, labels, x_test, labels, C, probe_per_class=config.probe_per_class)


SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "fashion-mnist": (28, 28, 1), "cifar10": (32, 32, 3)}

READERS: dict[str, Reader] = {
    "digits": read_digits,
    "mnist": idx.read_mnist,
    "fashion-mnist": idx.read_mnist,
    "cifar10": cifar.read_cifar10,
    "block": read_block,
}

# Whether a folder has all files, for every data set that comes from files.
COMPLETE: dict[str, Callable[[Path], bool]] = {
    "mnist": idx.complete,
    "fashion-mnist": idx.complete,
    "cifar10": cifar.complete,
}
