"""Which samples a step sees: exactly balanced, every sample once an epoch, from seed and step alone."""

import numpy as np

from ntkflow._types import Labels


def batch_indices(labels: Labels, classes: int, batch_per_class: int, seed: int, step: int) -> np.ndarray:
    """Indices of the batch of one step: `batch_per_class` of each class, every sample once per epoch.

    A pure function of (seed, step), so that a resumed run sees the batches an uninterrupted one would have.
    When the batch does not divide m, a batch takes the last samples of an epoch and the first of the next,
    so nothing is dropped.

    Args:
        labels: sorted, balanced labels, (N,).
        classes: C.
        batch_per_class: at most m; 0 means all samples in order.
        seed: seed of the shuffling.
        step: optimiser step, from 0.
    """
    if batch_per_class == 0:
        return np.arange(len(labels))
    m = len(labels) // classes
    epoch, begin = divmod(step * batch_per_class, m)
    order = _epoch_order(m, classes, seed, epoch)
    missing = begin + batch_per_class - m
    if missing > 0:
        order = np.concatenate([order, _epoch_order(m, classes, seed, epoch + 1)[:, :missing]], axis=1)
    return order[:, begin : begin + batch_per_class].ravel()


def batches_of(labels: Labels, classes: int, batch_per_class: int, seed: int, steps: range) -> np.ndarray:
    """`batch_indices` of consecutive steps, one a row, (steps, C batch_per_class); each epoch drawn once."""
    if len(steps) == 0 or batch_per_class == 0:
        return np.tile(np.arange(len(labels)), (len(steps), 1))
    m = len(labels) // classes
    first, last = steps[0] * batch_per_class // m, ((steps[-1] + 1) * batch_per_class - 1) // m
    order = np.concatenate([_epoch_order(m, classes, seed, e) for e in range(first, last + 1)], axis=1)
    begin = steps[0] * batch_per_class - first * m
    chosen = order[:, begin : begin + len(steps) * batch_per_class]
    return chosen.reshape(classes, len(steps), -1).transpose(1, 0, 2).reshape(len(steps), -1)


def _epoch_order(m: int, classes: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch goes through the samples of each class, (C, m)."""
    # A generator for each epoch, not one that runs on: a resumed run would need to know where that stood.
    rng = np.random.default_rng([seed, 1, epoch])
    return np.stack([rng.permutation(m) + c * m for c in range(classes)])
