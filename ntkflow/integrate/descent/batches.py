"""Class-balanced minibatches as weights on samples."""

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats
from ntkflow.errors import InputError
from ntkflow.problem.sizes import Sizes

SampleWeights = Float64[Floats, " N"]


def check_batch(sizes: Sizes, per_class: object) -> int:
    """The batch size per class as an int.

    Raises:
        InputError: it is not a whole number from 1 to the size of the smallest class.
    """
    least = min(sizes.counts)
    if (
        isinstance(per_class, bool)
        or not isinstance(per_class, int | np.integer)
        or not 1 <= per_class <= least
    ):
        raise InputError(
            "batch_per_class",
            per_class,
            f"must be a whole number from 1 to {least}, the samples of the smallest class",
            "None means all samples",
        )
    return int(per_class)


def batch_weights(sizes: Sizes, per_class: int, rng: np.random.Generator) -> SampleWeights:
    """Weights m_c / per_class on `per_class` samples drawn from each class without replacement, else 0.

    R times these weights has R as its mean, so that a minibatch step is a full step on average. E needs the
    data set's m and K: with those of the batch it is not even nearly conserved.

    Args:
        sizes: C, m, n of the whole data set.
        per_class: samples drawn from each class.
        rng: source of the draw.

    Returns:
        Weights of shape (N,), summing to m_c over each class.

    Raises:
        InputError: `per_class` is larger than the smallest class, or no whole number >= 1.
    """
    count = check_batch(sizes, per_class)
    # Sorted by class first: the first `count` of each class are a uniform draw.
    order = np.lexsort((rng.random(sizes.N), sizes.labels))
    chosen = order[(np.array(sizes.starts)[:, None] + np.arange(count)).ravel()]
    weights = np.zeros(sizes.N)
    weights[chosen] = (sizes.masses / count)[sizes.labels[chosen]]
    return weights
