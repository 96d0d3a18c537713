"""The features' NTK of a network on a dataset: the arrow from a snapshot's variables to a `KernelSample`."""

import numpy as np

from ntkflow.progress import Progress, silent
from ntkflow_validation.config.config import KernelConfig
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.kernels.backends.jax_backend import JaxBackend
from ntkflow_validation.kernels.blocks import KernelSample
from ntkflow_validation.kernels.budget import Budget
from ntkflow_validation.kernels.magnitude import in_range
from ntkflow_validation.kernels.methods.gram import grams
from ntkflow_validation.kernels.task import Task
from ntkflow_validation.models.base import Network, Variables


def measure(
    network: Network,
    variables: Variables,
    dataset: Dataset,
    config: KernelConfig,
    progress: Progress = silent,
    memory: str = "2GiB",
) -> KernelSample:
    """Exact kernel of the body's parameters in inference mode, on the first samples of each class.

    Args:
        network: structure.
        variables: parameters and statistics to measure at.
        dataset: sorted, balanced training samples.
        config: how many neurons and samples.
        progress: called with (what, neurons done, in all).
        memory: what the measurement may use.

    Raises:
        InputError: a parameter is not finite.
    """
    variables.check_finite()
    s = config.per_class or dataset.per_class
    rows = np.arange(len(dataset.labels)).reshape(dataset.classes, -1)[:, :s].ravel()
    x, labels = dataset.x[rows], dataset.labels[rows]
    backend = JaxBackend(network.body_features, variables.params["body"], variables).check(x)
    task = Task(backend, x, labels, budget=Budget.parse(memory), progress=progress)
    V = np.eye(backend.n)[: config.neurons or backend.n]
    found = in_range(task, lambda task: grams(task, V))
    return KernelSample(labels, found.mean, found.sums.constants[:, :4], backend.n, dataset.per_class)
