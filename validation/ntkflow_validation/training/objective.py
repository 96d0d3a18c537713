"""The loss that is differentiated, and the largest rate at which gradient descent on it is stable."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ntkflow_validation.config.config import TrainConfig
from ntkflow_validation.models.base import Network, Tree, Variables
from ntkflow_validation.precision import full

POWER_ITERATIONS = 40


def targets(
    labels: jax.Array, classes: int, smoothing: float = 0.0, dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """(1 - epsilon) Y + epsilon/C, one sample a row, (B, C). Source: theory 17c."""
    return (1 - smoothing) * jax.nn.one_hot(labels, classes, dtype=dtype) + smoothing / classes


def sum_loss(outputs: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """1/2 |f - y|^2 over all samples and outputs. Source: eq. (4)."""
    return 0.5 * jnp.sum((outputs - targets(labels, outputs.shape[1], smoothing, outputs.dtype)) ** 2)


def sum_cross_entropy(outputs: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """-y . log softmax(f) summed over all samples; its gradient by f is softmax(f) - y."""
    # By logsumexp: the softmax of large outputs would round to 0, whose logarithm there is not.
    logits = outputs - jax.nn.logsumexp(outputs, axis=1, keepdims=True)
    picked = jnp.take_along_axis(logits, labels[:, None], axis=1)
    if not smoothing:
        return -jnp.sum(picked)
    return -(1 - smoothing) * jnp.sum(picked) - smoothing * jnp.sum(logits) / outputs.shape[1]


def divisor(config: TrainConfig, samples: int, classes: int) -> int:
    """What the sum loss of a batch is divided by: the paper's code takes means over samples and outputs."""
    if config.reduction == "sum":
        return 1
    return samples * classes if config.loss == "mse" else samples


def forward(
    network: Network, config: TrainConfig, params: Tree, statistics: Tree, x: jax.Array
) -> tuple[jax.Array, Tree]:
    """Outputs as training sees them, and the statistics afterwards."""
    if config.statistics == "frozen":
        return network.outputs(params, statistics, x), statistics
    return network.train_outputs(params, statistics, x)


def objective(
    network: Network, config: TrainConfig, params: Tree, statistics: Tree, x: jax.Array, labels: jax.Array
) -> tuple[jax.Array, Tree]:
    """The loss of a batch, without decay, and the statistics afterwards."""
    outputs, statistics = forward(network, config, params, statistics, x)
    loss = sum_loss if config.loss == "mse" else sum_cross_entropy
    return loss(outputs, labels, config.label_smoothing) / divisor(config, *outputs.shape), statistics


def largest_eigenvalue(network: Network, config: TrainConfig, variables: Variables, x: jax.Array) -> float:
    """Largest eigenvalue of the NTK of all outputs and parameters on x, by power iteration on J^T J.

    The eigenvalue of class means stands far above the rest, so a few dozen iterations settle it.
    """
    params, statistics = variables

    def outputs(p: Tree) -> jax.Array:
        return forward(network, config, p, statistics, x)[0]

    @jax.jit
    @full
    def iterate(v: Tree) -> tuple[Tree, jax.Array]:
        v = jax.tree.map(lambda leaf: leaf / _norm(v), v)
        image = jax.jvp(outputs, (params,), (v,))[1]
        return jax.vjp(outputs, params)[1](image)[0], jnp.sum(image**2)

    # One start for every run: the rate that is chosen depends on the network and the batch alone.
    keys = jax.random.split(jax.random.key(0), len(jax.tree.leaves(params)))
    draws = [jax.random.normal(k, p.shape) for k, p in zip(keys, jax.tree.leaves(params), strict=True)]
    v, value = jax.tree.unflatten(jax.tree.structure(params), draws), jnp.zeros(())
    for _ in range(POWER_ITERATIONS):
        v, value = iterate(v)
    return float(value)


def stable_rate(
    network: Network, config: TrainConfig, variables: Variables, x: jax.Array, classes: int
) -> float:
    """2 / (largest eigenvalue of the Hessian's Gauss-Newton part) for a batch x, plain gradient descent.

    For the mean loss eta/(N C) < 2/lambda_max (theory 7.2, 11.6). The cross-entropy curves at most half as
    much as the squared error, so for it the true bound is at least twice as high.
    """
    return 2 * divisor(config, len(x), classes) / largest_eigenvalue(network, config, variables, x)


def _norm(tree: Tree) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))
