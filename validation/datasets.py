"""Training samples: balanced, sorted by class, the rest kept for testing; balanced batches from a seed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from ntkflow._types import Labels
from ntkflow.errors import InputError
from validation.config import DataConfig

Inputs = Float32[np.ndarray, "B ..."]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training samples sorted by class, exactly `per_class` of each, and the held-out rest.

    Attributes:
        x: training inputs, (N, ...), float32.
        labels: their classes, 0 .. C-1, sorted, (N,).
        x_test: held-out inputs; may be empty.
        labels_test: their classes.
        classes: C.
    """

    x: Float32[np.ndarray, "N ..."]
    labels: Labels
    x_test: Float32[np.ndarray, "N_test ..."]
    labels_test: Int64[np.ndarray, " N_test"]
    classes: int

    @property
    def per_class(self) -> int:
        """The number m of training samples of each class."""
        return len(self.labels) // self.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.x.shape[1:]


def load(config: DataConfig, seed: int) -> Dataset:
    """The dataset a configuration names.

    Args:
        config: which one and how much of it.
        seed: decides which samples are drawn.

    Raises:
        InputError: a class has too few samples.
    """
    return READERS[config.name](config, seed)


def split_balanced(x: np.ndarray, labels: np.ndarray, config: DataConfig, seed: int) -> Dataset:
    """Draw `per_class` samples of each of the first C classes; the rest of these classes is the test set.

    Raises:
        InputError: a class has fewer than `per_class` samples.
    """
    rng = np.random.default_rng([seed, 0])
    train, test = [], []
    for c in range(config.classes):
        members = np.flatnonzero(labels == c)
        if len(members) < config.per_class:
            raise InputError(
                "data.per_class",
                config.per_class,
                f"class {c} of {config.name} has {len(members)} samples",
                "lower it",
            )
        drawn = rng.permutation(members)
        train.append(np.sort(drawn[: config.per_class]))
        test.append(np.sort(drawn[config.per_class :]))
    order, rest = np.concatenate(train), np.concatenate(test)
    labels = labels.astype(np.int64)
    return Dataset(x[order], labels[order], x[rest], labels[rest], config.classes)


def read_digits(config: DataConfig, seed: int) -> Dataset:
    """The 1797 real 8x8 digits of scikit-learn as (N, 8, 8, 1), standardised by two fixed numbers."""
    from sklearn.datasets import load_digits  # slow to import, and only this reader needs it

    if config.classes > 10:
        raise InputError("data.classes", config.classes, "digits has 10 classes", "give at most 10")
    digits = load_digits()
    # Mean and standard deviation over all pixels of the whole set, fixed so that no split changes the inputs.
    images = ((digits.images - 4.884) / 6.017).astype(np.float32)[..., None]
    return split_balanced(images, digits.target, config, seed)


def read_block(config: DataConfig, seed: int) -> Dataset:
    """Inputs whose Gram matrix is exactly the block kernel (theory 15); as many more are for testing.

    x_i = sqrt(kappa_n) e_0 + sqrt(kappa_c - kappa_n) e_class(i) + sqrt(kappa_d - kappa_c) e_sample(i).
    """
    del seed
    C, m = config.classes, config.per_class
    labels = np.repeat(np.arange(C, dtype=np.int64), m)
    common = np.full((C * m, 1), np.sqrt(config.kappa_n))
    of_class = np.sqrt(config.kappa_c - config.kappa_n) * np.eye(C)[labels]
    own = np.sqrt(config.kappa_d - config.kappa_c) * np.eye(C * m)
    x = np.hstack([common, of_class, own, 0 * own]).astype(np.float32)
    x_test = np.hstack([common, of_class, 0 * own, own]).astype(np.float32)
    return Dataset(x, labels, x_test, labels, C)


Reader = Callable[[DataConfig, int], Dataset]
READERS: dict[str, Reader] = {"digits": read_digits, "block": read_block}


def batch_indices(labels: Labels, classes: int, batch_per_class: int, seed: int, step: int) -> np.ndarray:
    """Indices of the batch of one step: `batch_per_class` of each class, every sample once per epoch.

    A pure function of (seed, step), so that a resumed run sees the batches an uninterrupted one would have.

    Args:
        labels: sorted, balanced labels, (N,).
        classes: C.
        batch_per_class: divides m; 0 means all samples in order.
        seed: seed of the shuffling.
        step: optimiser step, from 0.
    """
    if batch_per_class == 0:
        return np.arange(len(labels))
    m = len(labels) // classes
    epoch, batch = divmod(step, m // batch_per_class)
    rng = np.random.default_rng([seed, 1, epoch])
    order = np.stack([rng.permutation(m) + c * m for c in range(classes)])
    return order[:, batch * batch_per_class : (batch + 1) * batch_per_class].ravel()
