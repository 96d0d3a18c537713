"""What the next step of a training is made of at its snapshots, for the laws that its steps obey."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntkflow_validation.conservation.passes import passes
from ntkflow_validation.conservation.steps import Descent, Moment, Pair, moment
from ntkflow_validation.datasets import Dataset, batch_indices
from ntkflow_validation.models.base import Network, Tree
from ntkflow_validation.precision import products
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.objective import objective
from ntkflow_validation.training.train import TrainState

Tensors = Mapping[str, np.ndarray]


class Pulled(NamedTuple):
    """Parameters, the gradient of the next step's loss and the velocity that led here, by path, in float64."""

    theta: Tensors
    g: Tensors
    velocity: Tensors | None

    def moment(self, pair: Pair, how: Descent) -> Moment:
        """What a law needs of it."""
        return moment(pair, how, *self)


class Descended:
    """The steps of a training as its configuration makes them.

    Args:
        run: the training; its optimiser is gradient descent.
        network: structure.
        dataset: what it was trained on.
        params: some parameters of it, for their shapes.
    """

    def __init__(self, run: RunDirectory, network: Network, dataset: Dataset, params: Tree) -> None:
        config = run.trained_config
        self._recipe, self._seed, self._dataset = config.training, config.seed, dataset
        everything = self._recipe.decay_on == "all"
        decaying = tuple(name for name, t in tensors(params).items() if everything or t.ndim > 1)
        self.how = Descent(self._recipe.momentum, self._recipe.nesterov, self._recipe.weight_decay, decaying)
        self._labels = jnp.asarray(dataset.labels.astype(np.int32))

        def gradient(params: Tree, statistics: Tree, x: jax.Array, labels: jax.Array) -> Tree:
            return jax.grad(lambda p: objective(network, self._recipe, p, statistics, x, labels)[0])(params)

        self._gradient = jax.jit(products(self._recipe.precision, gradient))

    def pulled(self, step: int, state: TrainState) -> Pulled:
        """That of a snapshot: its gradient is that of the batch which the step from there takes."""
        x, labels, each = self._dataset.x_on_device, self._labels, self._recipe.batch_per_class
        if each:
            rows = batch_indices(self._dataset.labels, self._dataset.classes, each, self._seed, step)
            x, labels = x[rows], labels[rows]
        g = self._gradient(*state.variables, x, labels)
        v = optax.tree_utils.tree_get(state.optimiser, "trace") if self.how.beta else None
        return Pulled(tensors(state.variables.params), tensors(g), None if v is None else tensors(v))


def tensors(tree: Tree) -> Tensors:
    """Parameters by path, as laws name them, in float64."""
    found: Tensors = passes(lambda p, _: p, tree).params
    return found
