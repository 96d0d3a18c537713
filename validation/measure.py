"""The features' NTK of a network on a dataset: the arrow from a snapshot's variables to a `KernelSample`."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from validation.blocks import KernelSample, sample
from validation.config import KernelConfig
from validation.datasets import Dataset
from validation.jacobians import NeuronKernel, neuron_kernels
from validation.models.base import Network, Variables


def measure(
    network: Network,
    variables: Variables,
    dataset: Dataset,
    config: KernelConfig,
    progress: Callable[[int], Any] | None = None,
) -> KernelSample:
    """Exact kernel of the body's parameters in inference mode, on the first samples of each class.

    Args:
        network: structure.
        variables: parameters and statistics to measure at.
        dataset: sorted, balanced training samples.
        config: how many neurons and samples.
        progress: called with the number of neurons done.

    Raises:
        InputError: a parameter is not finite.
    """
    variables.check_finite()
    s = config.per_class or dataset.per_class
    rows = np.arange(len(dataset.labels)).reshape(dataset.classes, -1)[:, :s].ravel()
    x, labels = dataset.x[rows], dataset.labels[rows]
    n = variables.params["head"]["kernel"].shape[0]
    kernels = neuron_kernels(
        network.body_features,
        variables.params["body"],
        variables,
        x,
        labels,
        range(config.neurons or n),
    )
    return sample(_counted(kernels, progress), labels, n, dataset.per_class)


def _counted(
    kernels: Iterator[NeuronKernel], progress: Callable[[int], Any] | None
) -> Iterator[NeuronKernel]:
    for done, kernel in enumerate(kernels, start=1):
        yield kernel
        if progress is not None:
            progress(done)
