"""What is about accelerators, on one: run by `python -m pytest -m gpu` where JAX has a GPU, skipped elsewhere."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation import datasets
from ntkflow_validation.config.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.kernels.backends import jax_backend
from ntkflow_validation.models import build
from ntkflow_validation.precision import DETERMINISTIC
from ntkflow_validation.runs.measurement_run import measure_snapshot
from ntkflow_validation.training.together import Member, train_together
from ntkflow_validation.training.train import probe, train

from tests.validation.training.test_deterministic import alone

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("jax.default_backend() == 'cpu'", reason="JAX has no accelerator here"),
]
CONFIG = RunConfig(
    data=DataConfig(classes=3, per_class=4),
    model=ModelConfig(name="resnet8", width=4),
    training=TrainConfig(steps=60, learning_rate=0.05, batch_per_class=2, snapshots=3),
)
DATA = datasets.load(CONFIG.data, 0)


def network():
    return build(CONFIG.model, DATA.input_shape, 3, 0)


def on_cpu(call):
    with jax.default_device(jax.devices("cpu")[0]):
        return call()


def test_features_have_the_digits_of_float32():
    expected = on_cpu(lambda: probe(net := network(), net.initial, DATA.x))
    found = probe(net := network(), net.initial, DATA.x)
    # TensorFloat-32 would be off by some 1e-3.
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def test_the_device_contracts_the_kernel_that_the_host_does(monkeypatch):
    net = network()
    found = measure_snapshot(net, net.initial, DATA, CONFIG.kernels).features.mean
    monkeypatch.setattr(jax_backend, "CONTRACTED", 0)
    expected = measure_snapshot(net, net.initial, DATA, CONFIG.kernels).features.mean
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_row_of_steps_is_what_the_loop_does():
    fused, looped = (list(train(CONFIG, DATA, network(), fused=fused)) for fused in (True, False))
    np.testing.assert_allclose(fused[-1].state.W, looped[-1].state.W, atol=1e-3)
    assert np.abs(fused[-1].state.W - fused[0].state.W).max() > 0.01


def test_networks_of_one_program_are_those_trained_alone():
    faster = replace(CONFIG, training=replace(CONFIG.training, learning_rate=0.1))
    rows = list(train_together([Member(config, DATA, network()) for config in (CONFIG, faster)]))
    for k, config in enumerate((CONFIG, faster)):
        alone = list(train(config, DATA, network()))
        np.testing.assert_allclose(rows[-1][k].state.W, alone[-1].state.W, atol=1e-3)


def test_sums_in_one_order_give_the_same_bits_every_time():
    ordered = replace(CONFIG, training=replace(CONFIG.training, deterministic=True))
    (flags, one), (_, two) = alone(ordered), alone(ordered)
    assert DETERMINISTIC in flags
    assert one == two


def test_training_in_tensorfloat32_is_a_setting():
    rough = replace(CONFIG, training=replace(CONFIG.training, precision="tensorfloat32", steps=1))
    fine = replace(CONFIG, training=replace(CONFIG.training, steps=1))
    a, b = (list(train(config, DATA, network()))[-1].state.W for config in (rough, fine))
    assert 0 < np.abs(a - b).max() < 1e-2
    assert jnp.asarray(1.0).dtype == jnp.float32
