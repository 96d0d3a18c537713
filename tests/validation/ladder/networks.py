"""Small networks whose kernels are known, as the ladder takes them."""

from dataclasses import replace
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ntkflow_validation.config.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.ladder.measured import Measured
from ntkflow_validation.models.base import Classifier, Network
from ntkflow_validation.runs.measurement_run import measure_snapshot
from ntkflow_validation.training.train import observe, prepare, recalibrated, start

CONFIG = RunConfig(
    data=DataConfig(name="block", classes=3, per_class=4, kappa_d=1.5, kappa_c=0.9, kappa_n=0.2),
    model=ModelConfig(name="linear", features=5, scale=0.7),
    training=TrainConfig(steps=40, learning_rate=5e-3, reduction="sum", snapshots=9),
)
NONLINEAR = replace(CONFIG, model=ModelConfig(name="mlp", features=5, width=7, depth=1))
# features that are not alike: the kernel is K (x) S^T S
MIXING = np.diag([2.0, 1.0, 0.5, 1.0, 0.1]) + 0.2


class Mixed(nnx.Module):
    """h = S V x with a fixed matrix S."""

    def __init__(self, inputs: int, features: int) -> None:
        self.layer = nnx.Linear(inputs, features, use_bias=False, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(x) @ jnp.asarray(MIXING.T, jnp.float32)


def measured(config=CONFIG, mixed=False, noise=0.0, with_kernel=True):
    """The network of a configuration at its start, its kernel measured; `noise` on the inputs breaks blocks."""
    dataset, network = prepare(config)
    if mixed:
        body = Mixed(dataset.input_shape[0], 5)
        network = Network.from_module(Classifier(body, nnx.Linear(5, 3, rngs=nnx.Rngs(1))))
    if noise:
        shift = np.random.default_rng(0).normal(size=dataset.x.shape).astype(np.float32)
        dataset = replace(dataset, x=dataset.x + np.float32(noise) * shift)
    state = start(network, config.training, dataset.per_class)
    if config.has_running_statistics:
        state = recalibrated(network, dataset, state)
    seen = observe(network, dataset, state, 0, 0.0)
    kernel = Mock(spec=Measurement)
    if with_kernel:
        kernel = measure_snapshot(network, seen.train.variables, dataset, config.kernels)
    return Measured(
        network,
        seen.train,
        dataset,
        config,
        0,
        seen.state,
        seen.sizes,
        kernel,
        ((0.0, kernel), (1.0, kernel)),
        probes=30 if with_kernel else 1,
    )
