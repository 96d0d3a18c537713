"""Which samples a step sees: each class in its proportion, every sample once an epoch, from seed and step alone."""

import numpy as np

from ntkflow._types import Labels


def batch_indices(labels: Labels, classes: int, batch_per_class: int, seed: int, step: int) -> np.ndarray:
    """Indices of the batch of one step: `batch_per_class` of each class, every sample once per epoch.

    A pure function of (seed, step), so that a resumed run sees the batches an uninterrupted one would have.
    When the batch does not divide m, a batch takes the last samples of an epoch and the first of the next,
    so nothing is dropped. Of classes that differ in size a batch has each in its proportion, B m_c/N, which
    `DataConfig.in_batch` sees to be whole.

    Args:
        labels: sorted, (N,).
        classes: C.
        batch_per_class: at most m, on the mean over classes; 0 means all samples in order.
        seed: seed of the shuffling.
        step: optimiser step, from 0.
    """
    found: np.ndarray = batches_of(labels, classes, batch_per_class, seed, range(step, step + 1))[0]
    return found


def batches_of(labels: Labels, classes: int, batch_per_class: int, seed: int, steps: range) -> np.ndarray:
    """`batch_indices` of consecutive steps, one a row, (steps, C batch_per_class); each epoch drawn once."""
    N, B = len(labels), classes * batch_per_class
    if len(steps) == 0 or B == 0:
        return np.tile(np.arange(N), (len(steps), 1))
    counts = np.bincount(labels, minlength=classes)
    first, last = steps[0] * B // N, ((steps[-1] + 1) * B - 1) // N
    epochs = [_epoch_order(counts, seed, epoch) for epoch in range(first, last + 1)]
    parts = []
    for c, m in enumerate(counts):
        size = B * m // N
        order = np.concatenate([epoch[c] for epoch in epochs])
        begin = steps[0] * size - first * m
        parts.append(order[begin : begin + len(steps) * size].reshape(len(steps), size))
    return np.concatenate(parts, axis=1)


def _epoch_order(counts: np.ndarray, seed: int, epoch: int) -> list[np.ndarray]:
    """The order in which an epoch goes through the samples of each class, (m_c,) each."""
    # A generator for each epoch, not one that runs on: a resumed run would need to know where that stood.
    rng = np.random.default_rng([seed, 1, epoch])
    starts = np.cumsum(counts) - counts
    return [rng.permutation(m) + start for m, start in zip(counts, starts, strict=True)]
