"""The linearised network at a snapshot: its Jacobian applied, never stored."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntkflow._types import Features
from ntkflow.problem.sizes import Sizes
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.datasets.batches import batches_of
from ntkflow_validation.ladder.operators.base import Operator
from ntkflow_validation.models.base import Network, Tree, Variables
from ntkflow_validation.precision import full
from ntkflow_validation.runs.measurement_run import batch_features
from ntkflow_validation.training.objective import objective
from ntkflow_validation.training.steps import loss_scale
from ntkflow_validation.training.train import TrainState

# Samples of one call; the last one is filled up with copies whose cotangents are zero.
BATCH = 120


# Of the variables, a batch, and a direction or a cotangent.
Compiled = Callable[[Variables, np.ndarray, Tree], Tree]


@lru_cache(maxsize=8)
def _compiled(network: Network, coupled: bool) -> tuple[Compiled, Compiled]:
    """J v and J^T u of a batch, compiled once a network."""
    features = batch_features(network) if coupled else network.body_features

    @jax.jit
    @full
    def push(variables: Variables, x: jax.Array, direction: Tree) -> jax.Array:
        body = variables.params["body"]
        found: jax.Array = jax.jvp(lambda p: features(p, variables, x), (body,), (direction,))[1]
        return found

    @jax.jit
    @full
    def pull(variables: Variables, x: jax.Array, cotangent: jax.Array) -> Tree:
        body = variables.params["body"]
        return jax.vjp(lambda p: features(p, variables, x), body)[1](cotangent)[0]

    return push, pull


@dataclass(frozen=True, eq=False)
class Linearised:
    """H(theta + d) = H + J d on some samples.

    Attributes:
        network: structure.
        variables: parameters and statistics of the snapshot.
        x: inputs of the samples, sorted by class.
        coupled: normalise with the statistics of these samples, which move with the parameters, so that samples
            see each other; otherwise inference mode.
    """

    network: Network
    variables: Variables
    x: np.ndarray
    coupled: bool = False

    def _batches(self) -> Iterator[tuple[int, int, np.ndarray]]:
        size = len(self.x) if self.coupled else min(BATCH, len(self.x))
        for a in range(0, len(self.x), size):
            b = min(len(self.x), a + size)
            yield a, b, np.resize(self.x[a:b], (size, *self.x.shape[1:]))

    def push(self, direction: Tree) -> Features:
        """J d: how the features move along a direction of the body's parameters, (n, N)."""
        run, parts = _compiled(self.network, self.coupled)[0], []
        for a, b, x in self._batches():
            parts.append(np.asarray(run(self.variables, x, direction), dtype=np.float64)[: b - a])
        return np.concatenate(parts).T

    def pull(self, G: Features) -> Tree:
        """J^T G: the gradient of <G, H> by the body's parameters."""
        run, total = _compiled(self.network, self.coupled)[1], None
        for a, b, x in self._batches():
            cotangent = np.zeros((len(x), len(G)), np.float32)
            cotangent[: b - a] = G[:, a:b].T
            part = run(self.variables, x, cotangent)
            total = part if total is None else jax.tree.map(jnp.add, total, part)
        return total


@dataclass(frozen=True, eq=False)
class FrozenOperator(Operator):
    """The whole tensor of the snapshot, Op = J J^T, without storing it: one J^T and one J a time.

    Attributes:
        linearised: the network.
        sizes: of its samples.
    """

    linearised: Linearised
    sizes: Sizes

    def act(self, G: Features, t: float = 0.0) -> Features:
        """J J^T G, to float32 rounding."""
        del t
        # float32 gradients: keep them away from its smallest numbers.
        scale = float(np.abs(G).max(initial=0.0))
        if scale == 0.0:
            return np.zeros_like(G)
        return scale * self.linearised.push(self.linearised.pull(G / scale))

    @property
    def _power_steps(self) -> int:
        return 8

    @cached_property
    def gain(self) -> float:
        """A few power steps, and a tenth more, since each costs two passes through the network."""
        return 1.1 * super().gain


def training_direction(
    network: Network, train_state: TrainState, dataset: Dataset, config: RunConfig, step: int
) -> Tree:
    """Minus the gradient of the sum loss that training follows at a snapshot, by the body's parameters.

    The mean over the batches of one epoch from this step on, with normalisation as in training; neither
    momentum nor decay.
    """
    recipe, m = config.training, dataset.per_class
    count = -(-m // recipe.batch_per_class) if recipe.batch_per_class else 1
    rows = batches_of(
        dataset.labels, dataset.classes, recipe.batch_per_class, config.seed, range(step, step + count)
    )
    gradient = _gradient(network, config)
    total = None
    for chosen in rows:
        part = gradient(*train_state.variables, dataset.x[chosen], dataset.labels[chosen].astype(np.int32))
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    scale = loss_scale(recipe, len(dataset.labels), dataset.classes) / len(rows)
    return jax.tree.map(lambda g: -scale * g, total)


def _gradient(network: Network, config: RunConfig) -> Callable[..., Tree]:
    @jax.jit
    @full
    def gradient(params: Tree, statistics: Tree, x: jax.Array, labels: jax.Array) -> Tree:
        def loss(body: Tree) -> jax.Array:
            return objective(network, config.training, {**params, "body": body}, statistics, x, labels)[0]

        return jax.grad(loss)(params["body"])

    return gradient


def velocity(train_state: TrainState) -> Tree | None:
    """The momentum buffer of all parameters, in units of the loss that is differentiated; None without one."""
    parts = jax.tree.leaves(train_state.optimiser, is_leaf=lambda node: isinstance(node, optax.TraceState))
    found = [part.trace for part in parts if isinstance(part, optax.TraceState)]
    return found[0] if found else None


def decayed_part(variables: Variables, on: str) -> Tree:
    """The body's parameters that weight decay pulls at, the others zero."""
    return jax.tree.map(
        lambda p: p if on == "all" or p.ndim > 1 else jnp.zeros_like(p), variables.params["body"]
    )
