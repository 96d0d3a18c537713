"""A dataset ready for training, and the draw that makes one from images and labels."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64

from ntkflow._types import Labels
from ntkflow.errors import InputError
from ntkflow_validation.config.config import DataConfig

if TYPE_CHECKING:
    import jax

Inputs = Float32[np.ndarray, "B ..."]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training samples sorted by class, as many of each unless the sizes of classes are given, and what they are tested on.

    Attributes:
        x: training inputs, (N, ...), float32.
        labels: their classes, 0 .. C-1, sorted, (N,).
        x_test: test inputs; may be empty.
        labels_test: their classes.
        classes: C.
        unused: samples of the C classes that are neither trained nor tested on.
        probe_per_class: samples of each class on which H is observed, the first ones; 0 = all.
    """

    x: Float32[np.ndarray, "N ..."]
    labels: Labels
    x_test: Float32[np.ndarray, "N_test ..."]
    labels_test: Int64[np.ndarray, " N_test"]
    classes: int
    unused: int = 0
    probe_per_class: int = 0

    @cached_property
    def x_on_device(self) -> "jax.Array":
        """`x` as an array of JAX, uploaded once: on a GPU what a step or a snapshot uploads is waited for."""
        import jax.numpy as jnp

        return jnp.asarray(self.x)

    @cached_property
    def x_test_on_device(self) -> "jax.Array":
        """`x_test` likewise."""
        import jax.numpy as jnp

        return jnp.asarray(self.x_test)

    @property
    def per_class(self) -> int:
        """The number m of training samples of each class; N/C rounded down where they differ."""
        return len(self.labels) // self.classes

    @property
    def counts(self) -> np.ndarray:
        """Training samples of each class, (C,)."""
        return np.bincount(self.labels, minlength=self.classes)

    @property
    def balanced(self) -> bool:
        """Whether all classes have as many."""
        return len(set(self.counts.tolist())) == 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.x.shape[1:]

    def first_of_each_class(self, count: int) -> np.ndarray:
        """Indices of the first `count` samples of each class, sorted by class; 0 = all."""
        starts = np.cumsum(self.counts) - self.counts
        return np.concatenate(
            [s + np.arange(m)[: count or None] for s, m in zip(starts, self.counts, strict=True)]
        )

    def spread_out(self, most: int) -> np.ndarray:
        """Indices of at most `most` samples that stand for all: as many of each class, or in the proportion of the classes."""
        if self.balanced:
            return self.first_of_each_class(max(1, min(self.per_class, most // self.classes)))
        return np.unique(np.linspace(0, len(self.labels) - 1, min(most, len(self.labels))).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Images:
    """Images as they stand in files.

    Attributes:
        pixels: (N, height, width, channels), uint8 or as the set has them; a user's own may have other axes.
        labels: classes, (N,).
    """

    pixels: np.ndarray
    labels: np.ndarray


def draw(labels: np.ndarray, config: DataConfig, seed: int, stream: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of as many samples of the first C classes as are wanted, sorted by class, and of the rest of them.

    Raises:
        InputError: a class has fewer samples.
    """
    rng = np.random.default_rng([seed, stream])
    drawn, rest = [], []
    for c, wanted in enumerate(config.counts):
        members = np.flatnonzero(labels == c)
        if len(members) < wanted:
            raise InputError(
                "data.per_class" if config.balanced else "data.class_sizes",
                wanted,
                f"class {c} of {config.title} has {len(members)} samples",
                "lower it",
            )
        # All members are shuffled, however many are wanted: a larger draw from the same seed holds a smaller one.
        shuffled = rng.permutation(members)
        drawn.append(np.sort(shuffled[:wanted]))
        rest.append(np.sort(shuffled[wanted:]))
    return np.concatenate(drawn), np.concatenate(rest)


def limit_test(labels: np.ndarray, candidates: np.ndarray, config: DataConfig, seed: int) -> np.ndarray:
    """Those of the candidate indices that are tested on: all, or at most `test_per_class` of each class."""
    if config.test_per_class == 0:
        return candidates
    # A stream of its own: how many are tested on changes nothing of what is trained on, nor of the batches (stream 1).
    rng = np.random.default_rng([seed, 2])
    kept = [
        np.sort(rng.permutation(candidates[labels[candidates] == c])[: config.test_per_class])
        for c in range(config.classes)
    ]
    return np.concatenate(kept)


def from_one_set(images: Images, config: DataConfig, seed: int) -> Dataset:
    """Draw the training samples; the test samples come from the rest.

    Raises:
        InputError: a class has fewer than `per_class` samples.
    """
    labels = images.labels.astype(np.int64)
    train, rest = draw(labels, config, seed)
    test = limit_test(labels, rest, config, seed)
    x, x_test = (scale(images.pixels[rows], config) for rows in (train, test))
    unused = len(rest) - len(test)
    return Dataset(x, labels[train], x_test, labels[test], config.classes, unused, config.probe_per_class)


def from_two_sets(training: Images, testing: Images, config: DataConfig, seed: int) -> Dataset:
    """Draw the training samples from the official training set; test on the official test set.

    Raises:
        InputError: a class has fewer than `per_class` training samples.
    """
    shapes = [part.pixels.shape[1:] for part in (training, testing)]
    if shapes[0] != shapes[1]:
        rule = f"has test images of shape {shapes[1]}, and training images of {shapes[0]}"
        raise InputError("data", config.title, rule, "download both again")
    labels, labels_test = (part.labels.astype(np.int64) for part in (training, testing))
    train, rest = draw(labels, config, seed)
    candidates = np.flatnonzero(labels_test < config.classes)
    test = limit_test(labels_test, candidates, config, seed)
    return Dataset(
        scale(training.pixels[train], config),
        labels[train],
        scale(testing.pixels[test], config),
        labels_test[test],
        config.classes,
        len(rest) + len(candidates) - len(test),
        config.probe_per_class,
    )


def scale(pixels: np.ndarray, config: DataConfig) -> np.ndarray:
    """Pixels as float32 inputs, as `config.scaling` says."""
    if config.scaling == "image":
        # In float32 and in slices: a large set would not fit several times into memory as float64.
        parts = [_standardised(pixels[i : i + 4096]) for i in range(0, len(pixels), 4096)]
        return np.concatenate(parts) if parts else pixels.astype(np.float32)
    if config.is_own and pixels.dtype != np.uint8:
        return pixels.astype(np.float32)
    if config.name == "digits":
        # Mean and standard deviation over all pixels of the whole set, fixed so that no split changes the inputs.
        return ((pixels - 4.884) / 6.017).astype(np.float32)
    return pixels.astype(np.float32) / np.float32(255)


def _standardised(pixels: np.ndarray) -> np.ndarray:
    values = pixels.astype(np.float64)
    axes = tuple(range(1, values.ndim))
    centred = values - values.mean(axis=axes, keepdims=True)
    deviation = centred.std(axis=axes, keepdims=True)
    # A constant image has no contrast to normalise; it becomes zero.
    result: np.ndarray = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
    return result.astype(np.float32)
