"""The features' NTK of a network on a dataset: the arrow from a snapshot's variables to a `KernelSample`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from validation.blocks import KernelSample
from validation.config import KernelConfig
from validation.datasets import Dataset
from validation.kernels.budget import Budget
from validation.kernels.gram import grams
from validation.kernels.jax_backend import JaxBackend
from validation.kernels.magnitude import in_range
from validation.kernels.task import Task
from validation.models.base import Network, Variables


def measure(
    network: Network,
    variables: Variables,
    dataset: Dataset,
    config: KernelConfig,
    progress: Callable[[int], Any] | None = None,
    memory: str = "2GiB",
) -> KernelSample:
    """Exact kernel of the body's parameters in inference mode, on the first samples of each class.

    Args:
        network: structure.
        variables: parameters and statistics to measure at.
        dataset: sorted, balanced training samples.
        config: how many neurons and samples.
        progress: called with the number of neurons done.
        memory: what the measurement may use.

    Raises:
        InputError: a parameter is not finite.
    """
    variables.check_finite()
    s = config.per_class or dataset.per_class
    rows = np.arange(len(dataset.labels)).reshape(dataset.classes, -1)[:, :s].ravel()
    x, labels = dataset.x[rows], dataset.labels[rows]
    backend = JaxBackend(network.body_features, variables.params["body"], variables).check(x)
    task = Task(
        backend,
        x,
        labels,
        budget=Budget.parse(memory),
        progress=lambda _, done, __: progress and progress(done),
    )
    V = np.eye(backend.n)[: config.neurons or backend.n]
    found = in_range(task, lambda task: grams(task, V))
    return KernelSample(labels, found.mean, found.sums.constants[:, :4], backend.n, dataset.per_class)
